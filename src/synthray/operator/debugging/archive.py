"""What belongs into the archive of a run or a service, and where. Pure but for the files it is given.

Secrets are not asked for at all; what else may hold one goes through `redaction`.
"""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from synthray.api.names import RUN_LABEL, SERVICE_LABEL
from synthray.telemetry.redaction import redact_document, redact_text

LOG_BYTES: Final = 2 * 1024 * 1024
LOG_LINES: Final = 20_000
OPERATOR_PODS: Final = "app.kubernetes.io/name=synthray-operator"
KUBERAY_PODS: Final = "app.kubernetes.io/component=kuberay-operator"


@dataclass(frozen=True)
class Subject:
    """What the archive is about: a TrainingRun or a GenerationService."""

    kind: str
    namespace: str
    name: str

    @property
    def selector(self) -> str:
        """The label of all that belongs to it."""
        return f"{RUN_LABEL if self.kind == 'TrainingRun' else SERVICE_LABEL}={self.name}"

    @property
    def path(self) -> str:
        """Its own path on the API server."""
        plural = "trainingruns" if self.kind == "TrainingRun" else "generationservices"
        return f"/apis/synthray.io/v1alpha1/namespaces/{self.namespace}/{plural}/{self.name}"


@dataclass(frozen=True)
class Wanted:
    """One document to ask for, and the file that it becomes."""

    file: str
    path: str
    selector: str = ""


def plan_documents(subject: Subject) -> tuple[Wanted, ...]:
    """Everything that is JSON; what can't be read is said in the archive and missed by nobody else."""
    inside, mine = f"namespaces/{subject.namespace}", subject.selector
    return (
        Wanted("object.json", subject.path),
        Wanted("ray-clusters.json", f"/apis/ray.io/v1/{inside}/rayclusters", mine),
        Wanted("ray-services.json", f"/apis/ray.io/v1/{inside}/rayservices", mine),
        Wanted("pods.json", f"/api/v1/{inside}/pods", mine),
        Wanted("network-policies.json", f"/apis/networking.k8s.io/v1/{inside}/networkpolicies", mine),
        Wanted("events.json", f"/api/v1/{inside}/events"),
        Wanted("resource-quotas.json", f"/api/v1/{inside}/resourcequotas"),
        Wanted("nodes.json", "/api/v1/nodes"),
        Wanted("operator-pods.json", "/api/v1/pods", OPERATOR_PODS),
        Wanted("kuberay-pods.json", "/api/v1/pods", KUBERAY_PODS),
        Wanted("kubernetes-version.json", "/version"),
    )


def list_containers(pods: Mapping[str, Any]) -> list[tuple[str, str, str, bool]]:
    """Namespace, pod, container of a list of pods, and whether the container has a former life."""
    return [
        (pod["metadata"]["namespace"], pod["metadata"]["name"], status["name"], bool(status["restartCount"]))
        for pod in pods.get("items", [])
        for status in [
            *(pod["status"].get("initContainerStatuses") or []),
            *(pod["status"].get("containerStatuses") or []),
        ]
    ]


def trim_nodes(nodes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What decides where pods go: labels, taints, what is offered, and how the node is."""
    return [
        {
            "name": node["metadata"]["name"],
            "labels": node["metadata"].get("labels", {}),
            "taints": node["spec"].get("taints", []),
            "unschedulable": node["spec"].get("unschedulable", False),
            "allocatable": node["status"].get("allocatable", {}),
            "conditions": node["status"].get("conditions", []),
            "versions": node["status"].get("nodeInfo", {}),
        }
        for node in nodes.get("items", [])
    ]


class Archive:
    """Files in memory, redacted as they come; bounded, since each log is."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._files: dict[str, bytes] = {}
        self._missing: list[str] = []

    def add_document(self, file: str, document: object) -> None:
        """Add JSON."""
        self._files[file] = json.dumps(redact_document(document), indent=1).encode()

    def add_log(self, file: str, text: str) -> None:
        """Add text."""
        self._files[file] = redact_text(text).encode()

    def miss(self, file: str, why: str) -> None:
        """Say what could not be had."""
        self._missing.append(f"{file}: {redact_text(why)}")

    @property
    def missing(self) -> Sequence[str]:
        """What could not be had, a line each."""
        return self._missing

    def write(self, target: Path) -> None:
        """Write all at once: a half archive never has the archive's name."""
        files = {**self._files, "missing.txt": "\n".join([*self._missing, ""]).encode()}
        unfinished = target.with_name(f".{target.name}.unfinished")
        try:
            with tarfile.open(unfinished, "w:gz") as archive:
                for name, data in sorted(files.items()):
                    entry = tarfile.TarInfo(f"{self._folder}/{name}")
                    entry.size, entry.mode = len(data), 0o644
                    archive.addfile(entry, io.BytesIO(data))
            unfinished.rename(target)
        finally:
            unfinished.unlink(missing_ok=True)
