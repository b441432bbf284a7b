"""Every name under which Prometheus may store a figure of ours."""

from tools.reference.metric_families import (
    families_of_generation,
    families_of_runs,
    families_of_the_operator,
    names_of,
)


def all_names() -> set[str]:
    return names_of([*families_of_runs(), *families_of_the_operator(), *families_of_generation()])
