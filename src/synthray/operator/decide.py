"""What to do about a run: one pure, level-triggered function of what is observed.

The status that it answers is written before its actions are taken. So an attempt is announced before it is
created, and its end is recorded before it is deleted: whoever dies in between leaves enough for the next one
to go on, and asking twice does nothing twice.
"""

from datetime import timedelta
from typing import Final

from synthray.api.names import PAUSED_ANNOTATION, RETRY_ANNOTATION
from synthray.api.v1alpha1 import TrainingRunStatus
from synthray.errors import Reason
from synthray.operator.actions import Action, Decision, DeleteRun, EndAttempt
from synthray.operator.between_attempts import STARTING, begin_attempt, decide_between_attempts
from synthray.operator.conditions import Answer, Answers, find_condition, holds
from synthray.operator.configuration import OperatorConfiguration
from synthray.operator.during_attempt import decide_during_attempt, settle_attempt
from synthray.operator.endings import AttemptEnd
from synthray.operator.observation import Observation
from synthray.operator.reasons import Consequence
from synthray.operator.status import build_status, count_workers
from synthray.operator.views import ClusterView

_LOOK_AGAIN_SECONDS: Final = 5.0


def decide(observation: Observation, configuration: OperatorConfiguration) -> Decision:
    """The status and the actions that follow from what is observed; nothing if all is as it should be."""
    metadata = observation.run.metadata
    if metadata.deletion_timestamp is not None or _is_paused(observation):
        # Owned objects go with the run: their pods get SIGTERM and save. No finalizer holds it back.
        return Decision(None)
    base = _heed_retry(observation)
    if _is_finished(observation, base):
        return _keep_finished(observation)
    if observation.run.spec.suspend:
        return _suspend(observation, base)
    if observation.current is not None:
        decision = decide_during_attempt(observation, base, observation.current)
    elif base.ray_cluster:
        decision = _find_announced(observation, base, configuration)
    else:
        decision = decide_between_attempts(observation, base, configuration)
    # Clusters that are not the current attempt's go first: attempts never overlap.
    strays = _end_all(observation, but=observation.current)
    return Decision(decision.status, (*strays, *decision.actions), decision.look_again_seconds)


def _is_paused(observation: Observation) -> bool:
    return observation.run.metadata.annotations.get(PAUSED_ANNOTATION, "false") != "false"


def _heed_retry(observation: Observation) -> TrainingRunStatus:
    """The status; with nothing to wait for where somebody wants another try, or has changed the run."""
    status = observation.status
    wanted = observation.run.metadata.annotations.get(RETRY_ANNOTATION, "")[:256]
    was_changed = not status.ray_cluster and status.spec_digest != observation.spec_digest
    if wanted == status.retried and not was_changed:
        return status
    recovery = status.recovery.model_copy(update={"failures": 0, "not_before": None})
    return status.model_copy(update={"retried": wanted, "recovery": recovery})


def _is_finished(observation: Observation, base: TrainingRunStatus) -> bool:
    """Whether the run has ended, and nobody has changed it or asked for another attempt since."""
    status = observation.status
    ended = holds(status.conditions, "Complete") or holds(status.conditions, "Failed")
    changed = status.spec_digest != observation.spec_digest
    return ended and not changed and base.retried == status.retried


def _keep_finished(observation: Observation) -> Decision:
    """Nothing runs; the object goes when its time is over."""
    status, run = observation.status, observation.run
    ends = _end_all(observation)
    observed = status.model_copy(
        update={
            "observed_generation": run.metadata.generation,
            "workers": count_workers(observation, status),
            "images_per_second": None,
            "eta": "",
        }
    )
    time_to_live = run.spec.ttl_seconds_after_finished
    if time_to_live is None or status.finished is None:
        return Decision(observed, ends)
    seconds_left = (status.finished + timedelta(seconds=time_to_live) - observation.now).total_seconds()
    if seconds_left > 0:
        return Decision(observed, ends, seconds_left)
    return Decision(observed, (*ends, DeleteRun(run.metadata.uid)))


def _end_all(observation: Observation, *, but: ClusterView | None = None) -> tuple[Action, ...]:
    return tuple(
        EndAttempt(cluster.name, cluster.uid)
        for cluster in observation.clusters
        if not cluster.deleting and cluster != but
    )


def _suspend(observation: Observation, base: TrainingRunStatus) -> Decision:
    """Let everything go by SIGTERM; suspended once nothing is left."""
    left = [pod for pod in observation.pods if not pod.is_finished and not observation.is_stuck(pod)]
    is_over = observation.current is None and not left
    base = base.model_copy(update={"ray_cluster": ""})
    message = "set spec.suspend to false to go on where it stopped"
    answers = Answers(
        ready=Answer(False, "Suspended"),
        progressing=Answer(False, "Suspended" if is_over else "Suspending"),
        suspended=Answer(True, "Suspended", message)
        if is_over
        else Answer(False, "Suspending", "pods save and end"),
    )
    status = build_status(observation, base, answers, "Suspended" if is_over else "Saving")
    return Decision(status, _end_all(observation), None if is_over else _LOOK_AGAIN_SECONDS)


def _find_announced(
    observation: Observation, base: TrainingRunStatus, configuration: OperatorConfiguration
) -> Decision:
    """An attempt was announced and is not there: it was never created, or somebody deleted it."""
    progressing = find_condition(base.conditions, "Progressing")
    is_named_still = any(cluster.name == base.ray_cluster for cluster in observation.clusters)
    if progressing is not None and progressing.reason == STARTING and not is_named_still:
        return begin_attempt(observation, base, configuration)
    return settle_attempt(
        observation,
        base,
        AttemptEnd(
            Reason.HEAD_LOST,
            f"RayCluster {base.ray_cluster} was deleted by another hand",
            Consequence.UNCOUNTED,
        ),
    )
