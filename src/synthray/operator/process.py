"""The operator's process: candidate, then leader; watches, workers, progress, health.

Whoever leads and loses the Lease ends, since another one may act by then. All threads are daemons: there is
nothing to tidy up that the API server does not hold.
"""

import json
import logging
import socket
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from synthray.api.messages import describe_validation_error
from synthray.api.yaml_documents import read_yaml_file
from synthray.errors import InvalidInput, Unavailable
from synthray.operator.cluster import ApiServer, Cluster, connect, follow, hold_lease
from synthray.operator.cluster.watching import (
    GONE,
    NODES,
    PODS,
    RAY_CLUSTERS,
    RAY_SERVICES,
    RUNS,
    SERVICE_PODS,
    SERVICE_RAY_CLUSTERS,
    SERVICES,
    Follower,
)
from synthray.operator.configuration import OperatorConfiguration
from synthray.operator.controller import Controller
from synthray.operator.fleet import build_fleet
from synthray.operator.health import Health, build_health_server
from synthray.operator.metrics import OperatorMetrics
from synthray.operator.progress_reader import ProgressReader
from synthray.operator.run_reconciler import RunReconciler
from synthray.operator.services.reconciler import ServiceReconciler
from synthray.operator.services.replica_reader import ReplicaReader
from synthray.operator.store import Store
from synthray.operator.views import ObjectKey, RunKey, key_of
from synthray.operator.work_queue import WorkQueue
from synthray.signals import hear_signals

_WORKERS: Final = 4
_TICK_SECONDS: Final = 60.0
_FLEET_SECONDS: Final = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OperatorOptions:
    """What the command line says. Without a lease's name the process leads at once."""

    configuration: Path
    kubeconfig: str | None
    host: str
    port: int
    lease_name: str
    lease_namespace: str


def load_configuration(path: Path) -> OperatorConfiguration:
    """The configuration of a YAML file; raises NotFound, or InvalidInput with a line for each problem."""
    documents = read_yaml_file(path)
    if len(documents) != 1 or not isinstance(documents[0], Mapping):
        raise InvalidInput(f"{path} holds no configuration of the operator; write one mapping into it")
    try:
        return OperatorConfiguration.model_validate(documents[0], by_alias=True, by_name=False)
    except ValidationError as error:
        complaints = describe_validation_error(error, OperatorConfiguration)
        raise InvalidInput("\n".join(f"{path}: {complaint}" for complaint in complaints)) from error


def run_operator(options: OperatorOptions) -> int:
    """Operate until a signal ends it; the exit code. Raises InvalidInput, NotFound."""
    configuration = load_configuration(options.configuration)
    server = connect(options.kubeconfig)
    stopping = threading.Event()
    operator = Operator(server, configuration, stopping)
    health = Health(is_alive=operator.is_alive, is_ready=operator.is_ready)
    with (
        hear_signals(stopping, "stopping"),
        build_health_server(options.host, options.port, operator.metrics.registry, health),
    ):
        if not options.lease_name:
            operator.lead()
            stopping.wait()
            return 0
        identity = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        lease = hold_lease(
            server,
            name=options.lease_name,
            namespace=options.lease_namespace,
            identity=identity,
            lead=operator.lead,
        )
        while lease.is_alive() and not stopping.wait(1.0):
            pass
        if not stopping.is_set():
            raise Unavailable("the lease is lost; another operator may lead by now")
    return 0


class Operator:
    """All threads of a leader, and what a candidate answers before it is one."""

    def __init__(
        self, server: ApiServer, configuration: OperatorConfiguration, stopping: threading.Event
    ) -> None:
        self._server = server
        self._stopping = stopping
        self._store = Store()
        self._queue: WorkQueue[ObjectKey] = WorkQueue()
        self.metrics = OperatorMetrics(lambda: len(self._queue))
        self._progress = ProgressReader(self._store.heads, self._queue.add)
        kinds = (RUNS, RAY_CLUSTERS, PODS, SERVICES, RAY_SERVICES, SERVICE_RAY_CLUSTERS, SERVICE_PODS)
        self._followers = [
            Follower(kind, namespace, threading.Event())
            for kind in kinds
            for namespace in configuration.namespaces or ("",)
        ]
        if not configuration.namespaces:
            self._followers.append(Follower(NODES, "", threading.Event()))
        cluster = Cluster(server)
        self._controller = Controller(
            runs=RunReconciler(
                configuration=configuration,
                cluster=cluster,
                store=self._store,
                progress=self._progress,
                is_kuberay_installed=self._is_kuberay_installed,
                knows_nodes=not configuration.namespaces,
            ),
            services=ServiceReconciler(
                configuration=configuration,
                cluster=cluster,
                store=self._store,
                replicas=ReplicaReader(),
                is_kuberay_installed=self._is_kuberay_installed,
            ),
            queue=self._queue,
            metrics=self.metrics,
        )
        self._leads = threading.Event()

    def lead(self) -> None:
        """Start to act; returns once the first lists are complete and the workers run."""
        _log.info("leading")
        self._leads.set()
        self.metrics.lead()
        for follower in self._followers:
            self._start(follow, self._server, follower, self._observe, self._stopping)
        for follower in self._followers:
            while not follower.synced.wait(1.0):
                if self._stopping.is_set():
                    return
        for key in self._store.owners():
            self._queue.add(key)
        self._start(self._progress.run, self._stopping)
        self._start(self._show_fleet)
        self.metrics.tick()
        for _ in range(_WORKERS):
            self._start(self._controller.work, self._stopping)

    def is_alive(self) -> bool:
        """Whether the workers get on; a candidate, and a leader that still lists, only has to answer."""
        return not self._has_synced() or self.metrics.seconds_since_tick < _TICK_SECONDS

    def is_ready(self) -> bool:
        """Whether it leads with complete lists, or stands by."""
        return not self._leads.is_set() or self._has_synced()

    def _has_synced(self) -> bool:
        return self._leads.is_set() and all(follower.synced.is_set() for follower in self._followers)

    def _is_kuberay_installed(self) -> bool:
        return not any(follower.is_absent for follower in self._followers if follower.kind is RAY_CLUSTERS)

    def _observe(self, change: str, document: dict[str, Any]) -> None:
        if change == GONE:
            self._store.remove(document)
        elif not self._store.set(document):
            return
        if document["kind"] == NODES.name:
            return
        key = key_of(document)
        self._queue.add(key)
        if isinstance(key, RunKey) and document["kind"] == RUNS.name:
            self._wake_services(key)

    def _wake_services(self, run: RunKey) -> None:
        """Services of a run wait for its first checkpoint."""
        for key in self._store.services():
            spec = (self._store.owner(key) or {}).get("spec", {})
            if key.namespace == run.namespace and spec.get("model", {}).get("trainingRun") == run.name:
                self._queue.add(key)

    def _show_fleet(self) -> None:
        while not self._stopping.wait(_FLEET_SECONDS):
            runs = [run for key in self._store.runs() if (run := self._store.owner(key)) is not None]
            self.metrics.show_fleet(build_fleet(runs, self._store.nodes()))

    def _start(self, target: Any, *arguments: Any) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()


class JsonLog(logging.Formatter):
    """One JSON object a line, for the cluster's log collector."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        document = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "thread": record.threadName,
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document)
