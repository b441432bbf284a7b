"""Why doesn't it answer? One reason, and one sentence with the remedy, from what Kubernetes says. Pure."""

import re
from typing import Final

from synthray.api.names import TOKEN_KEY
from synthray.errors import InvalidInput, Reason, VerificationFailed
from synthray.operator.diagnosis import Obstacle, describe_missing_reference, describe_trouble, quote
from synthray.operator.services.observation import ServiceObservation
from synthray.operator.views import PodView

# The scheduler and the kubelet take a moment; what lasts longer is worth a word.
_PATIENCE_SECONDS: Final = 10.0
_MISSING_MOUNT: Final = 'secret "{name}" not found|volume "token".*non-existent secret key'
_OWN_WORDS: Final = re.compile(r"synthray\.errors\.(\w+): (.+)")
_REASONS: Final[dict[str, Reason]] = {
    error.__name__: error.default_reason for error in (InvalidInput, VerificationFailed)
}
# KubeRay also warns of what passes, such as a head that does not answer yet.
_REFUSAL: Final = re.compile(r"exceeded quota|forbidden|denied the request|is invalid", re.IGNORECASE)


def find_replica_obstacle(observation: ServiceObservation) -> Obstacle | None:
    """What keeps pods of a service from running, None while nothing is known to."""
    for pod in observation.pods:
        if pod.gone_by is None and not pod.ready and (found := _find_pod_obstacle(observation, pod)):
            return found
    if (failed := _describe_failure(observation)) is not None:
        return failed
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
    if not hangs:
        return None
    troubles = " ".join(observation.troubles)
    return _describe_missing_token(observation, troubles) or describe_missing_reference(namespace, troubles)


def _describe_missing_token(observation: ServiceObservation, troubles: str) -> Obstacle | None:
    name, namespace = observation.service.spec.token_secret_name, observation.service.metadata.namespace
    if not name or not re.search(_MISSING_MOUNT.format(name=re.escape(name)), troubles):
        return None
    return Obstacle(
        Reason.SECRET_MISSING,
        f"Secret {name} with the key {TOKEN_KEY} of spec.tokenSecretName does not exist in namespace "
        f"{namespace}; create it: kubectl -n {namespace} create secret generic {name} "
        f"--from-literal={TOKEN_KEY}=$(openssl rand -hex 32)",
    )


def _describe_failure(observation: ServiceObservation) -> Obstacle | None:
    """What a replica said when it could not start; Serve tries a few times and then no more."""
    ray_service = observation.ray_service
    if ray_service is None or not ray_service.failure:
        return None
    said = _OWN_WORDS.findall(ray_service.failure)
    kind, message = said[-1] if said else ("", ray_service.failure)
    return Obstacle(
        _REASONS.get(kind, Reason.VERIFICATION_FAILED),
        f"replicas can't start: {quote(message.strip())}; correct it, then kubectl -n "
        f"{observation.service.metadata.namespace} delete rayservice {ray_service.name}, which is made anew",
    )
