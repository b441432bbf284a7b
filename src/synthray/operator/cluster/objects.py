"""What the operator writes and asks, one method for each verb; every write is safe to repeat."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from synthray.api.names import API_VERSION
from synthray.operator.actions import Tell
from synthray.operator.cluster.api_server import ApiServer, Conflict, Document, Missing
from synthray.operator.views import RunKey

_FIELD_MANAGER: Final = "synthray-operator"
_EVENTS_READ: Final = 50


class Cluster:
    """The objects of runs, on one API server."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    def write_status(self, run: Document, status: Document) -> Document:
        """Replace the status of a run that is as it was read; raises Conflict if it is not."""
        metadata = run["metadata"]
        body = {
            "apiVersion": API_VERSION,
            "kind": "TrainingRun",
            "metadata": {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion")},
            "spec": run["spec"],
            "status": status,
        }
        return self._server.request("PUT", f"{_run_path(run)}/status", body)

    def create_ray_cluster(self, manifest: Document) -> Document:
        """Create it; if it is there already, that one."""
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        try:
            return self._server.request("POST", _ray_clusters(namespace), manifest)
        except Conflict:
            return self._server.request("GET", f"{_ray_clusters(namespace)}/{name}")

    def delete_ray_cluster(self, namespace: str, name: str, uid: str) -> None:
        """Delete this one and no namesake; nothing if it is gone."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            self._server.request("DELETE", f"{_ray_clusters(namespace)}/{name}", body)
        except (Missing, Conflict):
            return

    def patch_ray_cluster(self, namespace: str, name: str, patch: list[Document]) -> Document:
        """Apply a JSON patch; raises Conflict if one of its tests fails."""
        path = f"{_ray_clusters(namespace)}/{name}"
        return self._server.request("PATCH", path, patch, content_type="application/json-patch+json")

    def apply_network_policy(self, manifest: Document) -> None:
        """Make it as the manifest says, by server-side apply."""
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        self._server.request(
            "PATCH",
            f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/{name}",
            manifest,
            query={"fieldManager": _FIELD_MANAGER, "force": "true"},
            content_type="application/apply-patch+yaml",
        )

    def delete_run(self, run: Document, uid: str) -> None:
        """Delete this run and no namesake; what it owns goes with it."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            self._server.request("DELETE", _run_path(run), body)
        except (Missing, Conflict):
            return

    def post_event(self, run: Document, told: Tell) -> None:
        """Write an Event about a run, where `kubectl describe` shows it."""
        metadata, now = run["metadata"], datetime.now(UTC)
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
                "kind": "TrainingRun",
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

    def read_warnings(self, key: RunKey, names: Iterable[str]) -> tuple[str, ...]:
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
            ]
        return tuple(message for _, message in sorted(warnings, reverse=True))


def _run_path(run: Document) -> str:
    metadata = run["metadata"]
    return f"/apis/{API_VERSION}/namespaces/{metadata['namespace']}/trainingruns/{metadata['name']}"


def _ray_clusters(namespace: str) -> str:
    return f"/apis/ray.io/v1/namespaces/{namespace}/rayclusters"
