"""Every metric family that synthray can show, asked from the collectors themselves."""

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


def snapshot_of_a_run() -> RunSnapshot:
    """One in which nothing is missing."""
    figures = StepFigures(1, 1, 1, 0.0, (0.0,), 0.0, 0.0, 1.0, 1.0, 0.0)
    return RunSnapshot(
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


def families_of_runs() -> list[Metric]:
    """What a driver shows of such a run."""
    return list(build_metric_families(snapshot_of_a_run()))


def families_of_the_operator() -> list[Metric]:
    """What the operator shows of itself and of a fleet of one run."""
    metrics = OperatorMetrics(lambda: 0)
    metrics.show_fleet(Fleet((RunPlace("xray", "chest", "Running", "", 1, 1),), {"wanted": 1}))
    with metrics.reconciling("TrainingRun"):
        pass
    return list(metrics.registry.collect())


def families_of_generation() -> list[Metric]:
    """What a replica shows."""
    figures, counts = EngineFigures(0, 0, 0, 0, 1, 0, 0, 0.0, 0, 0.0), RequestCounts()
    counts.by_code[200] = 1
    service = SimpleNamespace(figures=lambda: figures, failure="")
    return list(ServiceCollector(service, counts).collect())  # type: ignore[arg-type]


def names_of(families: list[Metric]) -> set[str]:
    """The names under which Prometheus stores them."""
    return {f"{family.name}{suffix}" for family in families for suffix in _SUFFIXES.get(family.type, ("",))}
