"""Conditions: answers about a run or a service, each with a reason and a sentence. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from synthray.api.v1alpha1.object_meta import Condition

_MESSAGE_CHARACTERS: Final = 1024


@dataclass(frozen=True)
class Answer:
    """Whether something holds (None: nobody knows), why as a constant, and why in a sentence."""

    holds: bool | None
    reason: str
    message: str = ""


NO: Final = Answer(False, "AsExpected")


@dataclass(frozen=True)
class Answers:
    """One answer for each condition of a run."""

    ready: Answer
    progressing: Answer
    degraded: Answer = NO
    blocked: Answer = NO
    complete: Answer = NO
    failed: Answer = NO
    suspended: Answer = NO


@dataclass(frozen=True)
class ServiceAnswers:
    """One answer for each condition of a service."""

    ready: Answer
    progressing: Answer
    degraded: Answer = NO
    blocked: Answer = NO


def build_conditions(
    answers: Answers | ServiceAnswers, previous: tuple[Condition, ...], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The conditions in a fixed order; one whose status is as before keeps its time of transition."""
    before = {condition.type: condition for condition in previous}
    return tuple(
        _build(name.capitalize(), answer, before.get(name.capitalize()), generation, now)
        for name, answer in vars(answers).items()
    )


def find_condition(conditions: tuple[Condition, ...], name: str) -> Condition | None:
    """The condition of this type."""
    return next((condition for condition in conditions if condition.type == name), None)


def holds(conditions: tuple[Condition, ...], name: str) -> bool:
    """Whether a condition is there and True."""
    condition = find_condition(conditions, name)
    return condition is not None and condition.status == "True"


def _build(name: str, answer: Answer, before: Condition | None, generation: int, now: datetime) -> Condition:
    status = "Unknown" if answer.holds is None else str(answer.holds)
    message = answer.message
    if len(message) > _MESSAGE_CHARACTERS:
        message = f"{message[: _MESSAGE_CHARACTERS - 1]}…"
    unchanged = before is not None and before.status == status
    return Condition.model_validate(
        {
            "type": name,
            "status": status,
            "reason": answer.reason,
            "message": message,
            "lastTransitionTime": before.last_transition_time if before and unchanged else now,
            "observedGeneration": generation,
        }
    )
