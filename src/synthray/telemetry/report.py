"""What workers tell their driver, and what the driver knows of its run: plain values, small, picklable.

Workers send running totals of their segment, so that a report that is lost or read late loses nothing. The
driver adds the totals of finished segments; what it adds up starts at 0 with each driver, as Prometheus
expects of a counter. No torch, no Ray, no training code here.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from synthray.telemetry.storage_counters import StorageCounts

STEP_SECONDS_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
UNREADABLE = "unreadable"
"""Why a sample is replaced; the one reason so far."""
COMMIT_SECONDS_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True)
class Distribution:
    """A histogram as Prometheus wants it: how many observations fell into each bucket, and their sum."""

    upper_bounds: tuple[float, ...]
    counts: tuple[int, ...] = ()
    total: float = 0.0

    def observe(self, value: float) -> "Distribution":
        """The distribution with one more observation."""
        counts = list(self.counts or (0,) * (len(self.upper_bounds) + 1))
        counts[sum(bound < value for bound in self.upper_bounds)] += 1
        return Distribution(self.upper_bounds, tuple(counts), self.total + value)

    def __add__(self, other: "Distribution") -> "Distribution":
        if not self.counts or not other.counts:
            return self if self.counts else other
        counts = tuple(mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True))
        return Distribution(self.upper_bounds, counts, self.total + other.total)


def _sum_counts(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    return dict(Counter(left) + Counter(right))


@dataclass(frozen=True)
class SegmentTotals:
    """Running totals of one segment on one worker, or of all segments of a driver."""

    images: int = 0
    steps: int = 0
    nonfinite_steps: int = 0
    data_wait_seconds: float = 0.0
    checkpoint_stall_seconds: float = 0.0
    storage_wait_seconds: float = 0.0
    checkpoint_bytes: int = 0
    skipped_samples: Mapping[str, int] = field(default_factory=dict)
    checkpoint_failures: Mapping[str, int] = field(default_factory=dict)
    step_seconds: Distribution = Distribution(STEP_SECONDS_BUCKETS)
    commit_seconds: Distribution = Distribution(COMMIT_SECONDS_BUCKETS)
    storage: StorageCounts = field(default_factory=StorageCounts)

    def __add__(self, other: "SegmentTotals") -> "SegmentTotals":
        return SegmentTotals(
            images=self.images + other.images,
            steps=self.steps + other.steps,
            nonfinite_steps=self.nonfinite_steps + other.nonfinite_steps,
            data_wait_seconds=self.data_wait_seconds + other.data_wait_seconds,
            checkpoint_stall_seconds=self.checkpoint_stall_seconds + other.checkpoint_stall_seconds,
            storage_wait_seconds=self.storage_wait_seconds + other.storage_wait_seconds,
            checkpoint_bytes=self.checkpoint_bytes + other.checkpoint_bytes,
            skipped_samples=_sum_counts(self.skipped_samples, other.skipped_samples),
            checkpoint_failures=_sum_counts(self.checkpoint_failures, other.checkpoint_failures),
            step_seconds=self.step_seconds + other.step_seconds,
            commit_seconds=self.commit_seconds + other.commit_seconds,
            storage=self.storage + other.storage,
        )


@dataclass(frozen=True)
class RunLifetime:
    """A run's whole life, from the ledger in its state; survives drivers, restarts and resizes."""

    images_seen: int = 0
    useful_seconds: float = 0.0
    data_wait_seconds: float = 0.0
    checkpoint_stall_seconds: float = 0.0
    restart_seconds: float = 0.0
    redone_images: int = 0
    goodput_ratio: float = 0.0
    attempts: int = 0
    faults: int = 0
    resizes: int = 0


@dataclass(frozen=True)
class LastCheckpoint:
    """The newest committed state."""

    name: str
    epoch: int
    images_seen: int
    uri: str
    time: float


@dataclass(frozen=True)
class StepFigures:
    """The figures of the newest step; equal on every worker."""

    epoch: int
    images_seen: int
    step: int
    loss: float
    loss_by_bucket: tuple[float, ...]
    gradient_norm: float
    learning_rate: float
    loss_scale: float
    images_per_second: float
    validation_loss: float | None


@dataclass(frozen=True)
class WorkerPlace:
    """Which process computes a rank."""

    rank: int
    node: str
    process_id: int


@dataclass(frozen=True)
class SegmentReport:
    """Where one worker stands."""

    rank: int
    attempt: int
    state: str
    place: WorkerPlace
    totals: SegmentTotals
    figures: StepFigures | None = None
    lifetime: RunLifetime | None = None
    last_checkpoint: LastCheckpoint | None = None
    storage_is_away: bool = False
    """Whether the newest try of a save found no storage: work is at risk until one succeeds."""


@dataclass(frozen=True)
class RunSnapshot:
    """All that a driver knows of its run: what `/progress` and `/metrics` show.

    `resumed_from` is the state that the running attempt went on from, `attempt_began` when it did, in seconds
    since 1970; `committed_states` counts the states saved since this driver began.
    """

    namespace: str
    run: str
    model: str
    version: str
    epochs: int
    images_total: int
    workers_desired: int
    max_work_at_risk_seconds: float = 0.0
    state: str = "Preflight"
    reason: str = ""
    message: str = ""
    attempt: int = 0
    attempt_began: float | None = None
    resumed_from: str | None = None
    committed_states: int = 0
    workers_ready: int = 0
    ranks: tuple[WorkerPlace, ...] = ()
    totals: SegmentTotals = field(default_factory=SegmentTotals)
    figures: StepFigures | None = None
    lifetime: RunLifetime = field(default_factory=RunLifetime)
    last_checkpoint: LastCheckpoint | None = None

    @property
    def eta_seconds(self) -> float | None:
        """Seconds to the end at the present rate."""
        if self.figures is None or self.figures.images_per_second <= 0:
            return None
        return (self.images_total - self.figures.images_seen) / self.figures.images_per_second
