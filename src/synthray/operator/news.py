"""Events for people: what changed between two statuses that somebody would want to know. Pure."""

from typing import Final

from synthray.api.v1alpha1 import TrainingRunStatus
from synthray.api.v1alpha1.object_meta import Condition
from synthray.operator.actions import Tell
from synthray.operator.conditions import find_condition, holds
from synthray.operator.endings import SPEC_CHANGED

_TOLD: Final = ("Blocked", "Degraded", "Complete", "Failed", "Suspended")
_WARNINGS: Final = frozenset({"Blocked", "Degraded", "Failed"})


def find_news(previous: TrainingRunStatus, current: TrainingRunStatus) -> tuple[Tell, ...]:
    """One Event for each transition, none while things stay as they are."""
    return (
        *_attempt_news(previous, current),
        *find_condition_news(previous.conditions, current.conditions),
    )


def _attempt_news(previous: TrainingRunStatus, current: TrainingRunStatus) -> list[Tell]:
    if current.attempt != previous.attempt:
        return [
            Tell(
                "AttemptStarted",
                f"attempt {current.attempt} starts as {current.ray_cluster}",
                is_warning=False,
            )
        ]
    ended = previous.ray_cluster and not current.ray_cluster and current.recovery.reason
    if ended and not holds(current.conditions, "Complete"):
        why = f"attempt {current.attempt} ended: {current.recovery.message or current.recovery.reason}"
        is_wanted = current.recovery.reason == SPEC_CHANGED
        return [Tell("AttemptEnded", why, is_warning=not is_wanted)]
    if current.state == "Running" and previous.state in {"Pending", "Preflight", "WaitingForWorkers"}:
        return [Tell("Training", f"attempt {current.attempt} trains", is_warning=False)]
    return []


def find_condition_news(previous: tuple[Condition, ...], current: tuple[Condition, ...]) -> tuple[Tell, ...]:
    """One Event for each condition that became true, or true for another reason."""
    news = []
    for name in _TOLD:
        after = find_condition(current, name)
        before = find_condition(previous, name)
        if after is None or after.status != "True":
            continue
        if before is None or before.status != "True" or before.reason != after.reason:
            reason = after.reason if name in _WARNINGS else name
            news.append(Tell(reason, after.message or name, name in _WARNINGS))
    return tuple(news)
