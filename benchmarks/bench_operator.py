"""The operator with thousands of runs: how soon each gets its RayCluster, and what that costs.

A real API server and the real `synthray operator`; KubeRay and the nodes are played by this benchmark, which
makes a head's pod for each RayCluster and answers its /progress, so that the operator also polls as many
drivers as there are runs (kwok's pods would answer nothing). Prints one line a phase and a JSON summary.

    python benchmarks/bench_operator.py [--runs 1000] [--more 4000] [--per-second 10]
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

import requests
import yaml
from cluster_programs import Programs
from live_operator import RAY_CLUSTER_CRD
from prometheus_client.parser import text_string_to_metric_families
from tests.cluster.environment.api_server import ApiServerAlone
from tests.cluster.environment.places import find_places
from tests.cluster.environment.programs import CONTROL_PLANE_PROGRAMS, build_programs

from synthray.api.crd import build_crds
from synthray.api.names import METRICS_PORT
from synthray.operator.cluster import ApiServer, connect
from synthray.operator.cluster.watching import PODS, RAY_CLUSTERS, RUNS, SET, Follower, follow

OPERATOR_PORT = 18080
NAMESPACE = "default"
STEADY_SECONDS = 60.0
PATIENCE_SECONDS = 900.0
# What the operator writes; pods and the runs themselves are the benchmark's.
OPERATORS = ("trainingruns/status", "rayclusters/", "networkpolicies/", "events/")


@dataclass
class Stage:
    """Plays KubeRay and the drivers, and notes when each RayCluster came."""

    server: ApiServer
    came: dict[str, float] = field(default_factory=dict)
    run_by_address: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        """Follow RayClusters and answer /progress from now on."""
        follower = Follower(RAY_CLUSTERS, "", threading.Event())
        arguments = (self.server, follower, self._take, threading.Event())
        threading.Thread(target=follow, args=arguments, daemon=True).start()
        http = ThreadingHTTPServer(("0.0.0.0", METRICS_PORT), self._build_handler())  # noqa: S104 all of 127/8
        threading.Thread(target=http.serve_forever, daemon=True).start()

    def _take(self, change: str, document: Mapping[str, Any]) -> None:
        name = document["metadata"]["name"]
        if change != SET or name in self.came:
            return
        self.came[name] = time.monotonic()
        number = len(self.came)
        address = f"127.1.{number // 250}.{number % 250 + 1}"
        self.run_by_address[address] = name.rpartition("-")[0]
        template = document["spec"]["headGroupSpec"]["template"]
        metadata = {**template["metadata"], "name": f"{name}-head"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        made = self.server.request("POST", PODS.url(NAMESPACE), pod)
        made["status"] = {
            "phase": "Running",
            "podIP": address,
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        self.server.request("PUT", f"{PODS.url(NAMESPACE)}/{name}-head/status", made)

    def _build_handler(self) -> type[BaseHTTPRequestHandler]:
        stage = self

        class Driver(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                run = stage.run_by_address.get(self.connection.getsockname()[0], "")
                seen = int(10 * (time.monotonic() - stage.began))
                word = {
                    "run": run,
                    "attempt": 1,
                    "state": "Running",
                    "images_seen": seen,
                    "images_total": 10_000_000,
                    "loss": 0.1,
                    "workers": {"desired": 1, "ready": 1},
                }
                body = json.dumps(word).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base's name
                """Nothing."""

        return Driver


@dataclass
class LiveProcess:
    """The operator's process, and what it costs."""

    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def kill(self) -> None:
        """As a node's loss does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @property
    def rss_mb(self) -> float:
        """Resident memory."""
        return read_status_mb(self._pid, "VmRSS")

    @property
    def cpu_seconds(self) -> float:
        """Since its start."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def metrics(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """Its samples by name and label values; empty while it does not answer."""
        try:
            text = requests.get(f"http://127.0.0.1:{OPERATOR_PORT}/metrics", timeout=5).text
        except requests.ConnectionError:
            return {}
        return {
            (sample.name, tuple(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    @property
    def looks(self) -> float:
        """Successful looks at runs since its start."""
        return self.metrics().get(("synthray_operator_reconcile_total", ("TrainingRun", "success")), 0.0)

    @property
    def _pid(self) -> int:
        assert self.process is not None
        return self.process.pid


def read_status_mb(pid: int, name: str) -> float:
    """A size of a process, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1000
    raise KeyError(name)


def count_writes(server: ApiServer) -> float:
    """What the operator has written since the API server's start."""
    answer = server.api_client.rest_client.pool_manager.request(
        "GET", f"{server.api_client.configuration.host}/metrics"
    )
    total = 0.0
    for family in text_string_to_metric_families(answer.data.decode()):
        if family.name != "apiserver_request":
            continue
        for sample in family.samples:
            labels = sample.labels
            what = f"{labels.get('resource')}/{labels.get('subresource')}"
            is_write = labels.get("verb") in {"POST", "PUT", "PATCH", "APPLY", "DELETE"}
            if is_write and what in OPERATORS:
                total += sample.value
    return total


def create_runs(server: ApiServer, first: int, number: int, per_second: float) -> dict[str, float]:
    """Create runs at an even rate; when each was accepted."""
    accepted = {}
    began = time.monotonic()
    for index in range(number):
        name = f"run-{first + index}"
        run = {
            "apiVersion": "synthray.io/v1alpha1",
            "kind": "TrainingRun",
            "metadata": {"name": name},
            "spec": {
                "dataset": {"uri": "s3://xray/data"},
                "checkpoints": {"uri": f"s3://xray/runs/{name}"},
                "optimization": {"epochs": 2},
                "workers": {"replicas": 1},
            },
        }
        server.request("POST", RUNS.url(NAMESPACE), run)
        accepted[f"{name}-1"] = time.monotonic()
        time.sleep(max(0.0, began + (index + 1) / per_second - time.monotonic()))
    return accepted


def wait_until(what: str, is_so: Any) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.2)


def percentile(values: list[float], share: float) -> float:
    """The smallest value that so many do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure_creation(
    server: ApiServer, stage: Stage, operator: LiveProcess, *, number: int, per_second: float
) -> dict[str, float]:
    """Create runs and wait for their RayClusters."""
    first = len(stage.came)
    writes, began, cpu = count_writes(server), time.monotonic(), operator.cpu_seconds
    accepted = create_runs(server, first, number, per_second)
    rate = number / (time.monotonic() - began)
    wait_until("RayClusters", lambda: len(stage.came) >= first + number)
    waits = [max(0.0, stage.came[name] - moment) for name, moment in accepted.items()]
    result = {
        "runs": number,
        "created_per_second": round(rate, 1),
        "p50_seconds": round(percentile(waits, 0.5), 3),
        "p99_seconds": round(percentile(waits, 0.99), 3),
        "max_seconds": round(max(waits), 3),
        "operator_cpu_seconds_per_run": round((operator.cpu_seconds - cpu) / number, 4),
        "writes_per_run": round((count_writes(server) - writes) / number, 1),
        "operator_rss_mb": round(operator.rss_mb),
    }
    print("creation", json.dumps(result), flush=True)
    return result


def measure_steady(server: ApiServer, stage: Stage, operator: LiveProcess) -> dict[str, float]:
    """A minute in which nothing happens but training."""
    writes, cpu, began = count_writes(server), operator.cpu_seconds, time.monotonic()
    time.sleep(STEADY_SECONDS)
    seconds = time.monotonic() - began
    result = {
        "runs": len(stage.came),
        "operator_cores": round((operator.cpu_seconds - cpu) / seconds, 3),
        "writes_per_second": round((count_writes(server) - writes) / seconds, 1),
        "operator_rss_mb": round(operator.rss_mb),
    }
    print("steady", json.dumps(result), flush=True)
    return result


def measure_restart(stage: Stage, operator: LiveProcess) -> dict[str, float]:
    """Kill the operator, start another one, and wait until it has looked at every run."""
    operator.kill()
    began = time.monotonic()
    operator.start()
    wait_until("all runs looked at", lambda: operator.looks >= len(stage.came))
    result = {"runs": len(stage.came), "seconds": round(time.monotonic() - began, 1)}
    print("restart", json.dumps(result), flush=True)
    return result


def main() -> None:
    """Run all phases and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--more", type=int, default=4000)
    parser.add_argument("--per-second", type=float, default=10.0)
    options = parser.parse_args()
    places = find_places()
    build_programs(places, CONTROL_PLANE_PROGRAMS, lambda line: print(line, file=sys.stderr, flush=True))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with ApiServerAlone(folder / "server", programs=places.programs, controllers=True) as alone:
            Programs(alone.kubeconfig).install_kinds([*build_crds(), RAY_CLUSTER_CRD])
            config = folder / "operator.yaml"
            config.write_text(yaml.safe_dump({"images": {"worker": "synthray/worker:1"}}))
            server = connect(str(alone.kubeconfig))
            stage = Stage(server)
            stage.start()
            operator = LiveProcess(
                [
                    *(str(Path(sys.executable).with_name("synthray")), "operator"),
                    *("--config", str(config), "--kubeconfig", str(alone.kubeconfig)),
                    *("--host", "127.0.0.1", "--port", str(OPERATOR_PORT)),
                ],
                folder / "operator.log",
            )
            operator.start()
            try:
                wait_until("the operator", operator.metrics)
                rate = options.per_second
                summary = {
                    "first": measure_creation(server, stage, operator, number=options.runs, per_second=rate),
                    "first_steady": measure_steady(server, stage, operator),
                    "more": measure_creation(server, stage, operator, number=options.more, per_second=rate),
                    "all_steady": measure_steady(server, stage, operator),
                    "restart": measure_restart(stage, operator),
                }
            finally:
                operator.kill()
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
