"""What the operator writes and asks, one method for each verb; every write is safe to repeat."""

import logging
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

from synthray.api.names import API_VERSION
from synthray.errors import Unavailable
from synthray.operator.actions import Tell
from synthray.operator.cluster.api_server import ApiServer, Conflict, Document, Missing, Refused
from synthray.operator.views import ObjectKey

_FIELD_MANAGER: Final = "synthray-operator"
_EVENTS_READ: Final = 50
_PLURALS: Final = {
    "TrainingRun": "trainingruns",
    "GenerationService": "generationservices",
    "RayCluster": "rayclusters",
    "RayService": "rayservices",
    "NetworkPolicy": "networkpolicies",
    "PodDisruptionBudget": "poddisruptionbudgets",
}

RayKind = Literal["RayCluster", "RayService"]

_log = logging.getLogger(__name__)


class Cluster:
    """The objects of runs and services, on one API server."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    def write_status(self, owner: Document, status: Document) -> Document:
        """Replace the status of a run or service that is as it was read; raises Conflict if it is not."""
        metadata = owner["metadata"]
        body = {
            "apiVersion": API_VERSION,
            "kind": owner["kind"],
            "metadata": {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion")},
            "spec": owner["spec"],
            "status": status,
        }
        return self._server.request("PUT", f"{_owner_path(owner)}/status", body)

    def create(self, kind: RayKind, manifest: Document) -> Document:
        """Create a RayCluster or RayService; if it is there already, that one."""
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        try:
            return self._server.request("POST", _ray_path(kind, namespace), manifest)
        except Conflict:
            return self._server.request("GET", f"{_ray_path(kind, namespace)}/{name}")

    def delete(self, kind: RayKind, namespace: str, name: str, uid: str) -> None:
        """Delete this one and no namesake; nothing if it is gone."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            self._server.request("DELETE", f"{_ray_path(kind, namespace)}/{name}", body)
        except (Missing, Conflict):
            return

    def patch(self, kind: RayKind, namespace: str, name: str, patch: Sequence[Document]) -> Document:
        """Apply a JSON patch; raises Conflict if one of its tests fails."""
        path = f"{_ray_path(kind, namespace)}/{name}"
        return self._server.request("PATCH", path, list(patch), content_type="application/json-patch+json")

    def apply(self, manifest: Document) -> None:
        """Make a NetworkPolicy or PodDisruptionBudget as the manifest says, by server-side apply."""
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        plural = _PLURALS[manifest["kind"]]
        self._server.request(
            "PATCH",
            f"/apis/{manifest['apiVersion']}/namespaces/{namespace}/{plural}/{name}",
            manifest,
            query={"fieldManager": _FIELD_MANAGER, "force": "true"},
            content_type="application/apply-patch+yaml",
        )

    def delete_run(self, run: Document, uid: str) -> None:
        """Delete this run and no namesake; what it owns goes with it."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            self._server.request("DELETE", _owner_path(run), body)
        except (Missing, Conflict):
            return

    def tell(self, owner: Document, news: Iterable[Tell]) -> None:
        """Write an Event about a run or service for each, where `kubectl describe` shows them."""
        metadata = owner["metadata"]
        for told in news:
            _log.info("%s/%s: %s: %s", metadata["namespace"], metadata["name"], told.reason, told.message)
            try:
                self._post_event(owner, told)
            except (Refused, Missing, Conflict, Unavailable) as error:
                _log.warning("an Event could not be written: %s", error)

    def _post_event(self, owner: Document, told: Tell) -> None:
        metadata, now = owner["metadata"], datetime.now(UTC)
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}",
                "namespace": metadata["namespace"],
            },
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": owner["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
            "type": "Warning" if told.is_warning else "Normal",
            "reason": told.reason,
            "message": told.message[:1024],
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "source": {"component": _FIELD_MANAGER},
            "reportingComponent": _FIELD_MANAGER,
        }
        self._server.request("POST", f"/api/v1/namespaces/{metadata['namespace']}/events", event)

    def read_warnings(self, key: ObjectKey, names: Iterable[str]) -> tuple[str, ...]:
        """What Kubernetes complains of about these objects of a run, newest first."""
        warnings: list[tuple[str, str]] = []
        for name in names:
            query = {
                "fieldSelector": f"involvedObject.name={name},type=Warning",
                "limit": str(_EVENTS_READ),
            }
            page = self._server.request("GET", f"/api/v1/namespaces/{key.namespace}/events", query=query)
            warnings += [
                (event.get("lastTimestamp") or event.get("eventTime") or "", event.get("message") or "")
                for event in page["items"]
                # What we said ourselves is no news to us.
                if event.get("source", {}).get("component") != _FIELD_MANAGER
            ]
        return tuple(message for _, message in sorted(warnings, reverse=True))


def _owner_path(owner: Document) -> str:
    metadata, plural = owner["metadata"], _PLURALS[owner["kind"]]
    return f"/apis/{API_VERSION}/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}"


def _ray_path(kind: RayKind, namespace: str) -> str:
    return f"/apis/ray.io/v1/namespaces/{namespace}/{_PLURALS[kind]}"
