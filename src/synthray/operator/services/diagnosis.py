"""Why doesn't it answer? One reason, and one sentence with the remedy, from what Kubernetes says. Pure."""

import re
from typing import Final

from synthray.errors import Reason
from synthray.operator.diagnosis import Obstacle, describe_missing_reference, describe_trouble, quote
from synthray.operator.services.observation import ServiceObservation
from synthray.operator.views import PodView

# The scheduler and the kubelet take a moment; what lasts longer is worth a word.
_PATIENCE_SECONDS: Final = 10.0
# KubeRay also warns of what passes, such as a head that does not answer yet.
_REFUSAL: Final = re.compile(r"exceeded quota|forbidden|denied the request|is invalid", re.IGNORECASE)


def find_replica_obstacle(observation: ServiceObservation) -> Obstacle | None:
    """What keeps pods of a service from running, None while nothing is known to."""
    for pod in observation.pods:
        if pod.gone_by is None and not pod.ready and (found := _find_pod_obstacle(observation, pod)):
            return found
    refusals = tuple(trouble for trouble in observation.troubles if _REFUSAL.search(trouble))
    if refusals and len(observation.replicas) < observation.service.spec.replicas:
        return describe_trouble(observation.service.metadata.namespace, "spec.replicas", refusals)
    return None


def _find_pod_obstacle(observation: ServiceObservation, pod: PodView) -> Obstacle | None:
    if pod.unschedulable and observation.age_seconds(pod.created) > _PATIENCE_SECONDS:
        gpu = observation.service.spec.gpu
        wanted = f" with nvidia.com/gpu.product={gpu.product}" if gpu else ""
        return Obstacle(
            Reason.UNSCHEDULABLE,
            f"no node{wanted} has room for pod {pod.name}; free one, add a node, or kubectl scale gensvc/"
            f"{observation.service.metadata.name} to fewer; the scheduler says: {quote(pod.unschedulable)}",
        )
    if pod.fails_to_pull:
        return Obstacle(
            Reason.IMAGE_PULL,
            f"pod {pod.name} can't get its image ({pod.waiting}: {quote(pod.waiting_message)}); correct "
            "spec.image or the chart's images.worker, or give the nodes access to the registry "
            "(images.pullSecretNames)",
        )
    namespace = observation.service.metadata.namespace
    if pod.waiting == "CreateContainerConfigError":
        return describe_missing_reference(namespace, pod.waiting_message)
    hangs = pod.waiting == "ContainerCreating" and observation.age_seconds(pod.created) > _PATIENCE_SECONDS
    return describe_missing_reference(namespace, " ".join(observation.troubles)) if hangs else None
