"""The shell around the decision: observe one run, decide, write its status, act. Thin on purpose.

The status goes first and rests on the very state that was decided on; if another hand was quicker nothing is
done, and the run is looked at again.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from synthray.api.loading import build_training_run
from synthray.api.v1alpha1 import TrainingRunStatus
from synthray.errors import InvalidInput
from synthray.operator.actions import Action, DeleteRun, EndAttempt, SetReplicas, StartAttempt
from synthray.operator.cluster import Cluster, Refused
from synthray.operator.configuration import OperatorConfiguration
from synthray.operator.decide import decide
from synthray.operator.diagnosis import needs_events
from synthray.operator.kuberay import build_replicas_patch
from synthray.operator.news import find_news
from synthray.operator.observation import Observation, Surroundings
from synthray.operator.progress_reader import ProgressReader
from synthray.operator.refusals import find_refusal
from synthray.operator.status import describe_invalid, is_news, seconds_between_figures
from synthray.operator.store import Store
from synthray.operator.views import RunKey

_RESYNC_SECONDS: Final = 60.0


@dataclass
class _Memory:
    """What the process remembers of a run, and may forget: when figures were written, what was refused."""

    figures_written: float = 0.0
    refusal: str = ""


class RunReconciler:
    """Brings runs on, each in one hand at a time."""

    def __init__(
        self,
        *,
        configuration: OperatorConfiguration,
        cluster: Cluster,
        store: Store,
        progress: ProgressReader,
        is_kuberay_installed: Callable[[], bool],
        knows_nodes: bool,
    ) -> None:
        self._configuration = configuration
        self._cluster = cluster
        self._store = store
        self._progress = progress
        self._is_kuberay_installed = is_kuberay_installed
        self._knows_nodes = knows_nodes
        self._memory: defaultdict[RunKey, _Memory] = defaultdict(_Memory)

    def reconcile(self, key: RunKey) -> float | None:
        """Bring one run on; seconds until it should be looked at anyway, None if it is gone.

        Raises Conflict, Missing, Refused or Unavailable from the API server.
        """
        document = self._store.owner(key)
        if document is None:
            self._memory.pop(key, None)
            return None
        now = datetime.now(UTC).replace(microsecond=0)
        try:
            observation = self._observe(key, document, now)
        except InvalidInput as error:
            previous = TrainingRunStatus.model_validate(document.get("status") or {})
            self._write(key, document, previous, describe_invalid(previous, document, error.message, now))
            return _RESYNC_SECONDS
        decision = decide(observation, self._configuration)
        again_seconds = decision.look_again_seconds or _RESYNC_SECONDS
        if decision.status is not None:
            wait_seconds = self._write(key, document, observation.status, decision.status)
            again_seconds = min(again_seconds, wait_seconds or again_seconds)
        for action in decision.actions:
            self._apply(key, document, action)
        return again_seconds

    def _observe(self, key: RunKey, document: dict[str, Any], now: datetime) -> Observation:
        run = build_training_run(document)
        observation = Observation(
            run=run,
            now=now,
            clusters=self._store.clusters(key),
            pods=self._store.pods(key),
            word=self._progress.word(key),
            surroundings=Surroundings(
                nodes=self._store.nodes() if self._knows_nodes else None,
                is_kuberay_installed=self._is_kuberay_installed(),
                many_fell_silent=self._progress.many_fell_silent(now),
                listening_since=self._progress.listening_since(now),
            ),
            refused=find_refusal(run.spec, self._configuration.allowed),
        )
        return observation.with_troubles(self._read_troubles(key, observation))

    def _read_troubles(self, key: RunKey, observation: Observation) -> tuple[str, ...]:
        refusal = self._memory[key].refusal
        if refusal:
            return (refusal,)
        if observation.current is None or not needs_events(observation):
            return ()
        waiting = [pod.name for pod in (observation.head, *observation.workers) if pod and not pod.ready]
        return self._cluster.read_warnings(key, (observation.current.name, *waiting[:1]))

    def _write(
        self, key: RunKey, document: dict[str, Any], previous: TrainingRunStatus, wanted: TrainingRunStatus
    ) -> float | None:
        """Write a status that says something new; seconds until figures that were held back are due."""
        if wanted == previous:
            return None
        memory = self._memory[key]
        if not is_news(previous, wanted):
            interval = seconds_between_figures(len(self._store.runs()), document["metadata"]["uid"])
            wait_seconds = memory.figures_written + interval - time.monotonic()
            if wait_seconds > 0:
                return wait_seconds
        status = wanted.model_dump(mode="json", exclude_none=True)
        written = self._cluster.write_status(document, status)
        memory.figures_written = time.monotonic()
        self._store.set(written)
        self._cluster.tell(document, find_news(previous, wanted))
        return None

    def _apply(self, key: RunKey, document: dict[str, Any], action: Action) -> None:
        match action:
            case StartAttempt(ray_cluster, network_policy):
                self._start(key, ray_cluster, network_policy)
            case EndAttempt(name, uid):
                self._cluster.delete("RayCluster", key.namespace, name, uid)
            case SetReplicas(name, current, wanted, pods_to_delete):
                patch = build_replicas_patch(current, wanted, pods_to_delete)
                self._store.set(self._cluster.patch("RayCluster", key.namespace, name, patch))
            case DeleteRun(uid):
                self._cluster.delete_run(document, uid)

    def _start(self, key: RunKey, ray_cluster: dict[str, Any], network_policy: dict[str, Any] | None) -> None:
        memory = self._memory[key]
        try:
            if network_policy is not None:
                self._cluster.apply(network_policy)
            self._store.set(self._cluster.create("RayCluster", ray_cluster))
            memory.refusal = ""
        except Refused as error:
            memory.refusal = str(error)
            raise
