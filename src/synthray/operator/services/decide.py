"""What to do about a service: one pure, level-triggered function of what is observed.

Asking twice does nothing twice: what is there is compared by the digests that it was made with, so a new
release of the operator moves no replica.
"""

from dataclasses import dataclass
from typing import Final

from synthray.api.names import GENERATION_PORT, PAUSED_ANNOTATION
from synthray.api.replica_arguments import ReplicaArguments, build_replica_arguments
from synthray.api.v1alpha1.generation_service import GenerationServiceStatus
from synthray.errors import Reason
from synthray.operator.actions import SetReplicas
from synthray.operator.conditions import NO, Answer, ServiceAnswers, build_conditions
from synthray.operator.configuration import OperatorConfiguration
from synthray.operator.pod_parts import Manifest
from synthray.operator.services.actions import ChangeService, EndService, ServiceAction, StartService
from synthray.operator.services.diagnosis import find_replica_obstacle
from synthray.operator.services.observation import ModelPlace, ServiceObservation
from synthray.operator.services.ray_service import (
    build_disruption_budget,
    build_ray_service,
    build_replica_selector,
    build_serve_configuration,
    build_service_network_policy,
    digest_arguments,
    digest_pods,
    set_replicas,
)
from synthray.operator.views import RayServiceView

_SOON_SECONDS: Final = 5.0
_READY_SECONDS: Final = 15.0


@dataclass(frozen=True)
class ServiceDecision:
    """The status to write first (None: as it is), the actions then, and when to look again anyway."""

    status: GenerationServiceStatus | None
    actions: tuple[ServiceAction, ...] = ()
    look_again_seconds: float | None = None


def decide_service(observation: ServiceObservation, configuration: OperatorConfiguration) -> ServiceDecision:
    """The status and the actions that follow from what is observed; nothing if all is as it should be."""
    metadata = observation.service.metadata
    is_paused = metadata.annotations.get(PAUSED_ANNOTATION, "false") != "false"
    if metadata.deletion_timestamp is not None or is_paused:
        return ServiceDecision(None)
    if observation.service.spec.replicas == 0:
        return _rest(observation)
    bar = _find_bar(observation)
    if bar is not None:
        return ServiceDecision(_blocked(observation, bar), look_again_seconds=_READY_SECONDS)
    place = observation.place
    if place is None or (not place.is_there and observation.ray_service is None):
        waiting = "the run has saved no checkpoint yet; the service starts, and takes a card, once it has"
        answers = ServiceAnswers(
            ready=Answer(False, "WaitingForModel", waiting), progressing=Answer(True, "WaitingForModel")
        )
        return ServiceDecision(_build_status(observation, answers), look_again_seconds=_READY_SECONDS)
    arguments = build_replica_arguments(observation.service.spec, place.uri, place.storage)
    actions = _plan_actions(observation, arguments, place, configuration)
    answers = _answer(observation)
    seconds = _READY_SECONDS if answers.ready.holds else _SOON_SECONDS
    return ServiceDecision(_build_status(observation, answers), actions, seconds)


def _rest(observation: ServiceObservation) -> ServiceDecision:
    """No replica is wanted: nothing stays, not even the head."""
    ends = _end(observation.ray_service)
    message = "spec.replicas is 0; kubectl scale it to 1 or more"
    answers = ServiceAnswers(
        ready=Answer(False, "ScaledToZero", message), progressing=Answer(bool(ends), "ScaledToZero")
    )
    return ServiceDecision(_build_status(observation, answers), ends)


def _end(ray_service: RayServiceView | None) -> tuple[ServiceAction, ...]:
    if ray_service is None or ray_service.deleting:
        return ()
    return (EndService(ray_service.name, ray_service.uid),)


def _find_bar(observation: ServiceObservation) -> Answer | None:
    if observation.refused:
        return Answer(True, Reason.NOT_ALLOWED, observation.refused)
    if not observation.is_kuberay_installed:
        return Answer(
            True,
            Reason.KUBERAY_MISSING,
            "the cluster has no RayService (ray.io/v1); install KubeRay 1.6 or later: helm install "
            "kuberay-operator kuberay/kuberay-operator",
        )
    if observation.place is None:
        name = observation.service.spec.model.training_run
        return Answer(
            True,
            Reason.NOT_FOUND,
            f"TrainingRun {name} of spec.model.trainingRun does not exist in namespace "
            f"{observation.service.metadata.namespace}; create it, or give spec.model.uri",
        )
    return None


def _plan_actions(
    observation: ServiceObservation,
    arguments: ReplicaArguments,
    place: ModelPlace,
    configuration: OperatorConfiguration,
) -> tuple[ServiceAction, ...]:
    service, present = observation.service, observation.ray_service
    if present is not None and present.deleting:
        return ()
    wanted = build_ray_service(service, arguments, place.storage, configuration)
    policies = configuration.network_policies
    around = (
        build_disruption_budget(service),
        *((build_service_network_policy(service, policies),) if policies.enabled else ()),
    )
    if present is None:
        return (StartService(wanted, around),)
    actions: list[ServiceAction] = []
    patch = _plan_patch(observation, present, arguments, wanted, digest_pods(service.spec, place.storage))
    if patch:
        actions.append(ChangeService(present.name, patch, around))
    # KubeRay does not pass a change of the number on to the cluster that serves.
    actions += [
        SetReplicas(cluster.name, cluster.replicas, service.spec.replicas, ())
        for cluster in observation.clusters
        if not cluster.deleting and cluster.replicas != service.spec.replicas
    ]
    return tuple(actions)


def _plan_patch(
    observation: ServiceObservation,
    present: RayServiceView,
    arguments: ReplicaArguments,
    wanted: Manifest,
    pods_digest: str,
) -> tuple[Manifest, ...]:
    """JSON patch towards what is wanted, as little as possible; empty if nothing is to be changed."""
    replicas = observation.service.spec.replicas
    group = "/spec/rayClusterConfig/workerGroupSpecs/0"
    changes: list[Manifest] = []
    if present.pods_digest != pods_digest:
        changes += [
            {"op": "replace", "path": "/spec", "value": wanted["spec"]},
            {"op": "replace", "path": "/metadata/annotations", "value": wanted["metadata"]["annotations"]},
        ]
    elif present.replicas_digest != digest_arguments(arguments):
        configured = build_serve_configuration(arguments, replicas)
        changes += [
            {"op": "replace", "path": "/spec/serveConfigV2", "value": configured},
            {"op": "replace", "path": f"{group}/replicas", "value": replicas},
            {"op": "replace", "path": "/metadata/annotations", "value": wanted["metadata"]["annotations"]},
        ]
    elif present.replicas != replicas:
        configured = set_replicas(present.serve_configuration, replicas)
        changes += [
            {"op": "replace", "path": "/spec/serveConfigV2", "value": configured},
            {"op": "replace", "path": f"{group}/replicas", "value": replicas},
        ]
    if not changes:
        return ()
    unchanged = {"op": "test", "path": "/metadata/resourceVersion", "value": present.resource_version}
    return (unchanged, *changes)


def _answer(observation: ServiceObservation) -> ServiceAnswers:
    wanted, ready = observation.service.spec.replicas, len(observation.ready_words)
    figure = f"{ready} of {wanted} replicas answer"
    obstacle = find_replica_obstacle(observation) if ready < wanted else None
    if ready:
        is_ready = Answer(True, "Serving", figure)
    elif obstacle is not None:
        is_ready = Answer(False, obstacle.reason, obstacle.message)
    else:
        is_ready = Answer(
            False, "Starting", f"{figure}; a replica loads the model and draws golden seeds first"
        )
    degraded = NO
    if observation.problems:
        degraded = Answer(True, "ReplicaComplains", observation.problems[0])
    elif ready and obstacle is not None:
        degraded = Answer(True, obstacle.reason, obstacle.message)
    blocked = Answer(True, obstacle.reason, obstacle.message) if obstacle and not ready else NO
    return ServiceAnswers(
        ready=is_ready,
        progressing=Answer(ready < wanted, "Starting" if ready < wanted else "AsExpected", figure),
        degraded=degraded,
        blocked=blocked,
    )


def _blocked(observation: ServiceObservation, bar: Answer) -> GenerationServiceStatus:
    answers = ServiceAnswers(
        ready=Answer(False, bar.reason, bar.message), progressing=Answer(False, bar.reason), blocked=bar
    )
    return _build_status(observation, answers)


def _build_status(observation: ServiceObservation, answers: ServiceAnswers) -> GenerationServiceStatus:
    service, base, words = observation.service, observation.status, observation.ready_words
    metadata = service.metadata
    conditions = build_conditions(answers, base.conditions, metadata.generation, observation.now)
    newest = words[0] if words else None
    domain = observation.cluster_domain
    return base.model_copy(
        update={
            "conditions": conditions,
            "observed_generation": metadata.generation,
            "model": newest.model if newest else base.model,
            "model_digest": newest.model_digest if newest else base.model_digest,
            "replicas": len(observation.replicas),
            "ready_replicas": len(words),
            "selector": build_replica_selector(metadata.name),
            "queued_images": sum(word.queued_images for word in words),
            "url": f"http://{metadata.name}-serve-svc.{metadata.namespace}.svc.{domain}:{GENERATION_PORT}",
        }
    )
