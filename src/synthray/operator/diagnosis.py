"""Why isn't it running? One reason, and one sentence with the remedy, from what Kubernetes says. Pure."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

from synthray.api.names import HEAD_ROLE
from synthray.errors import Reason
from synthray.operator.observation import Observation
from synthray.operator.views import NodeView, PodView

# The scheduler and the kubelet take a moment; what lasts longer is worth a word.
_PATIENCE_SECONDS: Final = 10.0
_KUBERAY_PATIENCE_SECONDS: Final = 60.0
_MISSING_REFERENCE: Final = re.compile(r"(secret|configmap) \"([^\"]+)\" not found", re.IGNORECASE)
_QUOTED_CHARACTERS: Final = 400
_PRODUCTS_NAMED: Final = 8


@dataclass(frozen=True)
class Obstacle:
    """What keeps a pod from running."""

    reason: Reason
    message: str


def find_head_obstacle(observation: Observation) -> Obstacle | None:
    """What keeps the head from starting, None while nothing is known to."""
    cluster, head = observation.current, observation.head
    if cluster is None:
        return None
    if head is not None:
        return _find_pod_obstacle(observation, head)
    if observation.troubles:
        return describe_trouble(observation.run.metadata.namespace, "spec.workers", observation.troubles)
    if (
        not cluster.is_seen_by_kuberay
        and observation.age_seconds(cluster.created) > _KUBERAY_PATIENCE_SECONDS
    ):
        return Obstacle(
            Reason.KUBERAY_NOT_RESPONDING,
            f"KubeRay has not touched RayCluster {cluster.name} for over a minute; look at its operator: "
            "kubectl get pods -A -l app.kubernetes.io/component=kuberay-operator",
        )
    return None


def find_worker_obstacle(observation: Observation) -> Obstacle | None:
    """What keeps workers from starting, None while nothing is known to."""
    present = [pod for pod in observation.workers if pod.gone_by is None]
    for pod in present:
        if not pod.ready and (found := _find_pod_obstacle(observation, pod)):
            return found
    cluster = observation.current
    if cluster is not None and len(present) < cluster.replicas and observation.troubles:
        return describe_trouble(observation.run.metadata.namespace, "spec.workers", observation.troubles)
    return None


def needs_events(observation: Observation) -> bool:
    """Whether pods are missing or do not get on, and only the cluster's events tell why."""
    cluster = observation.current
    if cluster is None or observation.age_seconds(cluster.created) < _PATIENCE_SECONDS:
        return False
    if observation.head is None or len(observation.workers) < cluster.replicas:
        return True
    return any(_hangs_in_creation(observation, pod) for pod in (observation.head, *observation.workers))


def _hangs_in_creation(observation: Observation, pod: PodView) -> bool:
    return pod.waiting == "ContainerCreating" and observation.age_seconds(pod.created) > _PATIENCE_SECONDS


def _find_pod_obstacle(observation: Observation, pod: PodView) -> Obstacle | None:
    if pod.unschedulable:
        if observation.age_seconds(pod.created) < _PATIENCE_SECONDS:
            return None
        return Obstacle(Reason.UNSCHEDULABLE, _describe_unschedulable(observation, pod))
    if pod.fails_to_pull:
        return Obstacle(
            Reason.IMAGE_PULL,
            f"pod {pod.name} can't get its image ({pod.waiting}: {quote(pod.waiting_message)}); correct "
            "spec.image or the chart's images.worker, or give the nodes access to the registry "
            "(images.pullSecretNames)",
        )
    if pod.waiting == "CreateContainerConfigError":
        return describe_missing_reference(observation.run.metadata.namespace, pod.waiting_message)
    if _hangs_in_creation(observation, pod):
        return describe_missing_reference(observation.run.metadata.namespace, " ".join(observation.troubles))
    return None


def describe_missing_reference(namespace: str, message: str) -> Obstacle | None:
    """The obstacle in words such as `MountVolume.SetUp failed …: secret "x" not found`."""
    found = _MISSING_REFERENCE.search(message)
    if found is None:
        return None
    kind, keys, field = {
        "secret": ("Secret", "keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "credentialsSecretName"),
        "configmap": ("ConfigMap", "key ca.crt", "caBundleConfigMapName"),
    }[found[1].lower()]
    return Obstacle(
        Reason.SECRET_MISSING,
        f"{kind} {found[2]} does not exist in namespace {namespace}; create it with the {keys}, "
        f"or correct spec.objectStorage.{field}",
    )


def describe_trouble(namespace: str, field: str, troubles: tuple[str, ...]) -> Obstacle:
    """The obstacle in the newest warning that KubeRay or the kubelet wrote."""
    newest = troubles[0]
    if "exceeded quota" in newest:
        return Obstacle(
            Reason.QUOTA_EXCEEDED,
            f"a ResourceQuota of namespace {namespace} refuses the pod ({quote(newest)}); "
            f"raise it, or lower {field}",
        )
    return Obstacle(
        Reason.ADMISSION_DENIED,
        f"the cluster refuses the pod ({quote(newest)}); change what it complains of in the run or in the "
        "cluster's policies",
    )


def _describe_unschedulable(observation: Observation, pod: PodView) -> str:
    gpu, nodes = observation.run.spec.workers.gpu, observation.surroundings.nodes
    said = f"the scheduler says: {quote(pod.unschedulable)}"
    if gpu is None or nodes is None or pod.role == HEAD_ROLE:
        return f"no node has room for pod {pod.name}; {said}"
    matching = [node for node in nodes if node.gpu_product == gpu.product]
    if not matching:
        return (
            f"no node has the label nvidia.com/gpu.product={gpu.product} of spec.workers.gpu.product; "
            f"{_name_products(nodes)}; label a node, or make a run for another product"
        )
    usable = [node for node in matching if node.ready and node.schedulable]
    offered = sum(node.gpus for node in usable)
    waiting = sum(bool(worker.unschedulable) for worker in observation.workers)
    return (
        f"{waiting} of {observation.wanted_workers} workers wait for a GPU: {len(usable)} of {len(matching)} "
        f"nodes with nvidia.com/gpu.product={gpu.product} take pods and offer {offered} GPUs in all; free "
        f"some, add a node, or kubectl scale trainingrun/{observation.run.metadata.name} to fewer; {said}"
    )


def _name_products(nodes: tuple[NodeView, ...]) -> str:
    counts = Counter(node.gpu_product for node in nodes if node.gpu_product)
    if not counts:
        return "no node has a label nvidia.com/gpu.product at all (is NVIDIA's GPU feature discovery there?)"
    named = ", ".join(f"{name} ({count} nodes)" for name, count in sorted(counts.items())[:_PRODUCTS_NAMED])
    return f"there are {named}"


def quote(text: str) -> str:
    """A message of the cluster on one line, cut where it rambles."""
    line = " ".join(text.split())
    return line if len(line) <= _QUOTED_CHARACTERS else f"{line[:_QUOTED_CHARACTERS]}…"
