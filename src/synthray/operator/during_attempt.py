"""A run with an attempt: what it says of itself, its number of workers, and its end. Pure."""

import hashlib
from datetime import timedelta
from typing import Final

from synthray.api.names import RETRY_ANNOTATION
from synthray.api.v1alpha1 import TrainingRunStatus
from synthray.api.v1alpha1.training_run_status import Recovery, RunState
from synthray.errors import Reason
from synthray.operator.actions import Action, Decision, EndAttempt
from synthray.operator.between_attempts import find_lasting_block
from synthray.operator.conditions import NO, Answer, Answers
from synthray.operator.diagnosis import Obstacle, find_head_obstacle, find_worker_obstacle
from synthray.operator.endings import SILENCE_SECONDS, SPEC_CHANGED, AttemptEnd, find_attempt_end
from synthray.operator.observation import Observation
from synthray.operator.progress import DriverProgress
from synthray.operator.reasons import Consequence
from synthray.operator.scaling import find_below_minimum_since, plan_replicas
from synthray.operator.status import build_status
from synthray.operator.views import ClusterView

_LOOK_AGAIN_SECONDS: Final = 10.0
_BLOCKED_SECONDS: Final = 300.0
_FIRST_DELAY_SECONDS: Final = 10.0
_LONGEST_DELAY_SECONDS: Final = 300.0
_TRAINING_STATES: Final = frozenset({"Running", "Saving", "WaitingForStorage"})


def decide_during_attempt(
    observation: Observation, base: TrainingRunStatus, cluster: ClusterView
) -> Decision:
    """Let it go on with the right number of workers, or settle its end."""
    known = {"attempt": cluster.attempt, "ray_cluster": cluster.name, "spec_digest": cluster.spec_digest}
    base = _pin_image(observation, base).model_copy(update=known)
    end = find_attempt_end(observation)
    if end is not None:
        return settle_attempt(observation, base, end)
    word = observation.current_word
    if word is None or not has_passed_preflight(word.progress):
        return _prepare(observation, base)
    actions: tuple[Action, ...] = ()
    if (change := plan_replicas(observation)) is not None:
        actions = (change,)
    base = base.model_copy(
        update={"recovery": base.recovery.model_copy(update={"reason": "", "message": ""})}
    )
    answers = _answer_while_training(observation, word.progress)
    status = build_status(
        observation,
        base,
        answers,
        word.progress.state,
        below_minimum_since=find_below_minimum_since(observation),
    )
    return Decision(status, actions, _LOOK_AGAIN_SECONDS)


def has_passed_preflight(progress: DriverProgress) -> bool:
    """Whether the driver has found all in order, so that workers are worth their GPUs."""
    if progress.state == "WaitingForStorage":
        return progress.attempt > 0
    return progress.state in {"Running", "Saving", "WaitingForWorkers"}


def settle_attempt(observation: Observation, base: TrainingRunStatus, end: AttemptEnd) -> Decision:
    """Record how the current attempt ended and what follows; then delete its cluster."""
    cluster = observation.current
    recovery = _plan_recovery(observation, base, end)
    base = base.model_copy(update={"ray_cluster": "", "recovery": recovery})
    failures_exceeded = recovery.failures > observation.run.spec.backoff_limit
    state: RunState
    if end.is_complete:
        state, answers = "Complete", _answers_when_complete()
    elif end.consequence is Consequence.TERMINAL or failures_exceeded:
        message = end.message
        if end.consequence is not Consequence.TERMINAL:
            message = f"{message}; {recovery.failures} attempts in a row saved nothing (spec.backoffLimit)"
        state = "Fenced" if end.reason == Reason.FENCED else "Failed"
        answers = _answers_when_failed(end.reason, message)
    else:
        state, answers = _answers_before_retry(end, recovery, base)
    if answers.complete.holds or answers.failed.holds:
        base = base.model_copy(update={"finished": observation.now})
    status = build_status(observation, base, answers, state)
    actions = (EndAttempt(cluster.name, cluster.uid),) if cluster is not None else ()
    return Decision(status, actions, look_again_seconds=1.0)


def _plan_recovery(observation: Observation, base: TrainingRunStatus, end: AttemptEnd) -> Recovery:
    """Count the attempt if it counts, and say when the next one may begin."""
    word, saved = observation.current_word, base.last_checkpoint
    newest = word.progress.last_checkpoint if word else None
    images_seen = max(newest.images_seen if newest else 0, saved.images_seen if saved else 0)
    failures = 0 if images_seen > base.recovery.images_seen else base.recovery.failures
    failures += end.consequence is Consequence.RETRYABLE
    delay = _plan_delay_seconds(observation, end, failures)
    return Recovery(
        failures=failures,
        reason=end.reason,
        message=end.message[:1024],
        images_seen=images_seen,
        not_before=observation.now + timedelta(seconds=delay) if delay else None,
    )


def _plan_delay_seconds(observation: Observation, end: AttemptEnd, failures: int) -> int:
    if end.is_complete or end.reason == SPEC_CHANGED:
        return 0
    if end.consequence is Consequence.BLOCKED:
        return int(_BLOCKED_SECONDS)
    if end.reason == Reason.UNSCHEDULABLE or observation.status.below_minimum_since is not None:
        # Two runs that wait for each other's workers come back at different times.
        seed = f"{observation.run.metadata.uid}/{observation.status.attempt}".encode()
        return 60 + int.from_bytes(hashlib.sha256(seed).digest()[:2]) % 240
    return int(min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2 ** max(0, min(failures, 10) - 1)))


def _prepare(observation: Observation, base: TrainingRunStatus) -> Decision:
    """The head comes up and checks; what keeps it from that blocks the run. No worker is wanted yet."""
    obstacle = find_head_obstacle(observation)
    blocked = _blocked_by(obstacle) if obstacle else find_lasting_block(base)
    word = observation.current_word
    state: RunState = word.progress.state if word else ("Blocked" if obstacle else "Pending")
    saying = word.progress.message if word else ""
    answers = Answers(
        ready=Answer(False, blocked.reason if blocked.holds else "Preflight", blocked.message or saying),
        progressing=Answer(False, obstacle.reason) if obstacle else Answer(True, "Preflight", saying),
        blocked=blocked,
    )
    return Decision(build_status(observation, base, answers, state), (), _LOOK_AGAIN_SECONDS)


def _answer_while_training(observation: Observation, progress: DriverProgress) -> Answers:
    obstacle = find_worker_obstacle(observation)
    wanted, ready = observation.wanted_workers, progress.workers.ready
    trains = progress.state in _TRAINING_STATES and ready >= 1
    blocked, degraded = NO, NO
    if progress.state == "WaitingForStorage":
        degraded = Answer(True, Reason.STORAGE_UNAVAILABLE, progress.message or "training waits for storage")
    elif obstacle is not None and not trains:
        blocked = _blocked_by(obstacle)
    elif obstacle is not None:
        degraded = Answer(True, obstacle.reason, f"{ready} of {wanted} workers train: {obstacle.message}")
    if observation.silent_seconds > SILENCE_SECONDS:
        many = "many runs" if observation.surroundings.many_fell_silent else "this run's driver"
        degraded = Answer(
            None, "ProgressUnknown", f"nothing has been heard of {many} for {SILENCE_SECONDS:.0f} s or more"
        )
    return Answers(
        ready=Answer(trains, progress.state, progress.message),
        progressing=Answer(not blocked.holds, progress.state, progress.message),
        degraded=degraded,
        blocked=blocked,
    )


def _answers_when_complete() -> Answers:
    return Answers(
        ready=Answer(False, "Complete"),
        progressing=Answer(False, "Complete"),
        complete=Answer(True, "Complete", "all epochs are done; raise spec.optimization.epochs to train on"),
    )


def _answers_when_failed(reason: str, message: str) -> Answers:
    return Answers(
        ready=Answer(False, reason),
        progressing=Answer(False, reason),
        failed=Answer(
            True,
            reason,
            f"{message}; to try again, give the annotation {RETRY_ANNOTATION} a new value",
        ),
    )


def _answers_before_retry(
    end: AttemptEnd, recovery: Recovery, base: TrainingRunStatus
) -> tuple[RunState, Answers]:
    blocked = find_lasting_block(base)
    when = f"; the next attempt begins at {recovery.not_before:%H:%M:%S} UTC" if recovery.not_before else ""
    answers = Answers(
        ready=Answer(False, end.reason, end.message),
        progressing=Answer(not blocked.holds, end.reason, f"{end.message}{when}"),
        blocked=blocked,
    )
    return ("Blocked" if blocked.holds else "Pending"), answers


def _blocked_by(obstacle: Obstacle) -> Answer:
    return Answer(True, obstacle.reason, obstacle.message)


def _pin_image(observation: Observation, base: TrainingRunStatus) -> TrainingRunStatus:
    """The image by its digest, once a head has shown which it is: tags move."""
    head = observation.head
    if head is None or "@" in base.image or "@sha256:" not in head.image_id:
        return base
    name = base.image or head.image
    return base.model_copy(update={"image": f"{name}@{head.image_id.rpartition('@')[2]}"})
