"""Watches: list everything once, then follow the changes; after a gap list anew and tell what vanished."""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from synthray.api.names import RUN_LABEL, SERVICE_LABEL
from synthray.errors import Unavailable
from synthray.operator.cluster.api_server import ApiServer, Document, Expired, Missing, Refused

_PAGE: Final = 500
_STREAM_SECONDS: Final = 300
_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WatchedKind:
    """A kind of object that the operator follows; `is_namespaced` is False for nodes."""

    name: str
    path: str
    selector: str = ""
    is_namespaced: bool = True

    def url(self, namespace: str) -> str:
        """The path of all objects of the kind, or of those of one namespace."""
        group, _, plural = self.path.rpartition("/")
        inside = f"/namespaces/{namespace}" if namespace and self.is_namespaced else ""
        return f"{group}{inside}/{plural}"


RUNS: Final = WatchedKind("TrainingRun", "/apis/synthray.io/v1alpha1/trainingruns")
SERVICES: Final = WatchedKind("GenerationService", "/apis/synthray.io/v1alpha1/generationservices")
RAY_SERVICES: Final = WatchedKind("RayService", "/apis/ray.io/v1/rayservices", SERVICE_LABEL)
RAY_CLUSTERS: Final = WatchedKind("RayCluster", "/apis/ray.io/v1/rayclusters", RUN_LABEL)
SERVICE_RAY_CLUSTERS: Final = WatchedKind("RayCluster", "/apis/ray.io/v1/rayclusters", SERVICE_LABEL)
PODS: Final = WatchedKind("Pod", "/api/v1/pods", RUN_LABEL)
SERVICE_PODS: Final = WatchedKind("Pod", "/api/v1/pods", SERVICE_LABEL)
NODES: Final = WatchedKind("Node", "/api/v1/nodes", is_namespaced=False)

Observe = Callable[[str, Document], None]
"""Takes `SET` or `GONE`, and the document."""
SET: Final = "SET"
GONE: Final = "GONE"


@dataclass
class Follower:
    """One kind in one namespace (empty: all), and whether the first list is complete."""

    kind: WatchedKind
    namespace: str
    synced: threading.Event
    is_absent: bool = False


def follow(server: ApiServer, follower: Follower, observe: Observe, stopping: threading.Event) -> None:
    """Tell every change until stopped; passing trouble is waited out, however long it takes."""
    pause = _PAUSE_SECONDS
    known: dict[tuple[str, str], Document] = {}
    version = ""
    while not stopping.is_set():
        try:
            if not version:
                version = _list(server, follower, observe, known)
                follower.is_absent = False
                follower.synced.set()
            for event in _watch(server, follower, version):
                version = event["object"]["metadata"]["resourceVersion"]
                _tell(event, observe, known)
                if stopping.is_set():
                    return
            pause = _PAUSE_SECONDS
        except Expired:
            version = ""
        except Missing:
            # The kind itself is not there: its CRD is not installed, or was removed.
            if not follower.is_absent:
                _log.warning("the cluster has no %s (%s)", follower.kind.name, follower.kind.path)
            _forget(observe, known)
            version, follower.is_absent = "", True
            follower.synced.set()
            stopping.wait(_LONGEST_PAUSE_SECONDS)
        except (Unavailable, Refused, ValueError) as error:
            _log.warning("watching %ss: %s", follower.kind.name, error)
            stopping.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _list(
    server: ApiServer, follower: Follower, observe: Observe, known: dict[tuple[str, str], Document]
) -> str:
    """Tell all that is there, and then what was there before and is no more; the version of the list."""
    seen: set[tuple[str, str]] = set()
    query = _query(follower.kind) | {"limit": str(_PAGE)}
    while True:
        page = server.request("GET", follower.kind.url(follower.namespace), query=query)
        for item in page["items"]:
            document = {**item, "kind": follower.kind.name}
            seen.add(_identify(document))
            _tell({"type": "ADDED", "object": document}, observe, known)
        following = page["metadata"].get("continue")
        if not following:
            break
        query = {**query, "continue": following}
    for key in known.keys() - seen:
        observe(GONE, known.pop(key))
    return str(page["metadata"]["resourceVersion"])


def _watch(server: ApiServer, follower: Follower, version: str) -> Iterator[Document]:
    query = _query(follower.kind) | {
        "watch": "true",
        "resourceVersion": version,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": str(_STREAM_SECONDS),
    }
    for event in server.stream(follower.kind.url(follower.namespace), query):
        yield {**event, "object": {**event["object"], "kind": follower.kind.name}}


def _query(kind: WatchedKind) -> dict[str, str]:
    return {"labelSelector": kind.selector} if kind.selector else {}


def _tell(event: Document, observe: Observe, known: dict[tuple[str, str], Document]) -> None:
    if event["type"] == "BOOKMARK":
        return
    document = event["object"]
    key = _identify(document)
    if event["type"] == "DELETED":
        known.pop(key, None)
        observe(GONE, document)
        return
    metadata = document["metadata"]
    known[key] = {
        "kind": document["kind"],
        "metadata": {
            field: metadata[field] for field in ("name", "namespace", "uid", "labels") if field in metadata
        },
    }
    observe(SET, document)


def _forget(observe: Observe, known: dict[tuple[str, str], Document]) -> None:
    for document in known.values():
        observe(GONE, document)
    known.clear()


def _identify(document: Document) -> tuple[str, str]:
    return document["metadata"].get("namespace", ""), document["metadata"]["name"]
