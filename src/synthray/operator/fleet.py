"""All runs and GPUs at a glance, from what the API server holds: what the operator's metrics show. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from synthray.operator.views import NodeView

_TELLING_CONDITIONS: Final = ("Failed", "Blocked")
_AT_REST: Final = frozenset({"Suspended", "Complete", "Failed", "Fenced"})


@dataclass(frozen=True)
class RunPlace:
    """Where one run stands; `reason` says why it is Blocked or Failed."""

    namespace: str
    name: str
    state: str
    reason: str
    workers_desired: int
    workers_ready: int

    @property
    def is_at_rest(self) -> bool:
        """Whether it wants no workers: it is over or suspended."""
        return self.state in _AT_REST


@dataclass(frozen=True)
class Fleet:
    """All runs, and GPUs by kind."""

    runs: tuple[RunPlace, ...] = ()
    gpus: Mapping[str, int] = field(default_factory=dict)


def build_fleet(runs: Iterable[Mapping[str, Any]], nodes: Iterable[NodeView]) -> Fleet:
    """The fleet, from the TrainingRuns' documents and the nodes that are known."""
    runs = list(runs)
    places = tuple(_place(run) for run in runs)
    working = [run for run, place in zip(runs, places, strict=True) if not place.is_at_rest]
    return Fleet(
        places,
        {
            "offered": sum(node.gpus for node in nodes if node.ready),
            "wanted": sum(_gpus_per_worker(run) * _replicas(run) for run in working),
            "used": sum(_gpus_per_worker(run) * _workers(run).get("replicas", 0) for run in runs),
        },
    )


def _place(run: Mapping[str, Any]) -> RunPlace:
    status = run.get("status") or {}
    reasons = {
        condition["type"]: condition["reason"]
        for condition in status.get("conditions") or ()
        if condition["status"] == "True" and condition["type"] in _TELLING_CONDITIONS
    }
    return RunPlace(
        namespace=run["metadata"]["namespace"],
        name=run["metadata"]["name"],
        state=status.get("state", "Pending"),
        reason=next((reasons[name] for name in _TELLING_CONDITIONS if name in reasons), ""),
        workers_desired=_replicas(run),
        workers_ready=_workers(run).get("ready", 0),
    )


def _workers(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the status says of workers."""
    found: Mapping[str, Any] = (run.get("status") or {}).get("workers") or {}
    return found


def _replicas(run: Mapping[str, Any]) -> int:
    return int(((run.get("spec") or {}).get("workers") or {}).get("replicas", 1))


def _gpus_per_worker(run: Mapping[str, Any]) -> int:
    gpu = ((run.get("spec") or {}).get("workers") or {}).get("gpu")
    return int(gpu.get("perWorker", 1)) if gpu else 0
