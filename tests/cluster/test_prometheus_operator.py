"""What the chart says to the Prometheus Operator leads a Prometheus to runs, the operator and the alerts.

API server, Prometheus Operator and Prometheus are real. There is no node: the pods are those of the chart and
of a run, and the test gives them an address of this machine, where a real exporter listens.
"""

import base64
import gzip
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import psutil
import pytest
import yaml
from cluster_programs import Programs
from live_prometheus import LivePrometheus
from tools.monitoring.alerts import ALERTS
from tools.reference.metric_families import snapshot_of_a_run

from synthray.api.crd import build_crds
from synthray.operator.configuration import Images, OperatorConfiguration
from synthray.operator.rendering import render_file
from synthray.telemetry.exporter import build_exporter

from .conftest import say
from .environment.api_server import ApiServerAlone
from .environment.places import find_places
from .environment.programs import CONTROL_PLANE_PROGRAMS, MONITORING_PROGRAMS, build_programs
from .environment.prometheus_operator import running_prometheus_operator

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
RUN = ROOT / "manifests" / "examples" / "ranzcr-512.yaml"
NAMESPACE = "synthray-system"
# Services have no endpoints on nodes that are unknown.
NODE = "here"
SELECTED = {"matchLabels": {"release": "prometheus"}}
DEADLINE_SECONDS = 120.0
CONFIGURATION = OperatorConfiguration(images=Images(worker="synthray/worker:dev"))
Document = dict[str, Any]


@pytest.fixture(scope="module")
def server(
    foreign_kubeconfig: Path | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServerAlone]:
    """An API server on which Prometheus Operator acts."""
    if foreign_kubeconfig:
        pytest.skip("gives pods an address of this machine: not where kubelets do")
    places, folder = find_places(), tmp_path_factory.mktemp("prometheus-operator")
    build_programs(places, (*CONTROL_PLANE_PROGRAMS, *MONITORING_PROGRAMS), say)
    with (
        ApiServerAlone(folder, programs=places.programs, controllers=True) as server,
        running_prometheus_operator(server.kubeconfig, programs=places.programs, folder=folder),
    ):
        yield server


def poll(find: Callable[[], Any], what: str) -> Any:
    """The first answer that is not empty."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        with suppress(CalledProcessError, LookupError, StopIteration):
            if found := find():
                return found
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def own_address() -> str:
    """One by which this machine reaches itself; Kubernetes takes no loopback for a pod's."""
    addresses = [one.address for card in psutil.net_if_addrs().values() for one in card if one.family == 2]
    return next((address for address in addresses if not address.startswith("127.")), "127.0.0.1")


def give_address(programs: Programs, namespace: str, pod: str, address: str) -> None:
    """Say what scheduler and kubelet would say of a pod that is ready."""
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod},
        "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/binding"
    programs.kubectl("create", "--raw", path, "-f", "-", given=json.dumps(binding))
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    programs.kubectl(
        "-n", namespace, "patch", "pod", pod, "--subresource=status", "-p", json.dumps({"status": status})
    )


def start_head(programs: Programs, port: int) -> str:
    """The head pod of a run, as the operator renders it, with its driver on another port; its name."""
    (cluster,) = [one for one in render_file(RUN, CONFIGURATION, attempt=1) if one["kind"] == "RayCluster"]
    template: Document = cluster["spec"]["headGroupSpec"]["template"]
    ports = template["spec"]["containers"][0]["ports"]
    next(one for one in ports if one["name"] == "driver")["containerPort"] = port
    name = f"{cluster['metadata']['name']}-head"
    metadata = {**template["metadata"], "name": name, "namespace": "xray"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    programs.kubectl("apply", "-f", "-", given=json.dumps(pod))
    return name


def generated_configuration(programs: Programs, folder: Path, server: ApiServerAlone) -> Document:
    """What Prometheus Operator wrote for its Prometheus; files and API server are where they are here."""

    def read() -> Document:
        secret = json.loads(programs.kubectl("-n", "xray", "get", "secret", "prometheus-main", "-o", "json"))
        text = gzip.decompress(base64.b64decode(secret["data"]["prometheus.yaml.gz"]))
        # What the reloader in Prometheus' pod puts in.
        document: Document = yaml.safe_load(text.replace(b"$(SHARD)", b"0"))
        return document if len(document.get("scrape_configs", [])) >= 3 and document.get("rule_files") else {}

    configuration: Document = poll(read, "Prometheus Operator wrote no configuration")
    names = ["-n", "xray", "get", "configmaps", "-o", "json", "-l", "prometheus-name=main"]
    for rules in json.loads(programs.kubectl(*names))["items"]:
        for name, text in rules["data"].items():
            (folder / name).write_text(text)
    configuration["rule_files"] = [str(folder / "*.yaml")]
    for scrape in configuration["scrape_configs"]:
        for discovery in scrape["kubernetes_sd_configs"]:
            discovery["kubeconfig_file"] = str(server.kubeconfig)
    return configuration


def find_target(live: LivePrometheus, pod: str) -> Document:
    """What Prometheus says of the one that the pod is."""
    targets: list[Document] = live.ask("targets", state="active")["activeTargets"]
    return next(target for target in targets if target["labels"].get("pod") == pod)


def test_it_finds_runs_and_operator_and_takes_the_alerts(server: ApiServerAlone, tmp_path: Path) -> None:
    programs, address = Programs(server.kubeconfig), own_address()
    programs.install_kinds(build_crds())
    programs.kubectl("create", "namespace", "xray")
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
    programs.kubectl("create", "-f", "-", given=json.dumps(node))
    switches = [
        f"metrics.{kind}.{setting}"
        for kind in ("serviceMonitor", "podMonitor", "prometheusRule")
        for setting in ("enabled=true", "labels.release=prometheus")
    ]
    values = [word for switch in switches for word in ("--set", switch)]
    programs.helm(
        "install", "synthray", str(ROOT / "helm" / "synthray"), "--namespace", NAMESPACE,
        "--create-namespace", "--take-ownership", "--force-conflicts", *values,
    )  # fmt: skip
    prometheus = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "Prometheus",
        "metadata": {"name": "main", "namespace": "xray"},
        "spec": {
            "scrapeInterval": "1s",
            **{
                f"{kind}{what}": SELECTED if what == "Selector" else {}
                for kind in ("serviceMonitor", "podMonitor", "rule")
                for what in ("Selector", "NamespaceSelector")
            },
        },
    }
    programs.kubectl("apply", "-f", "-", given=json.dumps(prometheus))
    snapshot = replace(snapshot_of_a_run(), namespace="xray", run="ranzcr-512")
    with build_exporter(lambda: snapshot, host="0.0.0.0", port=0) as exporter:  # noqa: S104 a pod's address
        head = start_head(programs, exporter.port)
        give_address(programs, "xray", head, address)
        operators = ["-n", NAMESPACE, "get", "pods", "-o", "name"]
        pods = poll(lambda: programs.kubectl(*operators).split(), "the chart's Deployment made no pod")
        operator = pods[0].removeprefix("pod/")
        give_address(programs, NAMESPACE, operator, address)
        configuration = generated_configuration(programs, tmp_path, server)
        program = str(find_places().programs / "prometheus-for-kubernetes")
        with LivePrometheus(tmp_path, configuration, program=program) as live:
            live.wait_for("vector(1)")
            try:
                poll(lambda: find_target(live, head)["health"] == "up", "the driver is not scraped")
            except AssertionError as error:
                error.add_note(str(live.ask("targets")))
                raise
            (series,) = live.query("synthray_run_planned_images")
            assert (series["metric"]["namespace"], series["metric"]["run"]) == ("xray", "ranzcr-512")
            assert "exported_namespace" not in series["metric"]
            found = poll(lambda: find_target(live, operator), "the operator is no target")
            assert found["scrapeUrl"] == f"http://{address}:8080/metrics"
            rules = [rule for group in live.ask("rules")["groups"] for rule in group["rules"]]
            assert {rule["name"] for rule in rules} == {alert.name for alert in ALERTS}
            assert all("runbook_url" in rule["annotations"] for rule in rules)
