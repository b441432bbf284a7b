"""What the driver decides, as pure functions of what it has observed.

No Ray, no store, no clock: the driver observes, this decides, the driver acts.
"""

from dataclasses import dataclass, replace
from enum import Enum

from synthray.errors import InvalidInput, NotFound, Reason, RunFailed, SynthrayError, VerificationFailed

MAX_DEATHS_AT_ONE_STEP = 3
MAX_STARTS_WITHOUT_A_STEP = 6

_MAX_WAIT_SECONDS = 60.0


class Verdict(Enum):
    """What comes next."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    AGAIN = "again"
    FAILED = "failed"


@dataclass(frozen=True)
class SegmentEnd:
    """How an attempt's segment ended: its outcome, or a foreseen failure, or words about what was lost.

    `images_reached` counts images seen when it ended; None if it never came to a step. `committed` says
    whether it saved anything.
    """

    outcome: str | None
    failure: SynthrayError | None
    images_reached: int | None
    loss: str = "a worker was lost"
    reason: Reason = Reason.WORKER_LOST
    committed: bool = False


@dataclass(frozen=True)
class History:
    """What earlier segments of this driver came to.

    `deaths` are the images reached at each death of workers; `idle_starts` counts the segments just before
    that never came to a step, `fruitless` those that committed nothing.
    """

    deaths: tuple[int, ...] = ()
    idle_starts: int = 0
    fruitless: int = 0

    def after(self, end: SegmentEnd) -> "History":
        """The history with one more segment that did not end the run."""
        died = end.outcome is None and end.failure is None
        return History(
            deaths=(*self.deaths, end.images_reached) if died and end.images_reached else self.deaths,
            idle_starts=self.idle_starts + 1 if end.images_reached is None and end.outcome is None else 0,
            fruitless=0 if end.committed or end.outcome is not None else self.fruitless + 1,
        )


@dataclass(frozen=True)
class Decision:
    """What to do, why, and how long to wait before."""

    verdict: Verdict
    reason: Reason | None = None
    message: str = ""
    failure: SynthrayError | None = None
    wait_seconds: float = 0.0


def plan_workers(wanted: int, places: int | None, num_micro_batches: int) -> int:
    """Workers that can train now: as many as wanted, as there is room for, and as there is work for."""
    return max(0, min(wanted, num_micro_batches, wanted if places is None else places))


def decide_after_segment(end: SegmentEnd, history: History, *, backoff_limit: int) -> Decision:
    """Go on unless the run is done, failed by itself, needs a person, or only ever dies.

    A segment that stopped on request is followed by another: who asked the driver itself to stop ends it.
    """
    if end.outcome is not None:
        return Decision(Verdict.COMPLETE if end.outcome == Verdict.COMPLETE.value else Verdict.AGAIN)
    if end.failure is not None and not _may_pass(end.failure):
        return Decision(Verdict.FAILED, end.failure.reason, end.failure.message, end.failure)
    decision = _decide_after_loss(end, history)
    fruitless = 0 if end.committed else history.fruitless + 1
    if decision.verdict is Verdict.AGAIN and end.failure is None and fruitless > backoff_limit:
        return _give_up(
            f"{fruitless} attempts in a row ended before they had saved anything, the last one: "
            f"{end.loss}; mend the cause, or raise spec.backoffLimit={backoff_limit}"
        )
    return decision


def _may_pass(failure: SynthrayError) -> bool:
    """Whether another attempt can end otherwise: storage comes back, and a corrupt state has an older one."""
    if isinstance(failure, VerificationFailed):
        return failure.reason is Reason.CHECKPOINT_CORRUPT
    return not isinstance(failure, RunFailed | InvalidInput | NotFound)


def _decide_after_loss(end: SegmentEnd, history: History) -> Decision:
    if end.failure is not None:
        return _again(end.failure.reason, end.failure.message, history.idle_starts)
    if end.images_reached is None:
        if history.idle_starts + 1 < MAX_STARTS_WITHOUT_A_STEP:
            return _again(end.reason, f"{end.loss} before its first step", history.idle_starts)
        return _give_up(
            f"workers died {MAX_STARTS_WITHOUT_A_STEP} times in a row before their first step, the last "
            f"time: {end.loss}"
        )
    if history.deaths.count(end.images_reached) + 1 >= MAX_DEATHS_AT_ONE_STEP:
        return _give_up(
            f"workers died {MAX_DEATHS_AT_ONE_STEP} times after {end.images_reached} images, the last time: "
            f"{end.loss} (a SIGKILL is often the kernel's, out of memory: raise spec.workers.memory)"
        )
    return Decision(Verdict.AGAIN, end.reason, f"{end.loss} after {end.images_reached} images")


def _give_up(message: str) -> Decision:
    failure = RunFailed(message, reason=Reason.REPEATED_DEATHS)
    return Decision(Verdict.FAILED, failure.reason, message, failure)


def _again(reason: Reason, message: str, idle_starts: int) -> Decision:
    decision = Decision(Verdict.AGAIN, reason, message)
    return replace(decision, wait_seconds=min(_MAX_WAIT_SECONDS, 2.0**idle_starts))
