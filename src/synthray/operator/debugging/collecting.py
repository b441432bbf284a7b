"""Asks a cluster for what belongs into the archive; what it refuses is noted, and the rest still comes."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import synthray
from synthray.errors import NotFound, Unavailable
from synthray.operator.cluster import ApiServer, Missing, Refused
from synthray.operator.debugging.archive import (
    LOG_BYTES,
    LOG_LINES,
    Archive,
    Subject,
    list_containers,
    plan_documents,
    trim_nodes,
)

_KINDS: Final = ("TrainingRun", "GenerationService")
_PODS: Final = ("pods.json", "operator-pods.json", "kuberay-pods.json")


def find_subject(server: ApiServer, namespace: str, name: str) -> Subject:
    """The run, or else the service, of that name; raises NotFound, Refused, Unavailable."""
    for kind in _KINDS:
        subject = Subject(kind, namespace, name)
        try:
            server.request("GET", subject.path)
        except Missing:
            continue
        return subject
    raise NotFound(
        f"there is no TrainingRun and no GenerationService {name} in namespace {namespace}; "
        "kubectl get synthray -A shows all, --namespace chooses"
    )


def collect(server: ApiServer, subject: Subject, say: Callable[[str], None]) -> Archive:
    """Everything about a run or a service; `say` hears what goes on."""
    archive = Archive(f"synthray-debug-{subject.name}")
    archive.add_document("versions.json", {"synthray": synthray.__version__})
    containers: list[tuple[str, str, str, bool]] = []
    for wanted in plan_documents(subject):
        say(wanted.file)
        query = {"labelSelector": wanted.selector} if wanted.selector else None
        document = _try(archive, wanted.file, partial(server.request, "GET", wanted.path, query=query))
        if document is None:
            continue
        archive.add_document(wanted.file, trim_nodes(document) if wanted.file == "nodes.json" else document)
        if wanted.file in _PODS:
            containers += list_containers(document)
    for namespace, pod, container, has_former_life in containers:
        say(f"logs of {pod}")
        _collect_log(server, archive, (namespace, pod, container), is_former=False)
        if has_former_life:
            _collect_log(server, archive, (namespace, pod, container), is_former=True)
    return archive


def _collect_log(
    server: ApiServer, archive: Archive, whose: tuple[str, str, str], *, is_former: bool
) -> None:
    namespace, pod, container = whose
    file = f"logs/{pod}/{container}{'.former' if is_former else ''}.log"
    query = {
        "container": container,
        "limitBytes": str(LOG_BYTES),
        "tailLines": str(LOG_LINES),
        "timestamps": "true",
        "previous": str(is_former).lower(),
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
    text = _try(archive, file, lambda: server.read_text(path, query))
    if text is not None:
        archive.add_log(file, text)


def _try(archive: Archive, file: str, ask: Callable[[], Any]) -> Any:
    """The answer; None, with a note in the archive, where there is none."""
    try:
        return ask()
    except (Missing, Refused, Unavailable) as error:
        archive.miss(file, str(error) or type(error).__name__)
        return None
