"""Every name under which Prometheus may store a figure of ours, asked from the collectors themselves."""

from types import SimpleNamespace

from prometheus_client.metrics_core import Metric

from synthray.operator.fleet import Fleet, RunPlace
from synthray.operator.metrics import OperatorMetrics
from synthray.serving.engine import EngineFigures
from synthray.serving.metrics import RequestCounts, ServiceCollector
from synthray.telemetry.metrics import build_metric_families
from synthray.telemetry.report import LastCheckpoint, RunLifetime, RunSnapshot, StepFigures

_SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count"),
    "info": ("_info",),
}


def names_of_runs() -> set[str]:
    figures = StepFigures(1, 1, 1, 0.0, (0.0,), 0.0, 0.0, 1.0, 1.0, 0.0)
    snapshot = RunSnapshot(
        "xray",
        "chest",
        "unet",
        "0",
        1,
        2,
        1,
        attempt_began=1.0,
        figures=figures,
        lifetime=RunLifetime(attempts=1),
        last_checkpoint=LastCheckpoint("", 1, 1, "", 0.0),
    )
    return _names(*build_metric_families(snapshot))


def names_of_the_operator() -> set[str]:
    metrics = OperatorMetrics(lambda: 0)
    metrics.show_fleet(Fleet((RunPlace("xray", "chest", "Running", "", 1, 1),), {"wanted": 1}))
    return _names(*metrics.registry.collect())


def names_of_generation() -> set[str]:
    figures = EngineFigures(0, 0, 0, 0, 1, 0, 0, 0.0, 0, 0.0)
    service = SimpleNamespace(figures=lambda: figures, failure="")
    return _names(*ServiceCollector(service, RequestCounts()).collect())  # type: ignore[arg-type]


def all_names() -> set[str]:
    return names_of_runs() | names_of_the_operator() | names_of_generation()


def _names(*families: Metric) -> set[str]:
    return {f"{family.name}{suffix}" for family in families for suffix in _SUFFIXES.get(family.type, ("",))}
