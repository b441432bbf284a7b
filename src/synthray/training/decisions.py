"""What the driver does when a segment has ended: a pure function of how it ended.

No Ray, no store, no clock: the driver observes, this decides, the driver acts.
"""

from dataclasses import dataclass
from enum import Enum

from synthray.errors import InvalidInput, NotFound, Reason, RunFailed, SynthrayError, VerificationFailed

MAX_DEATHS_AT_ONE_STEP = 3
MAX_STARTS_WITHOUT_A_STEP = 6


class Verdict(Enum):
    """What comes next."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    AGAIN = "again"
    FAILED = "failed"


@dataclass(frozen=True)
class SegmentEnd:
    """How a segment ended: its outcome, or the foreseen failure, or neither when workers just died.

    `images_reached` counts images seen when it ended; None if it never came to a step.
    """

    outcome: str | None
    failure: SynthrayError | None
    images_reached: int | None


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


def decide_after_segment(end: SegmentEnd, earlier_deaths: tuple[int, ...], idle_starts: int) -> Decision:
    """Go on unless the run is done, was stopped, failed by itself or needs a person.

    `earlier_deaths` are the images reached at each earlier death of workers; `idle_starts` counts the
    segments just before this one that never came to a step.
    """
    if end.outcome is not None:
        return Decision(Verdict(end.outcome))
    if end.failure is not None and not _may_pass(end.failure):
        return Decision(Verdict.FAILED, end.failure.reason, end.failure.message, end.failure)
    if end.failure is not None:
        return _again(end.failure.reason, end.failure.message, idle_starts)
    if end.images_reached is None:
        return _decide_after_idle_start(idle_starts)
    if earlier_deaths.count(end.images_reached) + 1 >= MAX_DEATHS_AT_ONE_STEP:
        message = (
            f"workers died {MAX_DEATHS_AT_ONE_STEP} times after {end.images_reached} images; "
            "see their logs for the cause (often memory: raise spec.workers.memory)"
        )
        failure = RunFailed(message, reason=Reason.REPEATED_DEATHS)
        return Decision(Verdict.FAILED, failure.reason, message, failure)
    return Decision(Verdict.AGAIN, Reason.WORKER_LOST, f"a worker was lost after {end.images_reached} images")


def _decide_after_idle_start(idle_starts: int) -> Decision:
    """Workers that die before their first step may be preempted, or unable to start at all."""
    if idle_starts + 1 < MAX_STARTS_WITHOUT_A_STEP:
        return _again(Reason.WORKER_LOST, "a worker was lost before its first step", idle_starts)
    message = (
        f"workers died {MAX_STARTS_WITHOUT_A_STEP} times in a row before their first step; "
        "see their logs for the cause"
    )
    failure = RunFailed(message, reason=Reason.REPEATED_DEATHS)
    return Decision(Verdict.FAILED, failure.reason, message, failure)


def _again(reason: Reason, message: str, idle_starts: int) -> Decision:
    return Decision(Verdict.AGAIN, reason, message, wait_seconds=min(60.0, 2.0**idle_starts))
