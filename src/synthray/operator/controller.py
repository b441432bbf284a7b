"""The loop around all reconcilers: take what is due, look at it, and come back to it in time.

One object's trouble never stops the others. It must not know what a look does.
"""

import logging
import threading
from collections import Counter
from typing import Final

from synthray.errors import Unavailable
from synthray.operator.cluster import Conflict, Missing, Refused
from synthray.operator.metrics import OperatorMetrics
from synthray.operator.run_reconciler import RunReconciler
from synthray.operator.services.reconciler import ServiceReconciler
from synthray.operator.views import ObjectKey, ServiceKey
from synthray.operator.work_queue import WorkQueue

_SOON_SECONDS: Final = 1.0
_FIRST_RETRY_SECONDS: Final = 1.0
_LONGEST_RETRY_SECONDS: Final = 60.0
_TAKE_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


class Controller:
    """Has each object in the queue looked at by the reconciler of its kind, in one hand at a time."""

    def __init__(
        self,
        *,
        runs: RunReconciler,
        services: ServiceReconciler,
        queue: WorkQueue[ObjectKey],
        metrics: OperatorMetrics,
    ) -> None:
        self._runs = runs
        self._services = services
        self._queue = queue
        self._metrics = metrics
        self._failures: Counter[ObjectKey] = Counter()

    def work(self, stopping: threading.Event) -> None:
        """Take objects from the queue until stopped."""
        while not stopping.is_set():
            self._metrics.tick()
            key = self._queue.take(_TAKE_SECONDS)
            if key is None:
                continue
            try:
                self._attend(key)
            finally:
                self._queue.done(key)

    def _attend(self, key: ObjectKey) -> None:
        kind = "GenerationService" if isinstance(key, ServiceKey) else "TrainingRun"
        with self._metrics.reconciling(kind) as outcome:
            try:
                again_seconds = self._reconcile(key)
                self._failures.pop(key, None)
            except (Conflict, Missing):
                outcome.name = "conflict"
                again_seconds = _SOON_SECONDS
            except (Unavailable, Refused) as error:
                outcome.name = "error"
                self._failures[key] += 1
                again_seconds = min(
                    _LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2 ** min(self._failures[key], 6)
                )
                _log.warning("%s/%s: %s", key.namespace, key.name, error)
            except Exception:  # noqa: BLE001 one object's defect must not stop the others
                outcome.name = "defect"
                again_seconds = _LONGEST_RETRY_SECONDS
                _log.exception("%s/%s: a defect of the operator", key.namespace, key.name)
        if again_seconds is not None:
            self._queue.add(key, again_seconds)

    def _reconcile(self, key: ObjectKey) -> float | None:
        if isinstance(key, ServiceKey):
            return self._services.reconcile(key)
        return self._runs.reconcile(key)
