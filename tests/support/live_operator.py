"""The operator's own parts on a real API server, driven step by step, so that it may die after any write.

Pods and progress are the test's: no kubelet, no KubeRay and no driver stand behind this API server.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from synthray.operator.cluster import ApiServer, Cluster, Conflict, Missing, Refused
from synthray.operator.cluster.watching import PODS, RAY_CLUSTERS, RUNS
from synthray.operator.configuration import Images, OperatorConfiguration
from synthray.operator.controller import Controller
from synthray.operator.metrics import OperatorMetrics
from synthray.operator.progress import DriverProgress, ProgressView
from synthray.operator.store import Store
from synthray.operator.views import RunKey
from synthray.operator.work_queue import WorkQueue

CONFIGURATION = OperatorConfiguration(images=Images(worker="synthray/worker:1"))


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

    def _take_over(self) -> Controller:
        store = Store()
        for kind in (RUNS, RAY_CLUSTERS, PODS):
            query = {"labelSelector": kind.selector} if kind.selector else None
            for item in self.server.request("GET", kind.url(self.namespace), query=query)["items"]:
                store.set({**item, "kind": kind.name})
        queue: WorkQueue[RunKey] = WorkQueue()
        is_installed: Callable[[], bool] = lambda: True  # noqa: E731
        return Controller(
            configuration=CONFIGURATION,
            cluster=Cluster(self.server),
            store=store,
            progress=self.words,  # type: ignore[arg-type]  # the test's own words
            queue=queue,
            metrics=OperatorMetrics(lambda: 0),
            is_kuberay_installed=is_installed,
            knows_nodes=False,
        )

    @staticmethod
    def _is_head(pod: dict[str, Any]) -> bool:
        return bool(pod["metadata"]["labels"].get("synthray.io/role") == "head")
