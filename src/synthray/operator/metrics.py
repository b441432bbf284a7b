"""What Prometheus learns of the operator, and the proof that it lives: work goes through its queue."""

import time
from collections import Counter as Count
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from synthray.api.v1alpha1.training_run_status import RunState
from synthray.operator.fleet import Fleet

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass
class Outcome:
    """How a reconcile went: success, conflict, error or defect."""

    name: str = "success"


class OperatorMetrics:
    """Counters and gauges of one operator process."""

    def __init__(self, queue_depth: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
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
        self._fleet: Fleet | None = None
        self.registry.register(_FleetCollector(lambda: self._fleet))

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

    def show_fleet(self, fleet: Fleet) -> None:
        """Show all runs, and GPUs by kind."""
        self._fleet = fleet


class _FleetCollector(Collector):
    """Shows the fleet as it was last seen, whole: runs that are gone leave no series behind."""

    def __init__(self, fleet: Callable[[], Fleet | None]) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        """All families; a process that does not lead knows no fleet."""
        fleet = self._fleet()
        runs = GaugeMetricFamily("synthray_operator_runs", "Runs by state.", labels=["state"])
        gpus = GaugeMetricFamily(
            "synthray_operator_gpus",
            "GPUs: offered by nodes, wanted by runs that are not at rest, used by workers.",
            labels=["kind"],
        )
        states = GaugeMetricFamily(
            "synthray_operator_run_state",
            "1 for the state of a run, and the reason if it is Blocked or Failed.",
            labels=["namespace", "run", "state", "reason"],
        )
        workers = GaugeMetricFamily(
            "synthray_operator_run_workers",
            "Workers of a run that is not at rest: desired by its spec, ready at work.",
            labels=["namespace", "run", "state"],
        )
        if fleet is not None:
            counts = Count(run.state for run in fleet.runs)
            for state in get_args(RunState):
                runs.add_metric([state], counts[state])
            for kind, count in fleet.gpus.items():
                gpus.add_metric([kind], count)
            for run in fleet.runs:
                states.add_metric([run.namespace, run.name, run.state, run.reason], 1)
                if not run.is_at_rest:
                    workers.add_metric([run.namespace, run.name, "desired"], run.workers_desired)
                    workers.add_metric([run.namespace, run.name, "ready"], run.workers_ready)
        yield from (runs, gpus, states, workers)
