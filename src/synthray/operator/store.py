"""What the operator knows of the cluster: runs, their clusters and pods, the nodes; as told by the watches.

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
    PodView,
    RunKey,
    key_of,
    view_cluster,
    view_node,
    view_pod,
)

Document = Mapping[str, Any]


class Store:
    """Views of all objects that matter, by run; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[RunKey, dict[str, Any]] = {}
        self._clusters: defaultdict[RunKey, dict[str, ClusterView]] = defaultdict(dict)
        self._pods: defaultdict[RunKey, dict[str, PodView]] = defaultdict(dict)
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
            if kind == "TrainingRun":
                self._runs[key_of(document)] = _trim_run(document)
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
            if kind == "TrainingRun":
                self._runs.pop(key, None)
                return
            views: defaultdict[RunKey, dict[str, Any]]
            views = self._clusters if kind == "RayCluster" else self._pods
            views[key].pop(name, None)
            if not views[key]:
                del views[key]

    def run(self, key: RunKey) -> dict[str, Any] | None:
        """A run's document, None if there is none."""
        with self._lock:
            return self._runs.get(key)

    def runs(self) -> list[RunKey]:
        """All runs."""
        with self._lock:
            return list(self._runs)

    def clusters(self, key: RunKey) -> tuple[ClusterView, ...]:
        """A run's RayClusters."""
        with self._lock:
            return tuple(self._clusters[key].values()) if key in self._clusters else ()

    def pods(self, key: RunKey) -> tuple[PodView, ...]:
        """A run's pods."""
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
            }
        return {key: heads for key, heads in found.items() if heads}


def _can_answer(pod: PodView) -> bool:
    return bool(pod.ip) and not pod.is_finished


def _trim_run(document: Document) -> dict[str, Any]:
    metadata = {key: value for key, value in document["metadata"].items() if key != "managedFields"}
    annotations = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if key.startswith("synthray.io/")
    }
    return {**document, "metadata": {**metadata, "annotations": annotations}}
