"""What the driver does when a segment has ended: a pure function of how it ended.

No Ray, no store, no clock: the driver observes, this decides, the driver acts.
"""

from dataclasses import dataclass
from enum import Enum

from synthray.errors import InvalidInput, NotFound, Reason, RunFailed, SynthrayError, VerificationFailed

MAX_DEATHS_AT_ONE_STEP = 3


class Verdict(Enum):
    """What comes next."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    AGAIN = "again"
    FAILED = "failed"


@dataclass(frozen=True)
class SegmentEnd:
    """How a segment ended: its outcome, or the foreseen failure, or neither when workers just died."""

    outcome: str | None
    failure: SynthrayError | None
    images_reached: int


@dataclass(frozen=True)
class Decision:
    """What to do, why, and how long to wait before."""

    verdict: Verdict
    reason: Reason | None = None
    message: str = ""
    failure: SynthrayError | None = None
    wait_seconds: float = 0.0


def _may_pass(failure: SynthrayError) -> bool:
    """Whether another attempt can end otherwise: storage comes back, and a corrupt state has an older one."""
    if isinstance(failure, VerificationFailed):
        return failure.reason is Reason.CHECKPOINT_CORRUPT
    return not isinstance(failure, RunFailed | InvalidInput | NotFound)


def decide_after_segment(end: SegmentEnd, earlier_deaths: tuple[int, ...], failures_in_row: int) -> Decision:
    """Go on unless the run is done, was stopped, failed by itself or needs a person.

    `earlier_deaths` are the images reached at each earlier death of workers, `failures_in_row` the segments
    before this one that ended early.
    """
    if end.outcome == "complete":
        return Decision(Verdict.COMPLETE)
    if end.outcome == "stopped":
        return Decision(Verdict.STOPPED)
    if end.failure is not None and not _may_pass(end.failure):
        return Decision(Verdict.FAILED, end.failure.reason, end.failure.message, end.failure)
    if end.failure is not None:
        wait = min(60.0, 2.0**failures_in_row)
        return Decision(Verdict.AGAIN, end.failure.reason, end.failure.message, wait_seconds=wait)
    if earlier_deaths.count(end.images_reached) + 1 >= MAX_DEATHS_AT_ONE_STEP:
        message = (
            f"workers died {MAX_DEATHS_AT_ONE_STEP} times after {end.images_reached} images; "
            "see their logs for the cause (often memory: raise spec.workers.memory)"
        )
        failure = RunFailed(message, reason=Reason.REPEATED_DEATHS)
        return Decision(Verdict.FAILED, failure.reason, message, failure)
    return Decision(Verdict.AGAIN, Reason.WORKER_LOST, f"a worker was lost after {end.images_reached} images")
