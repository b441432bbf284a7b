"""What the operator knows of the cluster from its watches: runs, services, what they run on, the nodes.

It never goes back in time: an answer to our own write is taken at once, and what a watch tells later of an
older state is not. Thus no decision rests on a state from before our own last one.
"""

import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from synthray.api.names import HEAD_ROLE
from synthray.operator.views import (
    ClusterView,
    NodeView,
    ObjectKey,
    PodView,
    RayServiceView,
    RunKey,
    ServiceKey,
    key_of,
    view_cluster,
    view_node,
    view_pod,
    view_ray_service,
)

Document = Mapping[str, Any]

_OWNERS = ("TrainingRun", "GenerationService")


class Store:
    """Views of all objects that matter, by run or service; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owners: dict[ObjectKey, dict[str, Any]] = {}
        self._ray_services: defaultdict[ObjectKey, dict[str, RayServiceView]] = defaultdict(dict)
        self._clusters: defaultdict[ObjectKey, dict[str, ClusterView]] = defaultdict(dict)
        self._pods: defaultdict[ObjectKey, dict[str, PodView]] = defaultdict(dict)
        self._nodes: dict[str, NodeView] = {}
        self._versions: dict[tuple[str, str, str], int] = {}

    def set(self, document: Document) -> bool:
        """Take an object as it is now; False if a newer state of it is known already."""
        kind, metadata = document["kind"], document["metadata"]
        identity = (kind, metadata.get("namespace", ""), metadata["name"])
        version = int(metadata["resourceVersion"])
        with self._lock:
            if self._versions.get(identity, -1) >= version:
                return False
            self._versions[identity] = version
            if kind in _OWNERS:
                self._owners[key_of(document)] = _trim_owner(document)
            elif kind == "RayService":
                self._ray_services[key_of(document)][metadata["name"]] = view_ray_service(document)
            elif kind == "RayCluster":
                self._clusters[key_of(document)][metadata["name"]] = view_cluster(document)
            elif kind == "Pod":
                self._pods[key_of(document)][metadata["name"]] = view_pod(document)
            elif kind == "Node":
                self._nodes[metadata["name"]] = view_node(document)
        return True

    def remove(self, document: Document) -> None:
        """Forget an object that is gone."""
        kind, metadata = document["kind"], document["metadata"]
        name = metadata["name"]
        with self._lock:
            self._versions.pop((kind, metadata.get("namespace", ""), name), None)
            if kind == "Node":
                self._nodes.pop(name, None)
                return
            key = key_of(document)
            if kind in _OWNERS:
                self._owners.pop(key, None)
                return
            views: dict[str, Any] = {
                "RayService": self._ray_services,
                "RayCluster": self._clusters,
                "Pod": self._pods,
            }
            mine = views[kind]
            mine[key].pop(name, None)
            if not mine[key]:
                del mine[key]

    def owner(self, key: ObjectKey) -> dict[str, Any] | None:
        """The document of a run or a service, None if there is none."""
        with self._lock:
            return self._owners.get(key)

    def owners(self) -> list[ObjectKey]:
        """All runs and services."""
        with self._lock:
            return list(self._owners)

    def runs(self) -> list[RunKey]:
        """All runs."""
        with self._lock:
            return [key for key in self._owners if isinstance(key, RunKey)]

    def services(self) -> list[ServiceKey]:
        """All services."""
        with self._lock:
            return [key for key in self._owners if isinstance(key, ServiceKey)]

    def ray_service(self, key: ServiceKey) -> RayServiceView | None:
        """A service's RayService."""
        with self._lock:
            return self._ray_services[key].get(key.name) if key in self._ray_services else None

    def clusters(self, key: ObjectKey) -> tuple[ClusterView, ...]:
        """The RayClusters of a run or a service."""
        with self._lock:
            return tuple(self._clusters[key].values()) if key in self._clusters else ()

    def pods(self, key: ObjectKey) -> tuple[PodView, ...]:
        """The pods of a run or a service."""
        with self._lock:
            return tuple(self._pods[key].values()) if key in self._pods else ()

    def nodes(self) -> tuple[NodeView, ...]:
        """All nodes that the operator was told of."""
        with self._lock:
            return tuple(self._nodes.values())

    def heads(self) -> dict[RunKey, tuple[PodView, ...]]:
        """Each run's head pods that can be asked for their progress."""
        with self._lock:
            found = {
                key: tuple(pod for pod in pods.values() if pod.role == HEAD_ROLE and _can_answer(pod))
                for key, pods in self._pods.items()
                if isinstance(key, RunKey)
            }
        return {key: heads for key, heads in found.items() if heads}


def _can_answer(pod: PodView) -> bool:
    return bool(pod.ip) and not pod.is_finished


def _trim_owner(document: Document) -> dict[str, Any]:
    metadata = {key: value for key, value in document["metadata"].items() if key != "managedFields"}
    annotations = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if key.startswith("synthray.io/")
    }
    return {**document, "metadata": {**metadata, "annotations": annotations}}
