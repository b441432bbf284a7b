"""What supervisor and worker process tell each other: plain values over a pipe, and nothing else.

No torch and no Ray: both ends read this file.
"""

from dataclasses import dataclass

from synthray.errors import SynthrayError
from synthray.telemetry.report import SegmentReport
from synthray.training.settings import AttemptSettings, RunSettings


@dataclass(frozen=True)
class WorkerTask:
    """One worker's part of an attempt; the workers meet at `init_method`."""

    settings: RunSettings
    attempt: AttemptSettings
    rank: int
    size: int
    init_method: str


@dataclass(frozen=True)
class Wishes:
    """What the driver asks of the workers.

    A patient stop waits for storage that is away: others are to go on from what it saves.
    """

    stop: bool = False
    patient: bool = False


@dataclass(frozen=True)
class Beat:
    """A worker's newest report, and a count that moves as long as it gets on."""

    count: int
    report: SegmentReport | None


@dataclass(frozen=True)
class Ending:
    """How a worker ended its part: its outcome, or the foreseen failure, or what nobody foresaw, in words."""

    outcome: str | None = None
    failure: SynthrayError | None = None
    crash: str = ""
