"""The shell around the decision: observe one run, decide, write its status, act. Thin on purpose.

The status goes first and rests on the very state that was decided on; if another hand was quicker nothing is
done, and the run is looked at again.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from synthray.api.loading import build_training_run
from synthray.api.v1alpha1 import TrainingRunStatus
from synthray.errors import InvalidInput, Unavailable
from synthray.operator.actions import Action, DeleteRun, EndAttempt, SetReplicas, StartAttempt, Tell
from synthray.operator.cluster import Cluster, Conflict, Missing, Refused
from synthray.operator.configuration import OperatorConfiguration
from synthray.operator.decide import decide
from synthray.operator.diagnosis import needs_events
from synthray.operator.kuberay import build_replicas_patch
from synthray.operator.metrics import OperatorMetrics
from synthray.operator.news import find_news
from synthray.operator.observation import Observation, Surroundings
from synthray.operator.progress_reader import ProgressReader
from synthray.operator.refusals import find_refusal
from synthray.operator.status import describe_invalid, is_news, seconds_between_figures
from synthray.operator.store import Store
from synthray.operator.views import RunKey
from synthray.operator.work_queue import WorkQueue

_SOON_SECONDS: Final = 1.0
_RESYNC_SECONDS: Final = 60.0
_FIRST_RETRY_SECONDS: Final = 1.0
_LONGEST_RETRY_SECONDS: Final = 60.0
_TAKE_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


@dataclass
class _Memory:
    """What the process remembers of a run, and may forget: when figures were written, what failed of late."""

    figures_written: float = 0.0
    failures: int = 0
    refusal: str = ""


class Controller:
    """Reconciles runs, each in one hand at a time."""

    def __init__(
        self,
        *,
        configuration: OperatorConfiguration,
        cluster: Cluster,
        store: Store,
        progress: ProgressReader,
        queue: WorkQueue[RunKey],
        metrics: OperatorMetrics,
        is_kuberay_installed: Callable[[], bool],
        knows_nodes: bool,
    ) -> None:
        self._configuration = configuration
        self._cluster = cluster
        self._store = store
        self._progress = progress
        self._queue = queue
        self._metrics = metrics
        self._is_kuberay_installed = is_kuberay_installed
        self._knows_nodes = knows_nodes
        self._memory: defaultdict[RunKey, _Memory] = defaultdict(_Memory)

    def work(self, stopping: threading.Event) -> None:
        """Take runs from the queue until stopped."""
        while not stopping.is_set():
            self._metrics.tick()
            key = self._queue.take(_TAKE_SECONDS)
            if key is None:
                continue
            try:
                self._attend(key)
            finally:
                self._queue.done(key)

    def _attend(self, key: RunKey) -> None:
        memory = self._memory[key]
        with self._metrics.reconciling() as outcome:
            try:
                again_seconds = self.reconcile(key)
                memory.failures = 0
            except (Conflict, Missing):
                outcome.name = "conflict"
                again_seconds = _SOON_SECONDS
            except (Unavailable, Refused) as error:
                outcome.name = "error"
                memory.failures += 1
                again_seconds = min(
                    _LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2 ** min(memory.failures, 6)
                )
                _log.warning("%s/%s: %s", key.namespace, key.name, error)
            except Exception:  # noqa: BLE001 one run's defect must not stop the others
                outcome.name = "defect"
                again_seconds = _LONGEST_RETRY_SECONDS
                _log.exception("%s/%s: a defect of the operator", key.namespace, key.name)
        if again_seconds is None:
            self._memory.pop(key, None)
        else:
            self._queue.add(key, again_seconds)

    def reconcile(self, key: RunKey) -> float | None:
        """Bring one run on; seconds until it should be looked at anyway, None if it is gone.

        Raises Conflict, Missing, Refused or Unavailable from the API server.
        """
        document = self._store.run(key)
        if document is None:
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
        for told in find_news(previous, wanted):
            self._tell(document, told)
        return None

    def _tell(self, document: dict[str, Any], told: Tell) -> None:
        metadata = document["metadata"]
        _log.info("%s/%s: %s: %s", metadata["namespace"], metadata["name"], told.reason, told.message)
        try:
            self._cluster.post_event(document, told)
        except (Refused, Missing, Conflict, Unavailable) as error:
            _log.warning("an Event could not be written: %s", error)

    def _apply(self, key: RunKey, document: dict[str, Any], action: Action) -> None:
        match action:
            case StartAttempt(ray_cluster, network_policy):
                self._start(key, ray_cluster, network_policy)
            case EndAttempt(name, uid):
                self._cluster.delete_ray_cluster(key.namespace, name, uid)
            case SetReplicas(name, current, wanted, pods_to_delete):
                patch = build_replicas_patch(current, wanted, pods_to_delete)
                self._store.set(self._cluster.patch_ray_cluster(key.namespace, name, patch))
            case DeleteRun(uid):
                self._cluster.delete_run(document, uid)

    def _start(self, key: RunKey, ray_cluster: dict[str, Any], network_policy: dict[str, Any] | None) -> None:
        memory = self._memory[key]
        try:
            if network_policy is not None:
                self._cluster.apply_network_policy(network_policy)
            self._store.set(self._cluster.create_ray_cluster(ray_cluster))
            memory.refusal = ""
        except Refused as error:
            memory.refusal = str(error)
            raise
