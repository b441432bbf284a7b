"""The page of metrics: what each is, and a question to begin with."""

from dataclasses import dataclass

from prometheus_client.metrics_core import Metric
from tools.reference.markdown import write_table
from tools.reference.metric_families import (
    families_of_generation,
    families_of_runs,
    families_of_the_operator,
)

_UNITS = {
    "_timestamp_seconds": "seconds since 1970",
    "_seconds": "seconds",
    "_bytes": "bytes",
    "_images": "images",
    "_ratio": "0 to 1",
    "_images_seen": "images",
    "_images_per_second": "images per second",
}


@dataclass(frozen=True)
class Source:
    """One of those that speak to Prometheus; `by` are the labels by which its figures are told apart."""

    title: str
    about: str
    by: str
    families: list[Metric]


def build_metrics() -> str:
    """Every metric family, by who shows it."""
    about = (
        "Counters start at 0 with each process, so `rate()` and `increase()` are right over restarts. The "
        "gauges `synthray_run_*` come from the ledger in a run's checkpoints and tell its whole life."
    )
    return "\n\n".join(["# Metrics", about, *(_section(source) for source in sources())])


def sources() -> list[Source]:
    """Who speaks to Prometheus."""
    return [
        Source(
            "Of a run",
            "Served by the driver on port 8090 under `/metrics`. Each has the labels `namespace` and `run`; "
            "those named below come on top.",
            "namespace, run",
            families_of_runs(),
        ),
        Source(
            "Of the operator",
            "Served by each operator on port 8080 under `/metrics`. Only the leader looks at objects.",
            "",
            families_of_the_operator(),
        ),
        Source(
            "Of a generation service",
            "Served by each replica under `/metrics`, beside the images; `job` is Prometheus's.",
            "job",
            families_of_generation(),
        ),
    ]


def _section(source: Source) -> str:
    header = ("metric", "type", "unit", "labels", "meaning", "a question to begin with")
    families = sorted(source.families, key=lambda family: family.name)
    rows = [_row(family, source.by) for family in families]
    return "\n\n".join([f"## {source.title}", source.about, write_table(header, rows)])


def _row(family: Metric, by: str) -> tuple[str, str, str, str, str, str]:
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    labels = [f"`{label}`" for label in _labels(family) if label not in by.split(", ")]
    name, question = f"`{family.name}{suffix}`", f"`{build_question(family, by)}`"
    return name, family.type, _unit(family.name), ", ".join(labels), family.documentation, question


def _labels(family: Metric) -> list[str]:
    """Those of its samples, but for what its type adds."""
    found = {label: None for sample in family.samples for label in sample.labels}
    return [label for label in found if label not in ("le", "quantile")]


def _unit(name: str) -> str:
    fitting = [ending for ending in _UNITS if name.endswith(ending)]
    return _UNITS[max(fitting, key=len)] if fitting else ""


def build_question(family: Metric, by: str) -> str:
    """An expression in PromQL that fits the type."""
    name = family.name
    own = [label for label in _labels(family) if label not in by.split(", ") and family.type != "info"]
    labels = ", ".join(filter(None, [by, *own]))
    grouped = f" by ({labels}) " if labels else ""
    with_bounds = f" by ({', '.join(['le', *filter(None, [labels])])}) "
    match family.type:
        case "counter":
            question = f"sum{grouped}(rate({name}_total[5m]))"
        case "histogram":
            question = f"histogram_quantile(0.9, sum{with_bounds}(rate({name}_bucket[5m])))"
        case "summary":
            question = f"sum{grouped}(rate({name}_sum[5m])) / sum{grouped}(rate({name}_count[5m]))"
        case "info":
            question = f"{name}_info"
        case _:
            question = f"max{grouped}({name})"
    if name.endswith("_timestamp_seconds"):
        return f"time() - {question}"
    return f"{question} == 1" if name.endswith("_state") else question
