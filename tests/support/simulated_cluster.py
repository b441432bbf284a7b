"""One run on a cluster that is only values: what the API server, KubeRay, the kubelets and a driver would do.

The operator's decisions are applied to it write by write, so that tests can stop between any two of them.
Time moves when a test says so.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from synthray.api.loading import build_training_run
from synthray.api.v1alpha1 import TrainingRunStatus
from synthray.operator.actions import Action, DeleteRun, EndAttempt, SetReplicas, StartAttempt
from synthray.operator.configuration import Images, OperatorConfiguration
from synthray.operator.decide import decide
from synthray.operator.observation import Observation, Surroundings
from synthray.operator.progress import DriverProgress, ProgressView
from synthray.operator.views import ClusterView, NodeView, PodView

CONFIGURATION = OperatorConfiguration(images=Images(worker="synthray/worker:1"))
PRODUCT = "Quadro-RTX-6000"
START = datetime(2026, 1, 1, tzinfo=UTC)


def build_document(**spec: Any) -> dict[str, Any]:
    """A TrainingRun as the API server holds it, with parts of its spec replaced."""
    return {
        "apiVersion": "synthray.io/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": "chest", "namespace": "xray", "uid": "uid-1", "generation": 1},
        "spec": {
            "dataset": {"uri": "s3://xray/data"},
            "checkpoints": {"uri": "s3://xray/runs/chest"},
            "optimization": {"epochs": 2},
            "workers": {"replicas": 2, "gpu": {"product": PRODUCT}},
            **spec,
        },
    }


def build_node(name: str = "gpu-1", *, gpus: int = 4, ready: bool = True, product: str = PRODUCT) -> NodeView:
    """A node with cards."""
    return NodeView(name=name, ready=ready, schedulable=True, gpu_product=product, gpus=gpus)


def build_pod(name: str, *, role: str, attempt: int = 1, created: datetime = START, **fields: Any) -> PodView:
    """A pod that runs and is ready, but for `fields`."""
    pod = PodView(
        name=name,
        uid=f"uid-of-{name}",
        attempt=attempt,
        role=role,
        phase="Running",
        node="gpu-1",
        ip="10.0.0.1",
        ready=True,
        created=created,
        gone_by=None,
        waiting="",
        waiting_message="",
        ended="",
        last_words="",
        exit_code=None,
        unschedulable="",
        image="synthray/worker:1",
        image_id="",
    )
    return replace(pod, **fields)


@dataclass
class SimulatedCluster:
    """The run, what the operator made of it, and what its driver says."""

    document: dict[str, Any] = field(default_factory=build_document)
    now: datetime = START
    clusters: dict[str, ClusterView] = field(default_factory=dict)
    pods: dict[str, PodView] = field(default_factory=dict)
    word: ProgressView | None = None
    nodes: tuple[NodeView, ...] = (build_node(),)
    surroundings: Surroundings = field(default_factory=Surroundings)
    refused: str = ""
    troubles: tuple[str, ...] = ()
    writes: int = 0
    attempts_made: list[str] = field(default_factory=list)
    is_run_deleted: bool = False

    @property
    def status(self) -> TrainingRunStatus:
        """What the operator last wrote."""
        return TrainingRunStatus.model_validate(self.document.get("status") or {})

    def condition(self, name: str) -> tuple[str, str, str]:
        """Status, reason and message of a condition."""
        found = next(item for item in self.status.conditions if item.type == name)
        return found.status, found.reason, found.message

    def change(self, **spec: Any) -> None:
        """Change the spec as a user would."""
        self.document["spec"] = {**self.document["spec"], **spec}
        self.document["metadata"]["generation"] += 1

    def annotate(self, name: str, value: str) -> None:
        """Set an annotation as a user would."""
        self.document["metadata"]["annotations"] = {name: value}

    def observe(self) -> Observation:
        """All that the operator can know."""
        return Observation(
            run=build_training_run(self.document),
            now=self.now,
            clusters=tuple(self.clusters.values()),
            pods=tuple(self.pods.values()),
            word=self.word,
            surroundings=replace(self.surroundings, nodes=self.nodes),
            refused=self.refused,
            troubles=self.troubles,
        )

    def operate(self, *, stop_after: int | None = None) -> int:
        """One decision, applied; the number of writes, at most `stop_after` as if the operator died there."""
        decision = decide(self.observe(), CONFIGURATION)
        writes: list[TrainingRunStatus | Action] = [*decision.actions]
        if decision.status is not None and decision.status != self.status:
            writes.insert(0, decision.status)
        done = writes if stop_after is None else writes[:stop_after]
        for write in done:
            self._apply(write)
        self.writes += len(done)
        return len(done)

    def settle(self) -> None:
        """Decide until nothing is left to do; fails if that does not come."""
        for _ in range(10):
            if self.operate() == 0:
                return
        raise AssertionError("the operator does not come to rest")

    def pass_seconds(self, seconds: float) -> None:
        """Let time go by; a driver that lives goes on talking."""
        self.now += timedelta(seconds=seconds)
        if self.word is not None:
            self.word = replace(self.word, received=self.now)

    def run_kuberay(self) -> None:
        """Make the pods that each cluster wants, and let the garbage collector take those of none."""
        attempts = {cluster.attempt: cluster for cluster in self.clusters.values()}
        self.pods = {name: pod for name, pod in self.pods.items() if pod.attempt in attempts}
        for cluster in attempts.values():
            self.clusters[cluster.name] = replace(cluster, is_seen_by_kuberay=True)
            head = f"{cluster.name}-head"
            if not cluster.head_missing:
                pod = build_pod(head, role="head", attempt=cluster.attempt, created=self.now)
                self.pods.setdefault(head, replace(pod, uid=f"{cluster.uid}-head"))
            workers = [pod.name for pod in self.pods.values() if pod.role == "worker"]
            for name in workers[cluster.replicas :]:
                del self.pods[name]
            for index in range(len(workers), cluster.replicas):
                name = f"{cluster.name}-worker-{index}"
                self.pods[name] = build_pod(name, role="worker", attempt=cluster.attempt, created=self.now)

    def say(self, state: str, **figures: Any) -> None:
        """Let the driver of the newest attempt say where it stands, if its pod is there."""
        heads = [pod for pod in self.pods.values() if pod.role == "head" and not pod.is_finished]
        if not heads:
            return
        uid = max(heads, key=lambda pod: pod.attempt).uid
        workers = {"desired": 2, "ready": 2 if state == "Running" else 0}
        document = {"run": "chest", "state": state, "workers": workers, "images_total": 100, **figures}
        self.word = ProgressView(uid, self.now, DriverProgress.model_validate(document))

    def train(self) -> None:
        """Bring a run from its creation to its first steps."""
        self.settle()
        self.run_kuberay()
        self.settle()
        self.say("WaitingForWorkers")
        self.settle()
        self.run_kuberay()
        self.say("Running", attempt=1)
        self.settle()

    def _apply(self, write: TrainingRunStatus | Action) -> None:
        match write:
            case TrainingRunStatus():
                self.document["status"] = write.model_dump(mode="json", exclude_none=True)
            case StartAttempt(manifest, _):
                self._create(manifest)
            case EndAttempt(name, uid):
                if name in self.clusters and self.clusters[name].uid == uid:
                    del self.clusters[name]
            case SetReplicas(name, current, wanted, named):
                cluster = self.clusters[name]
                assert cluster.replicas == current, "the patch's test would fail"
                self.clusters[name] = replace(cluster, replicas=wanted, named_for_deletion=named)
            case DeleteRun(uid):
                assert uid == self.document["metadata"]["uid"]
                self.is_run_deleted = True

    def _create(self, manifest: dict[str, Any]) -> None:
        metadata = manifest["metadata"]
        if metadata["name"] in self.clusters:
            return
        self.attempts_made.append(metadata["name"])
        self.clusters[metadata["name"]] = ClusterView(
            name=metadata["name"],
            uid=f"uid-of-{metadata['name']}-{len(self.attempts_made)}",
            attempt=int(metadata["labels"]["synthray.io/attempt"]),
            created=self.now,
            deleting=False,
            replicas=manifest["spec"]["workerGroupSpecs"][0]["replicas"],
            spec_digest=metadata["annotations"]["synthray.io/spec-digest"],
            named_for_deletion=(),
            is_seen_by_kuberay=False,
            head_missing=False,
        )
