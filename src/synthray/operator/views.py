"""What the operator observes, as small frozen values made from the API server's documents. Pure.

Documents are trimmed to these as they arrive, so that thousands of runs fit into little memory, and decisions
never reach into nested dictionaries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from synthray.api.names import (
    ATTEMPT_LABEL,
    GPU_PRODUCT_LABEL,
    GPU_RESOURCE,
    REPLICAS_DIGEST_ANNOTATION,
    ROLE_LABEL,
    RUN_LABEL,
    SERVICE_LABEL,
    SPEC_DIGEST_ANNOTATION,
)

_PULL_FAILURES: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)

Document = Mapping[str, Any]


@dataclass(frozen=True)
class RunKey:
    """One TrainingRun of the cluster."""

    namespace: str
    name: str


@dataclass(frozen=True)
class ServiceKey:
    """One GenerationService of the cluster."""

    namespace: str
    name: str


ObjectKey = RunKey | ServiceKey


@dataclass(frozen=True)
class ClusterView:
    """A RayCluster: one attempt of a run, or what a service runs on."""

    name: str
    uid: str
    attempt: int
    created: datetime
    deleting: bool
    replicas: int
    spec_digest: str
    named_for_deletion: tuple[str, ...]
    is_seen_by_kuberay: bool
    head_missing: bool


@dataclass(frozen=True)
class PodView:
    """A pod of an attempt.

    `waiting` is why its container does not run yet, in Kubernetes' words; `ended` why it runs no more, and
    `last_words` what it left to say then.
    `gone_by` is when Kubernetes would have removed a pod that is being deleted.
    """

    name: str
    uid: str
    attempt: int
    role: str
    phase: str
    node: str
    ip: str
    ready: bool
    created: datetime
    gone_by: datetime | None
    waiting: str
    waiting_message: str
    ended: str
    last_words: str
    exit_code: int | None
    unschedulable: str
    image: str
    image_id: str

    @property
    def is_finished(self) -> bool:
        """Whether its container will never run again."""
        return self.phase in {"Succeeded", "Failed"}

    @property
    def fails_to_pull(self) -> bool:
        """Whether its image can't be had."""
        return self.waiting in _PULL_FAILURES


@dataclass(frozen=True)
class NodeView:
    """A node, as far as placement of workers goes."""

    name: str
    ready: bool
    schedulable: bool
    gpu_product: str
    gpus: int


def view_cluster(document: Document) -> ClusterView:
    """A RayCluster's document."""
    metadata, spec, status = document["metadata"], document.get("spec", {}), document.get("status") or {}
    group = (spec.get("workerGroupSpecs") or [{}])[0]
    conditions = {item["type"]: item for item in status.get("conditions") or []}
    head = conditions.get("HeadPodReady", {})
    return ClusterView(
        name=metadata["name"],
        uid=metadata["uid"],
        attempt=int(metadata.get("labels", {}).get(ATTEMPT_LABEL, 0)),
        created=_time(metadata["creationTimestamp"]),
        deleting="deletionTimestamp" in metadata,
        replicas=int(group.get("replicas") or 0),
        spec_digest=metadata.get("annotations", {}).get(SPEC_DIGEST_ANNOTATION, ""),
        named_for_deletion=tuple((group.get("scaleStrategy") or {}).get("workersToDelete") or ()),
        is_seen_by_kuberay=bool(status),
        head_missing=head.get("reason") == "HeadPodNotFound",
    )


@dataclass(frozen=True)
class RayServiceView:
    """A RayService; the digests are of what its pods and its replicas were made with.

    `failure`: what Serve says of an application that it gave up.
    """

    name: str
    uid: str
    deleting: bool
    resource_version: str
    pods_digest: str
    replicas_digest: str
    replicas: int
    serve_configuration: str
    failure: str = ""


def view_ray_service(document: Document) -> RayServiceView:
    """A RayService's document."""
    metadata, spec = document["metadata"], document.get("spec", {})
    group = (spec.get("rayClusterConfig", {}).get("workerGroupSpecs") or [{}])[0]
    annotations = metadata.get("annotations", {})
    return RayServiceView(
        name=metadata["name"],
        uid=metadata["uid"],
        deleting="deletionTimestamp" in metadata,
        resource_version=metadata["resourceVersion"],
        pods_digest=annotations.get(SPEC_DIGEST_ANNOTATION, ""),
        replicas_digest=annotations.get(REPLICAS_DIGEST_ANNOTATION, ""),
        replicas=int(group.get("replicas") or 0),
        serve_configuration=spec.get("serveConfigV2", ""),
        failure=_find_serve_failure(document.get("status") or {}),
    )


def _find_serve_failure(status: Document) -> str:
    """Of the newest cluster of a RayService; Serve quotes there the traceback of a replica's start."""
    for cluster in ("pendingServiceStatus", "activeServiceStatus"):
        applications = (status.get(cluster) or {}).get("applicationStatuses") or {}
        for application in applications.values():
            if application.get("status") == "DEPLOY_FAILED":
                deployments = (application.get("serveDeploymentStatuses") or {}).values()
                said = [str(one.get("message", "")) for one in (*deployments, application)]
                return "\n".join(filter(None, said)) or "Serve gave the application up"
    return ""


def view_pod(document: Document) -> PodView:
    """A pod's document."""
    metadata, spec, status = document["metadata"], document.get("spec", {}), document.get("status") or {}
    labels = metadata.get("labels", {})
    conditions = {item["type"]: item for item in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    container = _telling_container(status)
    waiting = container.get("state", {}).get("waiting") or {}
    ended = container.get("state", {}).get("terminated") or {}
    deleted = metadata.get("deletionTimestamp")
    return PodView(
        name=metadata["name"],
        uid=metadata["uid"],
        attempt=int(labels.get(ATTEMPT_LABEL, 0)),
        role=labels.get(ROLE_LABEL, ""),
        phase=status.get("phase", "Pending"),
        node=spec.get("nodeName", ""),
        ip=status.get("podIP", ""),
        ready=conditions.get("Ready", {}).get("status") == "True",
        created=_time(metadata["creationTimestamp"]),
        gone_by=_time(deleted) if deleted else None,
        waiting=_name_wait(status, waiting.get("reason", "")),
        waiting_message=waiting.get("message", ""),
        ended=ended.get("reason", "") or status.get("reason", ""),
        last_words=ended.get("message", ""),
        exit_code=ended.get("exitCode"),
        unschedulable=scheduled.get("message", "") if scheduled.get("reason") == "Unschedulable" else "",
        image=next((item.get("image", "") for item in spec.get("containers") or []), ""),
        image_id=container.get("imageID", ""),
    )


def view_node(document: Document) -> NodeView:
    """A node's document."""
    metadata, spec, status = document["metadata"], document.get("spec", {}), document.get("status") or {}
    conditions = {item["type"]: item["status"] for item in status.get("conditions") or []}
    return NodeView(
        name=metadata["name"],
        ready=conditions.get("Ready") == "True",
        schedulable=not spec.get("unschedulable", False),
        gpu_product=metadata.get("labels", {}).get(GPU_PRODUCT_LABEL, ""),
        gpus=int((status.get("allocatable") or {}).get(GPU_RESOURCE, 0)),
    )


def key_of(document: Document) -> ObjectKey:
    """The run or service that a document belongs to: the object itself, or the one whose label it carries."""
    metadata, kind = document["metadata"], document.get("kind")
    namespace, labels = metadata["namespace"], metadata.get("labels", {})
    if kind == "GenerationService":
        return ServiceKey(namespace, metadata["name"])
    if kind != "TrainingRun" and SERVICE_LABEL in labels:
        return ServiceKey(namespace, labels[SERVICE_LABEL])
    name = labels.get(RUN_LABEL) if kind != "TrainingRun" else None
    return RunKey(namespace, name or metadata["name"])


def _telling_container(status: Document) -> Document:
    """The first container that does not run, init containers before the others; else the main one."""
    init: list[Document] = list(status.get("initContainerStatuses") or [])
    main: list[Document] = list(status.get("containerStatuses") or [])
    for container in [*init, *main]:
        state = container.get("state", {})
        ended = state.get("terminated") or {}
        if state.get("waiting") and state["waiting"].get("reason") != "PodInitializing":
            return container
        if ended.get("exitCode"):
            return container
    return main[0] if main else {}


def _name_wait(status: Document, reason: str) -> str:
    """Why a container waits: of a pod with init containers the kubelet says less than of others."""
    init: list[Document] = list(status.get("initContainerStatuses") or [])
    has_begun = any("waiting" not in container.get("state", {}) for container in init)
    return "ContainerCreating" if reason == "PodInitializing" and init and not has_begun else reason


def _time(text: str | datetime) -> datetime:
    moment = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
