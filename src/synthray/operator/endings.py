"""Whether the current attempt is over, why, and what follows. Pure.

A run's time is lost by an attempt that is dead and not noticed; its work is at risk where a living one is
taken for dead. So death is concluded from evidence alone: an ended pod, or silence on a node that does not
answer either; and never while many runs fall silent at once, since then it is the operator that is deaf.
"""

from dataclasses import dataclass
from typing import Final

from synthray.errors import Reason
from synthray.operator.diagnosis import find_worker_obstacle
from synthray.operator.observation import Observation
from synthray.operator.progress import DriverProgress
from synthray.operator.reasons import Consequence, find_consequence
from synthray.operator.scaling import BELOW_MINIMUM_SECONDS, find_below_minimum_since
from synthray.operator.views import PodView

SILENCE_SECONDS: Final = 30.0
# A head whose pod never came in this time will not come.
_HEAD_MISSING_SECONDS: Final = 60.0
SPEC_CHANGED: Final = "SpecChanged"
_KILLED_BY_NODE: Final = frozenset(
    {"Evicted", "Preempted", "NodeLost", "Shutdown", "NodeShutdown", "Terminated"}
)


@dataclass(frozen=True)
class AttemptEnd:
    """How an attempt ended. `is_complete`: the run is done."""

    reason: str
    message: str
    consequence: Consequence
    is_complete: bool = False


def find_attempt_end(observation: Observation) -> AttemptEnd | None:
    """The end of the current attempt, None while it goes on. There must be a current attempt."""
    word = observation.current_word
    if word is not None and (end := _end_by_word(word.progress)):
        return end
    if (end := _end_by_head(observation)) is not None:
        return end
    if _was_changed(observation):
        return AttemptEnd(
            SPEC_CHANGED, "the run was changed; an attempt with the change takes over", Consequence.UNCOUNTED
        )
    return _end_without_workers(observation)


def _end_by_word(progress: DriverProgress) -> AttemptEnd | None:
    """What the driver says of its own end."""
    if progress.state == "Complete":
        return AttemptEnd("Complete", "", Consequence.TERMINAL, is_complete=True)
    if progress.state == "Blocked":
        return AttemptEnd(progress.reason or "Blocked", progress.message, Consequence.BLOCKED)
    if progress.state == "Fenced":
        return AttemptEnd(Reason.FENCED, progress.message, Consequence.TERMINAL)
    if progress.state == "Failed":
        reason = progress.reason or "Failed"
        return AttemptEnd(reason, progress.message, find_consequence(reason))
    return None


def _end_by_head(observation: Observation) -> AttemptEnd | None:
    """What became of the driver's pod."""
    cluster, head = observation.current, observation.head
    if head is None:
        is_missing = cluster is not None and cluster.head_missing
        is_late = cluster is not None and observation.age_seconds(cluster.created) > _HEAD_MISSING_SECONDS
        return _lost("the head's pod is gone") if is_missing and is_late else None
    if head.is_finished:
        return _end_of_pod(head)
    if head.gone_by is not None:
        # It saves, and then ends by itself; a node that does not answer would keep it for ever.
        return _lost(f"pod {head.name} was deleted") if observation.is_stuck(head) else None
    return _end_by_silence(observation, head)


def _end_by_silence(observation: Observation, head: PodView) -> AttemptEnd | None:
    if observation.silent_seconds < SILENCE_SECONDS or observation.surroundings.many_fell_silent:
        return None
    node = observation.node_of(head)
    node_answers = node is None or node.ready
    if head.node and (not node_answers or (observation.current_word is not None and not head.ready)):
        where = f"node {head.node} does not answer" if not node_answers else "its pod is not ready"
        return _lost(f"the driver has said nothing for {SILENCE_SECONDS:.0f} s and {where}")
    return None


def _end_of_pod(head: PodView) -> AttemptEnd:
    if head.ended == "OOMKilled":
        return AttemptEnd(
            Reason.OUT_OF_MEMORY,
            f"pod {head.name} was killed for lack of memory; raise the chart's config.head.memory",
            Consequence.RETRYABLE,
        )
    if head.ended in _KILLED_BY_NODE:
        return AttemptEnd(Reason.EVICTED, f"pod {head.name}: {head.ended}", Consequence.UNCOUNTED)
    reason, _, message = head.last_words.partition(": ")
    if reason in set(Reason):
        return AttemptEnd(reason, message, find_consequence(reason))
    # Without last words it ended by a signal from outside, or by a defect.
    consequence = Consequence.UNCOUNTED if head.exit_code in {0, 130, 137, 143} else Consequence.RETRYABLE
    return AttemptEnd(
        Reason.HEAD_LOST, f"pod {head.name} ended ({head.ended}, exit code {head.exit_code})", consequence
    )


def _lost(message: str) -> AttemptEnd:
    return AttemptEnd(Reason.HEAD_LOST, message, find_consequence(Reason.HEAD_LOST))


def _was_changed(observation: Observation) -> bool:
    cluster = observation.current
    return cluster is not None and cluster.spec_digest != observation.spec_digest


def _end_without_workers(observation: Observation) -> AttemptEnd | None:
    """Too few workers for too long: let go of all, lest two runs wait for each other's for ever."""
    # Asked anew: an operator that was away may find them all there.
    since = find_below_minimum_since(observation)
    if since is None or observation.age_seconds(since) < BELOW_MINIMUM_SECONDS:
        return None
    obstacle = find_worker_obstacle(observation)
    why = obstacle.message if obstacle else "workers did not start"
    return AttemptEnd(
        obstacle.reason if obstacle else Reason.UNSCHEDULABLE,
        f"fewer than spec.workers.minReplicas={observation.run.spec.workers.min_replicas} for "
        f"{BELOW_MINIMUM_SECONDS / 60:.0f} minutes; all are released for a while: {why}",
        Consequence.UNCOUNTED,
    )
