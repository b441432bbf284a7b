"""The dashboard of generation: is what is asked drawn, in time, and right."""

from typing import Final

from tools.monitoring.panel import Dashboard, Panel, Query, Row, Variable

_OF: Final = 'namespace=~"$namespace",job=~"$service"'


def _rate(name: str, by: str = "job") -> str:
    return f"sum by ({by}) (rate(synthray_generate_{name}{{{_OF}}}[$__rate_interval]))"


def _mean(name: str) -> str:
    return f"{_rate(f'{name}_sum')} / ({_rate(f'{name}_count')} > 0)"


_SERVICE: Final = Row(
    "Is it drawn, and right",
    (
        Panel(
            title="Golden seeds",
            unit="short",
            kind="number",
            width=4,
            height=6,
            limits=(1, 0),
            shows="1 for a replica whose golden seeds give the pixels that they gave at its start.",
            good="1 everywhere.",
            otherwise="see docs/runbooks/alerts/SynthraySelfTestFailed.md.",
            queries=(Query(f"min by (instance) (synthray_generate_selftest_ok{{{_OF}}})", "{{instance}}"),),
        ),
        Panel(
            title="Images drawn",
            unit="short",
            width=10,
            height=6,
            least=0,
            shows="Images a second, of each service.",
            good="as many as are asked for.",
            otherwise="with a queue: see docs/runbooks/alerts/SynthrayGenerationQueueWait.md.",
            queries=(Query(_rate("images_total"), "{{job}}"),),
        ),
        Panel(
            title="Answers by code",
            unit="reqps",
            width=10,
            height=6,
            least=0,
            shows="Answers a second by HTTP status.",
            good="200 and 304 nearly alone.",
            otherwise="429 and 503: more is asked than can be drawn. 4xx: a client asks wrongly. 500: a bug.",
            queries=(Query(_rate("requests_total", "code"), "{{code}}"),),
        ),
    ),
)

_SPEED: Final = Row(
    "Is it in time",
    (
        Panel(
            title="Images waiting",
            unit="short",
            width=6,
            least=0,
            shows="Images accepted that have no slot yet, of requests and of jobs.",
            good="0 most of the time; jobs may have thousands.",
            otherwise="see docs/runbooks/alerts/SynthrayGenerationQueueWait.md; one that never falls: "
            "docs/runbooks/alerts/SynthrayGenerationStuck.md.",
            queries=(
                Query(f"sum by (job) (synthray_generate_queue_images{{{_OF}}})", "{{job}}"),
                Query(f"sum by (job) (synthray_generate_queue_job_images{{{_OF}}})", "{{job}}: of jobs"),
            ),
        ),
        Panel(
            title="Wait for a slot",
            unit="s",
            width=6,
            least=0,
            limits=(10, 30),
            shows="Mean time from a request's acceptance to its first slot.",
            good="below 10 s.",
            otherwise="see docs/runbooks/alerts/SynthrayGenerationQueueWait.md.",
            queries=(Query(_mean("queue_wait_seconds"), "{{job}}"),),
        ),
        Panel(
            title="Time of a denoising step",
            unit="s",
            width=6,
            least=0,
            shows="Mean time of one step of all slots; an image takes as many as its steps.",
            good="steady: it does not depend on how many slots are busy.",
            otherwise="a rise is a device that is shared or throttled.",
            queries=(Query(_mean("step_seconds"), "{{job}}"),),
        ),
        Panel(
            title="Slots busy",
            unit="percentunit",
            width=6,
            least=0,
            most=1,
            shows="Slots with an image over all slots, of each replica.",
            good="below 80 %, and alike for all replicas.",
            otherwise="100 % for long: add replicas.",
            queries=(
                Query(f"max by (instance) (synthray_generate_slots_busy_ratio{{{_OF}}})", "{{instance}}"),
            ),
        ),
    ),
)

GENERATION_DASHBOARD: Final = Dashboard(
    name="generation",
    title="synthray: generation",
    about="Whether what is asked for is drawn, in time, and right.",
    variables=(
        Variable(
            "namespace",
            "Namespace",
            "label_values(synthray_generate_selftest_ok, namespace)",
            all_at_once=True,
        ),
        Variable(
            "service",
            "Service",
            'label_values(synthray_generate_selftest_ok{namespace=~"$namespace"}, job)',
            all_at_once=True,
        ),
    ),
    rows=(_SERVICE, _SPEED),
)
