"""The operator's own parts on a real API server, driven step by step, so that it may die after any write.

Progress is the test's: no kubelet and no driver stand behind this API server. Heads are KubeRay's where it
acts on that server, else the test's.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from synthray.operator.cluster import ApiServer, Cluster, Conflict, Missing, Refused
from synthray.operator.cluster.watching import PODS, RAY_CLUSTERS, RUNS
from synthray.operator.configuration import Images, OperatorConfiguration
from synthray.operator.progress import DriverProgress, ProgressView
from synthray.operator.run_reconciler import RunReconciler
from synthray.operator.store import Store
from synthray.operator.views import RunKey

Document = dict[str, Any]

CONFIGURATION = OperatorConfiguration(images=Images(worker="synthray/worker:1"))

RUN: Document = {
    "apiVersion": "synthray.io/v1alpha1",
    "kind": "TrainingRun",
    "metadata": {"name": "chest"},
    "spec": {
        "dataset": {"uri": "s3://xray/data"},
        "checkpoints": {"uri": "s3://xray/runs/chest"},
        "optimization": {"epochs": 2},
        "workers": {"replicas": 2},
    },
}
# What the operator needs of KubeRay's kind: that the server keeps it.
RAY_CLUSTER_CRD: Document = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "rayclusters.ray.io"},
    "spec": {
        "group": "ray.io",
        "names": {"kind": "RayCluster", "listKind": "RayClusterList", "plural": "rayclusters"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}


_KUBERAY_SECONDS = 60.0


class Died(Exception):
    """The operator's process ended here."""


class MortalServer(ApiServer):
    """An API server whose client dies right after a write of that number."""

    def __init__(self, server: ApiServer) -> None:
        super().__init__(server.api_client)
        self.writes = 0
        self.dies_after: int | None = None

    def request(self, method: str, path: str, body: object = None, **options: Any) -> dict[str, Any]:
        answer = super().request(method, path, body, **options)
        # Events are told once or not at all: nothing rests on them.
        if method != "GET" and not path.endswith("/events"):
            self.writes += 1
            if self.writes == self.dies_after:
                raise Died
        return answer

    def api_request(
        self, method: str, path: str, body: object, content_type: str = "application/json"
    ) -> dict[str, Any]:
        """A write of somebody else's, which kills nobody."""
        return super().request(method, path, body, content_type=content_type)


class SpokenWords:
    """What the drivers say, put into their mouths."""

    def __init__(self) -> None:
        self.words: dict[RunKey, ProgressView] = {}

    def word(self, key: RunKey) -> ProgressView | None:
        return self.words.get(key)

    def many_fell_silent(self, _now: datetime) -> bool:
        return False

    def listening_since(self, _now: datetime) -> datetime:
        return datetime.min.replace(tzinfo=UTC)


class LiveOperator:
    """One run in one namespace; a new operator takes over whenever the last one has died."""

    def __init__(self, server: MortalServer, namespace: str) -> None:
        self.server = server
        self.namespace = namespace
        self.key = RunKey(namespace, "chest")
        self.words = SpokenWords()

    def settle(self) -> None:
        """Let operators work until one finds nothing to write."""
        for _ in range(12):
            before = self.server.writes
            try:
                self._take_over().reconcile(self.key)
            except (Died, Conflict, Missing, Refused):
                continue
            if self.server.writes == before:
                return
        raise AssertionError("the operator does not come to rest")

    def list(self, path: str) -> list[dict[str, Any]]:
        """All objects of a kind in the namespace."""
        items: list[dict[str, Any]] = self.server.request("GET", path)["items"]
        return items

    def create(self, run: Document) -> None:
        """As a user does."""
        self.server.api_request("POST", RUNS.url(self.namespace), run)

    def change(self, patch: Document) -> None:
        """By a merge patch, as a user does; raises Refused."""
        path = f"{RUNS.url(self.namespace)}/chest?fieldValidation=Strict"
        self.server.api_request("PATCH", path, patch, "application/merge-patch+json")

    def spec(self) -> Document:
        """As the API server holds it."""
        (run,) = self.list(RUNS.url(self.namespace))
        spec: Document = run["spec"]
        return spec

    def play_kuberay(self) -> None:
        """Make the head's pod of each cluster, and take the pods of clusters that are gone."""
        clusters = {item["metadata"]["name"]: item for item in self.list(RAY_CLUSTERS.url(self.namespace))}
        pods = {item["metadata"]["name"] for item in self.list(PODS.url(self.namespace))}
        for name in pods - {f"{cluster}-head" for cluster in clusters}:
            path = f"{PODS.url(self.namespace)}/{name}"
            self.server.api_request("DELETE", path, {"gracePeriodSeconds": 0})
        for name, cluster in clusters.items():
            if f"{name}-head" in pods:
                continue
            template = cluster["spec"]["headGroupSpec"]["template"]
            metadata = {**template["metadata"], "name": f"{name}-head"}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
            self.server.api_request("POST", PODS.url(self.namespace), pod)

    def await_kuberay(self) -> None:
        """Let KubeRay make the head of each cluster, and the garbage collector take the pods of others."""
        deadline = time.monotonic() + _KUBERAY_SECONDS
        while (missing := self._find_unmade_heads()) or (left := self._find_orphans()):
            if time.monotonic() > deadline:
                raise AssertionError(f"KubeRay made no head of {missing}, or pods are left: {left}")
            time.sleep(0.05)

    def _find_unmade_heads(self) -> set[str]:
        return self._find_clusters() - {
            _cluster_of(pod) for pod in self.list(PODS.url(self.namespace)) if self._is_head(pod)
        }

    def _find_orphans(self) -> set[str]:
        return {_cluster_of(pod) for pod in self.list(PODS.url(self.namespace))} - self._find_clusters()

    def _find_clusters(self) -> set[str]:
        clusters = self.list(RAY_CLUSTERS.url(self.namespace))
        return {one["metadata"]["name"] for one in clusters if "deletionTimestamp" not in one["metadata"]}

    def say(self, state: str, **figures: Any) -> None:
        """Let the driver in the newest head's pod say where it stands."""
        heads = [pod for pod in self.list(PODS.url(self.namespace)) if self._is_head(pod)]
        if not heads:
            return
        newest = max(heads, key=lambda pod: int(pod["metadata"]["labels"]["synthray.io/attempt"]))
        document = {"run": "chest", "state": state, "images_total": 100, **figures}
        progress = DriverProgress.model_validate(document)
        self.words.words[self.key] = ProgressView(
            newest["metadata"]["uid"], datetime.now(UTC).replace(microsecond=0), progress
        )

    def _take_over(self) -> RunReconciler:
        store = Store()
        for kind in (RUNS, RAY_CLUSTERS, PODS):
            query = {"labelSelector": kind.selector} if kind.selector else None
            for item in self.server.request("GET", kind.url(self.namespace), query=query)["items"]:
                store.set({**item, "kind": kind.name})
        is_installed: Callable[[], bool] = lambda: True  # noqa: E731
        return RunReconciler(
            configuration=CONFIGURATION,
            cluster=Cluster(self.server),
            store=store,
            progress=self.words,  # type: ignore[arg-type]  # the test's own words
            is_kuberay_installed=is_installed,
            knows_nodes=False,
        )

    @staticmethod
    def _is_head(pod: dict[str, Any]) -> bool:
        return bool(pod["metadata"]["labels"].get("synthray.io/role") == "head")


def _cluster_of(pod: Document) -> str:
    return str(pod["metadata"]["labels"].get("ray.io/cluster", ""))
