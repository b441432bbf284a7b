"""A run without an attempt: what bars the next one, and how it begins. Pure."""

from synthray.api.names import ray_cluster_name
from synthray.api.v1alpha1 import TrainingRunStatus
from synthray.api.v1alpha1.training_run_status import RunState
from synthray.errors import Reason
from synthray.operator.actions import Decision, StartAttempt
from synthray.operator.conditions import NO, Answer, Answers
from synthray.operator.configuration import OperatorConfiguration
from synthray.operator.kuberay import build_ray_cluster, build_run_network_policy
from synthray.operator.observation import Observation
from synthray.operator.reasons import Consequence, find_consequence
from synthray.operator.status import build_status

STARTING = "Starting"
_PODS_LEAVE_SECONDS = 5.0
_KUBERAY_SECONDS = 30.0


def decide_between_attempts(
    observation: Observation, base: TrainingRunStatus, configuration: OperatorConfiguration
) -> Decision:
    """Wait, say what bars the way, or begin."""
    bar = _find_bar(observation)
    if bar is not None:
        return Decision(_blocked(observation, base, bar), look_again_seconds=_KUBERAY_SECONDS)
    if observation.leaving:
        names = ", ".join(sorted(pod.name for pod in observation.leaving)[:3])
        waiting = Answer(True, "WaitingForPods", f"pods of the attempt before still save or end: {names}")
        return Decision(_waiting(observation, base, waiting), look_again_seconds=_PODS_LEAVE_SECONDS)
    not_before = base.recovery.not_before
    if not_before is not None and not_before > observation.now:
        waiting = Answer(
            True, "BackOff", f"the next attempt begins at {not_before:%H:%M:%S} UTC; {base.recovery.message}"
        )
        seconds = (not_before - observation.now).total_seconds()
        return Decision(_waiting(observation, base, waiting), look_again_seconds=seconds)
    return begin_attempt(observation, _announce(observation, base), configuration)


def begin_attempt(
    observation: Observation, announced: TrainingRunStatus, configuration: OperatorConfiguration
) -> Decision:
    """The attempt that the status announces; creating it a second time does nothing."""
    run = observation.run
    image = announced.image or run.spec.image or configuration.images.worker
    answers = Answers(
        ready=Answer(False, STARTING, "the driver checks storage and dataset before any worker starts"),
        progressing=Answer(True, STARTING, f"attempt {announced.attempt} starts"),
        blocked=_find_refusal(observation) or find_lasting_block(announced),
    )
    policies = configuration.network_policies
    start = StartAttempt(
        build_ray_cluster(run, announced.attempt, configuration, image=image),
        build_run_network_policy(run, policies) if policies.enabled else None,
    )
    return Decision(build_status(observation, announced, answers, "Pending"), (start,))


def _find_refusal(observation: Observation) -> Answer | None:
    """The cluster's own refusal of the attempt's objects."""
    if not observation.troubles:
        return None
    message = f"the cluster refuses the run's objects: {observation.troubles[0]}"
    return Answer(True, Reason.ADMISSION_DENIED, message)


def find_lasting_block(status: TrainingRunStatus) -> Answer:
    """What blocked the attempt before blocks until an attempt gets past it."""
    recovery = status.recovery
    if not recovery.reason:
        return NO
    is_blocked = find_consequence(recovery.reason) is Consequence.BLOCKED
    lasts = is_blocked or recovery.reason == Reason.UNSCHEDULABLE
    return Answer(True, recovery.reason, recovery.message) if lasts else NO


def _announce(observation: Observation, base: TrainingRunStatus) -> TrainingRunStatus:
    run = observation.run
    attempt = 1 + max([base.attempt, *(cluster.attempt for cluster in observation.clusters)])
    return base.model_copy(
        update={
            "attempt": attempt,
            "ray_cluster": ray_cluster_name(run.metadata.name, attempt),
            "spec_digest": observation.spec_digest,
            "image": _keep_pin(base.image, run.spec.image),
            "recovery": base.recovery.model_copy(update={"not_before": None}),
            "finished": None,
        }
    )


def _keep_pin(pinned: str, wanted: str) -> str:
    """The image of the attempts before, unless the run names another one by now."""
    return pinned if not wanted or pinned.partition("@")[0] == wanted.partition("@")[0] else ""


def _find_bar(observation: Observation) -> Answer | None:
    if observation.refused:
        return Answer(True, Reason.NOT_ALLOWED, observation.refused)
    if not observation.surroundings.is_kuberay_installed:
        return Answer(
            True,
            Reason.KUBERAY_MISSING,
            "the cluster has no RayCluster (ray.io/v1); install KubeRay 1.6 or later: helm install "
            "kuberay-operator kuberay/kuberay-operator",
        )
    return None


def _blocked(observation: Observation, base: TrainingRunStatus, bar: Answer) -> TrainingRunStatus:
    answers = Answers(
        ready=Answer(False, bar.reason, bar.message),
        progressing=Answer(False, bar.reason),
        blocked=bar,
    )
    return build_status(observation, base, answers, "Blocked")


def _waiting(observation: Observation, base: TrainingRunStatus, waiting: Answer) -> TrainingRunStatus:
    blocked = find_lasting_block(base)
    state: RunState = "Blocked" if blocked.holds else "Pending"
    answers = Answers(
        ready=Answer(False, base.recovery.reason or waiting.reason, base.recovery.message),
        progressing=waiting,
        blocked=blocked,
    )
    return build_status(observation, base, answers, state)
