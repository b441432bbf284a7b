"""A run's Prometheus metrics, built afresh at each scrape from what the driver knows.

Counters start at 0 with each driver; a run's whole life stands in gauges (`synthray_run_*`) from its ledger.
Labels are namespace and run, and bounded ones beside them: no seed, no request, no worker name.
"""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from synthray.telemetry.report import UNREADABLE, Distribution, RunSnapshot

_RUN_LABELS = ("namespace", "run")


class RunCollector(Collector):
    """Shows the newest snapshot to whoever scrapes."""

    def __init__(self, snapshot: Callable[[], RunSnapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """The families of the newest snapshot."""
        return build_metric_families(self._snapshot())


def build_metric_families(snapshot: RunSnapshot) -> Iterator[Metric]:
    """All metric families of a run."""
    yield from _counters(snapshot)
    yield from _gauges(snapshot)
    yield from _plan(snapshot)
    if _num_attempts(snapshot) > 0:  # else nobody has looked yet at what the run has behind it
        yield from _lifetime(snapshot)
    yield _histogram(snapshot, "train_step_seconds", "Duration of a step.", snapshot.totals.step_seconds)
    yield _histogram(
        snapshot,
        "checkpoint_commit_seconds",
        "Time from a save's copy to its commit.",
        snapshot.totals.commit_seconds,
    )
    yield InfoMetricFamily(
        "synthray_run",
        "What runs.",
        {
            "namespace": snapshot.namespace,
            "run": snapshot.run,
            "attempt": str(snapshot.attempt),
            "model": snapshot.model,
            "version": snapshot.version,
        },
    )


def _counters(snapshot: RunSnapshot) -> Iterator[Metric]:
    totals = snapshot.totals
    plain: tuple[tuple[str, str, float], ...] = (
        ("train_images", "Images trained on by this driver, redone ones too.", totals.images),
        ("train_steps", "Optimizer steps of this driver.", totals.steps),
        ("train_data_wait_seconds", "Time that workers waited for data, mean.", totals.data_wait_seconds),
        (
            "train_checkpoint_stall_seconds",
            "Time that training waited for saves.",
            totals.checkpoint_stall_seconds,
        ),
        (
            "train_storage_wait_seconds",
            "Time that training stood still because storage was away.",
            totals.storage_wait_seconds,
        ),
        ("train_nonfinite_steps", "Steps computed again after a non-finite value.", totals.nonfinite_steps),
        ("checkpoint_bytes", "Bytes of committed checkpoints.", totals.checkpoint_bytes),
        ("storage_read_bytes", "Bytes read from object storage.", totals.storage.read_bytes),
        ("storage_retries", "Requests to object storage that were sent again.", totals.storage.retries),
    )
    for name, help_text, value in plain:
        family = CounterMetricFamily(f"synthray_{name}", help_text, labels=_RUN_LABELS)
        family.add_metric(_labels(snapshot), value)
        yield family
    # A series that begins at 1 shows no increase.
    skipped = {UNREADABLE: 0, **totals.skipped_samples}
    yield _by_label(snapshot, "train_skipped_samples", "Samples replaced by rule.", "reason", skipped)
    yield _by_label(
        snapshot, "checkpoint_failures", "Saves that failed.", "reason", totals.checkpoint_failures
    )
    requests = CounterMetricFamily(
        "synthray_storage_requests",
        "Requests to object storage.",
        labels=(*_RUN_LABELS, "operation", "outcome"),
    )
    for (operation, outcome), count in sorted(totals.storage.requests.items()):
        requests.add_metric([*_labels(snapshot), operation, outcome], count)
    yield requests


def _by_label(
    snapshot: RunSnapshot, name: str, help_text: str, label: str, counts: Mapping[str, int]
) -> Metric:
    family = CounterMetricFamily(f"synthray_{name}", help_text, labels=(*_RUN_LABELS, label))
    for value, count in sorted(counts.items()):
        family.add_metric([*_labels(snapshot), value], count)
    return family


def _gauges(snapshot: RunSnapshot) -> Iterator[Metric]:
    workers = GaugeMetricFamily("synthray_train_workers", "Workers by state.", labels=(*_RUN_LABELS, "state"))
    workers.add_metric([*_labels(snapshot), "desired"], snapshot.workers_desired)
    workers.add_metric([*_labels(snapshot), "ready"], snapshot.workers_ready)
    yield workers
    if snapshot.last_checkpoint is not None:
        yield _gauge(
            snapshot,
            "checkpoint_last_success_timestamp_seconds",
            "When the newest state was committed, seconds since 1970.",
            snapshot.last_checkpoint.time,
        )
    if snapshot.attempt_began is not None:
        yield _gauge(
            snapshot,
            "train_attempt_start_timestamp_seconds",
            "When the running attempt began, seconds since 1970.",
            snapshot.attempt_began,
        )
    figures = snapshot.figures
    if figures is None:
        return
    yield _gauge(snapshot, "train_epoch", "Whole epochs done.", figures.epoch)
    yield _gauge(snapshot, "train_loss", "Mean loss of the newest global batch.", figures.loss)
    yield _gauge(snapshot, "train_gradient_norm", "Gradient norm before clipping.", figures.gradient_norm)
    yield _gauge(snapshot, "train_learning_rate", "Learning rate of the newest step.", figures.learning_rate)
    yield _gauge(snapshot, "train_loss_scale", "Loss scale (1 but for fp16).", figures.loss_scale)
    yield _gauge(
        snapshot, "train_images_per_second", "Images trained on per second.", figures.images_per_second
    )
    if figures.validation_loss is not None:
        yield _gauge(
            snapshot,
            "train_validation_loss",
            "Loss on held-out patients, fixed noise.",
            figures.validation_loss,
        )
    if snapshot.eta_seconds is not None:
        yield _gauge(
            snapshot, "train_eta_seconds", "Time to the end at the present rate.", snapshot.eta_seconds
        )
    buckets = GaugeMetricFamily(
        "synthray_train_loss_by_timestep",
        "Loss by tenth of the noise range, 0 the least noise.",
        labels=(*_RUN_LABELS, "bucket"),
    )
    for bucket, loss in enumerate(figures.loss_by_bucket):
        buckets.add_metric([*_labels(snapshot), str(bucket)], loss)
    yield buckets


def _plan(snapshot: RunSnapshot) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "synthray_run_state",
        "1 for what the run is doing, and why.",
        labels=(*_RUN_LABELS, "state", "reason"),
    )
    state.add_metric([*_labels(snapshot), snapshot.state, snapshot.reason], 1)
    yield state
    if snapshot.images_total == 0:  # the dataset is not read yet
        return
    yield _gauge(snapshot, "run_epochs", "Epochs wanted.", snapshot.epochs)
    yield _gauge(snapshot, "run_planned_images", "Images seen at the run's end.", snapshot.images_total)
    yield _gauge(
        snapshot,
        "checkpoint_objective_seconds",
        "Most time of work that may be at risk (maxWorkAtRiskSeconds).",
        snapshot.max_work_at_risk_seconds,
    )


def _lifetime(snapshot: RunSnapshot) -> Iterator[Metric]:
    lifetime = snapshot.lifetime
    gauges: tuple[tuple[str, str, float], ...] = (
        ("run_images_seen", "Images seen in the accepted history.", lifetime.images_seen),
        ("run_useful_seconds", "Time spent on accepted steps.", lifetime.useful_seconds),
        ("run_data_wait_seconds", "Time spent waiting for data.", lifetime.data_wait_seconds),
        ("run_checkpoint_stall_seconds", "Time spent waiting for saves.", lifetime.checkpoint_stall_seconds),
        ("run_restart_seconds", "Time between a save and the next start.", lifetime.restart_seconds),
        ("run_redone_images", "Images computed again after faults.", lifetime.redone_images),
        ("run_goodput_ratio", "Time spent on accepted steps over elapsed time.", lifetime.goodput_ratio),
        ("run_attempts", "Attempts so far.", _num_attempts(snapshot)),
        ("run_faults", "Faults so far: lost workers and drivers, bad samples, odd devices.", lifetime.faults),
        ("run_resizes", "Changes of the number of workers so far.", lifetime.resizes),
    )
    for name, help_text, value in gauges:
        yield _gauge(snapshot, name, help_text, value)


def _num_attempts(snapshot: RunSnapshot) -> int:
    return max(snapshot.attempt, snapshot.lifetime.attempts)


def _gauge(snapshot: RunSnapshot, name: str, help_text: str, value: float) -> Metric:
    family = GaugeMetricFamily(f"synthray_{name}", help_text, labels=_RUN_LABELS)
    family.add_metric(_labels(snapshot), value)
    return family


def _histogram(snapshot: RunSnapshot, name: str, help_text: str, distribution: Distribution) -> Metric:
    family = HistogramMetricFamily(f"synthray_{name}", help_text, labels=_RUN_LABELS)
    counts = distribution.counts or (0,) * (len(distribution.upper_bounds) + 1)
    bounds = [*map(floatToGoString, distribution.upper_bounds), "+Inf"]
    cumulative = [(bound, sum(counts[: index + 1])) for index, bound in enumerate(bounds)]
    family.add_metric(_labels(snapshot), cumulative, distribution.total)
    return family


def _labels(snapshot: RunSnapshot) -> list[str]:
    return [snapshot.namespace, snapshot.run]
