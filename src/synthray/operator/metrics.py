"""What Prometheus learns of the operator, and the proof that it lives: work goes through its queue."""

import threading
import time
from collections import Counter as Count
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass
class Outcome:
    """How a reconcile went: success, conflict, error or defect."""

    name: str = "success"


class OperatorMetrics:
    """Counters and gauges of one operator process."""

    def __init__(self, queue_depth: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._ticked = time.monotonic()
        self._reconciles = Counter(
            "synthray_operator_reconcile",
            "Looks at one object.",
            ["kind", "outcome"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "synthray_operator_reconcile_seconds",
            "Time of one look.",
            ["kind"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._last = Gauge(
            "synthray_operator_last_reconcile_timestamp_seconds",
            "When a look last succeeded, seconds since 1970.",
            registry=self.registry,
        )
        depth = Gauge("synthray_operator_queue_depth", "Objects that are due.", registry=self.registry)
        depth.set_function(queue_depth)
        self._leader = Gauge(
            "synthray_operator_leader", "1 while this process leads.", registry=self.registry
        )
        self._runs = Gauge("synthray_operator_runs", "Runs by state.", ["state"], registry=self.registry)
        self._gpus = Gauge(
            "synthray_operator_gpus",
            "GPUs: offered by nodes, wanted by runs, used by workers.",
            ["kind"],
            registry=self.registry,
        )

    @contextmanager
    def reconciling(self, kind: str) -> Iterator[Outcome]:
        """Time one look and count how it went."""
        outcome = Outcome()
        with self._seconds.labels(kind).time():
            yield outcome
        self._reconciles.labels(kind, outcome.name).inc()
        if outcome.name == "success":
            self._last.set_to_current_time()

    def tick(self) -> None:
        """Say that a worker has just asked the queue for work."""
        self._ticked = time.monotonic()

    @property
    def seconds_since_tick(self) -> float:
        """How long no worker has asked for work."""
        return time.monotonic() - self._ticked

    def lead(self) -> None:
        """Say that this process leads."""
        self._leader.set(1)

    def show_fleet(self, states: list[str], *, gpus: dict[str, int]) -> None:
        """Show all runs by state, and GPUs by kind."""
        with self._lock:
            self._runs.clear()
            for state, count in Count(states).items():
                self._runs.labels(state).set(count)
            for kind, count in gpus.items():
                self._gpus.labels(kind).set(count)
