"""The chart with the real Helm on a real API server: lint, render, install, upgrade, roll back, uninstall."""

import base64
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_programs import Programs, find_program

from synthray.errors import InvalidInput, NotFound, Unavailable
from synthray.operator.process import load_configuration
from synthray.storage import ObjectStore, open_store, s3_settings_from_environment
from synthray.storage.opening import check_conditional_writes
from synthray.storage.ports import choose_free_ports
from synthray.storage.seaweed import INTERNAL_PORTS, find_seaweed

from .environment.places import find_places
from .environment.programs import build_programs

Document = dict[str, Any]
ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "synthray"
EVERYTHING = Path(__file__).with_name("everything.values.yaml")
PROMETHEUS = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
RUN = ROOT / "manifests" / "examples" / "ranzcr-512.yaml"
# Charts as they were released, made by `helm package`; each must go on to the one here.
KEPT = sorted(Path(__file__).parent.glob("kept-charts/*.tgz"))
# Another hand may have installed the CRDs before, without Helm.
ADOPT = ("--take-ownership", "--force-conflicts")


@pytest.fixture(scope="module")
def programs(api_server_kubeconfig: Path) -> Programs:
    build_programs(find_places(), ("helm",), print)
    return Programs(api_server_kubeconfig)


def render(programs: Programs, *arguments: str) -> list[Document]:
    text = programs.helm("template", "synthray", str(CHART), "--namespace", "synthray-system", *arguments)
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(documents: list[Document], kind: str, name: str = "synthray-operator") -> Document:
    (found,) = [one for one in documents if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


# ---- rendered
@pytest.mark.parametrize("values", [(), ("--values", str(EVERYTHING))], ids=["defaults", "everything"])
def test_lint_finds_nothing(programs: Programs, values: tuple[str, ...]) -> None:
    programs.helm("lint", "--strict", str(CHART), *values)


def test_install_yaml_is_the_chart_with_its_defaults(programs: Programs) -> None:
    program = "import sys\nfrom tools.render_install import *\nfrom pathlib import Path\n"
    program += "print(render_install(Path('helm/synthray'), sys.argv[1]), end='')"
    rendered = subprocess.run(
        [sys.executable, "-c", program, find_program("helm")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert rendered == (ROOT / "manifests" / "install.yaml").read_text()


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("replica=2", "'replica' not allowed"),
        ("config.workers.graceSeconds=5", "minimum: got 5, want 30"),
        ("image.digest=sha256:abc", "does not match pattern"),
        ("config.allowed.image={a}", "'image' not allowed"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_happens(
    programs: Programs, value: str, complaint: str
) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        render(programs, "--set", value)
    assert complaint in caught.value.stderr


def test_the_server_takes_everything_that_the_chart_can_render(programs: Programs, namespace: str) -> None:
    documents = render(programs, "--values", str(EVERYTHING), "--namespace", namespace)
    # A pod needs its account, which a dry run does not leave there.
    ours = [document for document in documents if document["kind"] not in {*PROMETHEUS, "Pod"}]
    given = yaml.safe_dump_all(ours)
    programs.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", given=given
    )


def test_images_come_from_one_registry_and_by_digest(programs: Programs) -> None:
    documents = render(programs, "--values", str(EVERYTHING))
    pod = of_kind(documents, "Deployment")["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.example/synthray/operator:9.9.9"
    assert pod["imagePullSecrets"] == [{"name": "registry"}, {"name": "operators"}]
    storage = of_kind(documents, "Deployment", "synthray-storage")["spec"]["template"]["spec"]
    assert storage["containers"][0]["image"] == "registry.example/synthray/storage:0.1.0"


def test_the_operator_reads_every_setting(programs: Programs, tmp_path: Path) -> None:
    documents = render(programs, "--values", str(EVERYTHING), "--set", "watchNamespaces={a,b}")
    file = tmp_path / "operator.yaml"
    file.write_text(of_kind(documents, "ConfigMap")["data"]["operator.yaml"])
    configuration = load_configuration(file)
    assert configuration.images.worker.startswith("registry.example/synthray/worker@sha256:0123")
    assert configuration.images.pull_secret_names == ("registry", "runs")
    assert configuration.namespaces == ("a", "b")
    assert configuration.allowed.images == ("registry.example/*",)
    assert configuration.workers.grace_seconds == 120
    assert configuration.environment == {"NCCL_SOCKET_IFNAME": "eth0"}


def test_two_operators_keep_one_while_nodes_are_drained(programs: Programs) -> None:
    documents = render(programs, "--set", "replicas=2")
    assert of_kind(documents, "PodDisruptionBudget")["spec"]["minAvailable"] == 1
    assert not any(one["kind"] == "PodDisruptionBudget" for one in render(programs))


def test_monitors_carry_the_label_that_prometheus_selects_by(programs: Programs) -> None:
    assert not any(one["kind"] in PROMETHEUS for one in render(programs))
    documents = render(programs, "--values", str(EVERYTHING))
    assert of_kind(documents, "ServiceMonitor")["metadata"]["labels"]["release"] == "prometheus"
    runs = of_kind(documents, "PodMonitor", "synthray-runs")
    assert runs["spec"]["podMetricsEndpoints"][0]["port"] == "driver"
    assert of_kind(documents, "PrometheusRule", "synthray")["metadata"]["labels"]["release"] == "prometheus"


def test_alerts_lead_to_runbooks_where_they_are_served(programs: Programs) -> None:
    documents = render(programs, "--values", str(EVERYTHING))
    rules = of_kind(documents, "PrometheusRule", "synthray")["spec"]
    kept = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    for group, source in zip(rules["groups"], kept["groups"], strict=True):
        for rule, original in zip(group["rules"], source["rules"], strict=True):
            assert rule["expr"] == original["expr"]
            url = f"https://docs.example/runbooks/{rule['alert']}.md"
            assert rule["annotations"] == {**original["annotations"], "runbook_url": url}


def test_dashboards_are_found_by_grafanas_sidecar(programs: Programs) -> None:
    def dashboards(*arguments: str) -> list[Document]:
        return [one for one in render(programs, *arguments) if "-dashboard-" in one["metadata"]["name"]]

    assert dashboards() == []
    files = sorted((CHART / "files" / "dashboards").glob("*.json"))
    documents = dashboards("--values", str(EVERYTHING))
    for file, document in zip(files, documents, strict=True):
        assert document["metadata"]["labels"].items() >= {"grafana_dashboard": "1", "grafana": "main"}.items()
        assert document["metadata"]["annotations"] == {"grafana_folder": "synthray"}
        assert document["data"] == {f"synthray-{file.name}": file.read_text()}


def test_an_entrance_leads_to_its_service_alone(programs: Programs) -> None:
    documents = render(programs, "--values", str(EVERYTHING))
    chest, others = (one for one in documents if one["kind"] == "Ingress")
    assert chest["metadata"]["namespace"] == "default"
    assert chest["spec"]["tls"] == [{"hosts": ["images.example"], "secretName": "images-tls"}]
    (rule,) = chest["spec"]["rules"]
    assert rule["host"] == "images.example"
    (path,) = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": "chest-images-serve-svc", "port": {"number": 8000}}
    assert "tls" not in others["spec"]


def test_in_namespaces_the_operator_has_no_right_outside_them(programs: Programs) -> None:
    documents = render(programs, "--set", "watchNamespaces={a,b}", "--set", "rbac.aggregateRoles=false")
    assert not any(one["kind"].startswith("ClusterRole") for one in documents)
    roles = [one for one in documents if one["kind"] == "Role" and one["metadata"]["namespace"] in {"a", "b"}]
    assert [role["metadata"]["namespace"] for role in roles] == ["a", "b"]
    assert all("nodes" not in rule["resources"] for role in roles for rule in role["rules"])


@pytest.mark.parametrize(
    ("keep", "annotations"), [("true", {"helm.sh/resource-policy": "keep"}), ("false", None)]
)
def test_crds_are_kept_if_wanted(programs: Programs, keep: str, annotations: object) -> None:
    documents = render(programs, "--set", f"crds.keep={keep}")
    crds = [document for document in documents if document["kind"] == "CustomResourceDefinition"]
    assert [crd["metadata"].get("annotations") for crd in crds] == [annotations, annotations]
    assert not any(
        document["kind"] == "CustomResourceDefinition"
        for document in render(programs, "--set", "crds.install=false")
    )


def test_notes_name_kuberay_while_it_is_missing(programs: Programs, namespace: str) -> None:
    install = ("install", "synthray", str(CHART), "--namespace", namespace, "--dry-run=client")
    assert "helm install kuberay-operator" in programs.helm(*install)


# ---- on the server
def test_a_life_leaves_runs_alone(programs: Programs, namespace: str) -> None:
    release = ("synthray", str(CHART), "--namespace", namespace)
    crds = ("crd/trainingruns.synthray.io", "crd/generationservices.synthray.io")
    programs.helm("install", *release, *ADOPT)
    programs.kubectl("wait", "--for=condition=Established", *crds)
    programs.kubectl("apply", "--namespace", namespace, "-f", str(RUN))
    before = run_in(programs, namespace)
    first = checksum_in(programs, namespace)

    programs.helm("upgrade", *release, "--set", "config.workers.graceSeconds=120", "--set", "replicas=2")
    assert checksum_in(programs, namespace) != first  # the operator starts anew and reads it
    programs.helm("rollback", "synthray", "1", "--namespace", namespace)
    assert checksum_in(programs, namespace) == first
    assert run_in(programs, namespace) == before

    programs.helm("uninstall", "synthray", "--namespace", namespace)
    assert run_in(programs, namespace) == before
    programs.helm("install", *release)
    assert run_in(programs, namespace) == before
    programs.kubectl("delete", "--namespace", namespace, "-f", str(RUN))
    programs.helm("uninstall", "synthray", "--namespace", namespace)


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.stem)
def test_every_kept_release_is_upgraded_under_a_run(programs: Programs, namespace: str, kept: Path) -> None:
    programs.helm("install", "synthray", str(kept), "--namespace", namespace, *ADOPT)
    programs.kubectl("wait", "--for=condition=Established", "crd/trainingruns.synthray.io")
    programs.kubectl("apply", "--namespace", namespace, "-f", str(RUN))
    before = run_in(programs, namespace)
    programs.helm("upgrade", "synthray", str(CHART), "--namespace", namespace, "--reset-then-reuse-values")
    assert run_in(programs, namespace) == before
    programs.kubectl("delete", "--namespace", namespace, "-f", str(RUN))
    programs.helm("uninstall", "synthray", "--namespace", namespace)


def test_an_upgrade_does_not_unseat_who_leads(programs: Programs, namespace: str) -> None:
    release = ("synthray", str(CHART), "--namespace", namespace)
    programs.helm("install", *release, *ADOPT)
    lease = ("lease", "synthray-operator", "--namespace", namespace)
    patch = json.dumps({"spec": {"holderIdentity": "operator-1", "leaseDurationSeconds": 30}})
    programs.kubectl("patch", *lease, "--type=merge", "--patch", patch)
    programs.helm("upgrade", *release, "--set", "replicas=2")
    assert programs.kubectl("get", *lease, "-o", "jsonpath={.spec.holderIdentity}") == "operator-1"
    programs.helm("uninstall", "synthray", "--namespace", namespace)


def test_the_demo_storage_keeps_its_keys(programs: Programs, namespace: str) -> None:
    release = ("synthray", str(CHART), "--namespace", namespace, "--set", "demo.storage.enabled=true")
    programs.helm("install", *release, *ADOPT)
    secret = ("get", "secret", "synthray-storage", "--namespace", namespace, "-o", "jsonpath={.data}")
    keys = json.loads(programs.kubectl(*secret))
    assert len(base64.b64decode(keys["AWS_SECRET_ACCESS_KEY"])) == 40
    programs.helm("upgrade", *release, "--set", "replicas=2")
    assert json.loads(programs.kubectl(*secret)) == keys
    programs.helm("uninstall", "synthray", "--namespace", namespace)


@pytest.mark.parametrize("scope", ["cluster", "namespace"])
def test_the_operator_gets_on_with_the_rights_that_the_chart_gives_it(
    programs: Programs, namespace: str, tmp_path: Path, scope: str
) -> None:
    settings = () if scope == "cluster" else ("--set", f"watchNamespaces={{{namespace}}}")
    programs.helm("install", "synthray", str(CHART), "--namespace", namespace, *settings, *ADOPT)
    programs.kubectl("wait", "--for=condition=Established", "crd/trainingruns.synthray.io")
    programs.kubectl("apply", "--namespace", namespace, "-f", str(RUN))
    log = tmp_path / "operator.log"
    with running_operator(programs, namespace, tmp_path, log):
        state = "--for=jsonpath={.status.state}"
        programs.kubectl("wait", state, "trainingrun/ranzcr-512", "--namespace", namespace, "--timeout=90s")
    assert "leading" in log.read_text()
    assert '" cannot ' not in log.read_text()  # what a missing right is told with
    programs.kubectl("delete", "--namespace", namespace, "-f", str(RUN))
    programs.helm("uninstall", "synthray", "--namespace", namespace)


def test_the_operator_may_read_no_secret_and_enter_no_pod(programs: Programs, namespace: str) -> None:
    programs.helm("install", "synthray", str(CHART), "--namespace", namespace, *ADOPT)
    allowed = {
        ("create", "ray.io", "rayclusters", ""),
        ("patch", "networking.k8s.io", "networkpolicies", ""),
        ("create", "", "events", ""),
        ("list", "", "nodes", ""),
        ("update", "synthray.io", "trainingruns", "status"),
    }
    refused = {
        ("get", "", "secrets", ""),
        ("create", "", "pods", ""),
        ("create", "", "pods", "exec"),
        ("create", "", "serviceaccounts", "token"),
        ("create", "coordination.k8s.io", "leases", ""),
        ("create", "synthray.io", "trainingruns", ""),
        ("update", "synthray.io", "trainingruns", ""),
        ("patch", "", "nodes", ""),
    }
    operator = f"system:serviceaccount:{namespace}:synthray-operator"
    answers = {right: may(programs, operator, namespace, right) for right in allowed | refused}
    assert {right for right, answer in answers.items() if answer} == allowed
    programs.helm("uninstall", "synthray", "--namespace", namespace)


def test_who_may_view_or_edit_a_namespace_may_so_with_its_runs(programs: Programs, namespace: str) -> None:
    for role in ("view", "edit", "admin"):
        bind = ("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}er")
        programs.kubectl(*bind, "--namespace", namespace)
    programs.helm("install", "synthray", str(CHART), "--namespace", namespace, *ADOPT)
    look, make = ("list", "synthray.io", "trainingruns", ""), ("create", "synthray.io", "trainingruns", "")
    scale = ("patch", "synthray.io", "trainingruns", "scale")

    def rights() -> list[list[bool]]:
        users = ("viewer", "editer", "adminer")
        return [[may(programs, user, namespace, right) for right in (look, make, scale)] for user in users]

    deadline = time.monotonic() + 60  # a controller gathers the rights into Kubernetes' own roles
    while rights() != [[True, False, False], [True, True, True], [True, True, True]]:
        assert time.monotonic() < deadline, rights()
    programs.helm("uninstall", "synthray", "--namespace", namespace)


def test_helm_test_asks_the_server_for_a_dry_run(
    programs: Programs, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pod needs a kubelet; what runs in the pod runs here, with the rights that the pod has."""
    programs.helm("install", "synthray", str(CHART), "--namespace", namespace, *ADOPT)
    hooks = programs.helm("get", "hooks", "synthray", "--namespace", namespace)
    programs.kubectl("apply", "-f", "-", given=hooks)
    server, authority, token = access_of(programs, namespace, "synthray-test")
    for name, text in (("namespace", namespace), ("token", token), ("ca.crt", authority)):
        (tmp_path / name).write_text(text)
    host, _, port = server.removeprefix("https://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setattr(sys, "argv", ["dry_run.py", str(CHART / "files" / "run.json")])
    specification = importlib.util.spec_from_file_location("dry_run", CHART / "files" / "dry_run.py")
    assert specification is not None
    assert specification.loader is not None
    dry_run = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(dry_run)
    monkeypatch.setattr(dry_run, "ACCOUNT", tmp_path)
    assert dry_run.main() == 0
    assert programs.kubectl("get", "trainingruns", "--namespace", namespace, "-o", "name") == ""
    programs.helm("uninstall", "synthray", "--namespace", namespace)


def test_the_demo_storage_serves_what_a_run_needs(programs: Programs, tmp_path: Path) -> None:
    """The pod's own command, here; its other ports are moved out of other servers' way."""
    documents = render(programs, "--set", "demo.storage.enabled=true")
    (container,) = of_kind(documents, "Deployment", "synthray-storage")["spec"]["template"]["spec"][
        "containers"
    ]
    port, *internal = choose_free_ports(1 + len(INTERNAL_PORTS))
    arguments = [argument.replace("/data", str(tmp_path)) for argument in container["args"]]
    arguments += [f"-s3.port={port}"]
    arguments += [f"-{name}={one}" for name, one in zip(INTERNAL_PORTS, internal, strict=True)]
    keys = {"AWS_ACCESS_KEY_ID": "A" * 20, "AWS_SECRET_ACCESS_KEY": "s" * 40}
    environment = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_REGION": "us-east-1", **keys}
    with subprocess.Popen(
        [find_seaweed(), *arguments],
        cwd=tmp_path,
        env={**os.environ, **keys, "HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            store = open_store("s3://xray", s3_settings_from_environment(environment))
            wait_until_ready(server, store)
        finally:
            server.kill()


# ---- what the tests above look at
def run_in(programs: Programs, namespace: str) -> Document:
    """A run's identity, generation and spec: what a restart would change."""
    run = json.loads(
        programs.kubectl("get", "trainingrun/ranzcr-512", "--namespace", namespace, "-o", "json")
    )
    return {"uid": run["metadata"]["uid"], "generation": run["metadata"]["generation"], "spec": run["spec"]}


def wait_until_ready(server: subprocess.Popen[bytes], store: ObjectStore) -> None:
    """Until objects can be created, and not twice; while it starts, the bucket or the key may be unknown."""
    deadline = time.monotonic() + 60
    while True:
        try:
            check_conditional_writes(store)
        except (NotFound, InvalidInput, Unavailable):
            assert time.monotonic() < deadline
            with suppress(subprocess.TimeoutExpired):
                assert server.wait(0.2) is None, "the server ended"
        else:
            return


def may(programs: Programs, user: str, namespace: str, right: tuple[str, str, str, str]) -> bool:
    """Whether somebody has a right: verb, group, resource, subresource."""
    attributes = dict(zip(("verb", "group", "resource", "subresource"), right, strict=True))
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "resourceAttributes": {"namespace": namespace, **attributes},
        },
    }
    answer = programs.kubectl("create", "-f", "-", "-o", "json", given=json.dumps(review))
    return bool(json.loads(answer)["status"]["allowed"])


def checksum_in(programs: Programs, namespace: str) -> str:
    path = "jsonpath={.spec.template.metadata.annotations.checksum/config}"
    return programs.kubectl("get", "deployment/synthray-operator", "--namespace", namespace, "-o", path)


def access_of(programs: Programs, namespace: str, account: str) -> tuple[str, str, str]:
    """Address of the server, its authority as PEM, and a token of a service account."""
    config = json.loads(programs.kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
    cluster = config["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    token = programs.kubectl("create", "token", account, "--namespace", namespace).strip()
    return cluster["server"], authority, token


@contextmanager
def running_operator(programs: Programs, namespace: str, folder: Path, log: Path) -> Iterator[None]:
    """The operator as its pod runs it, with the configuration and the account of the release."""
    server, authority, token = access_of(programs, namespace, "synthray-operator")
    cluster = {
        "server": server,
        "certificate-authority-data": base64.b64encode(authority.encode()).decode(),
    }
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "here", "cluster": cluster}],
                "users": [{"name": "operator", "user": {"token": token}}],
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": "operator"}}],
                "current-context": "here",
            }
        )
    )
    path = "jsonpath={.data.operator\\.yaml}"
    configuration = folder / "operator.yaml"
    configuration.write_text(
        programs.kubectl("get", "configmap/synthray-operator", "--namespace", namespace, "-o", path)
    )
    command = [sys.executable, "-c", "from synthray.cli import main; main()", "operator"]
    options = [f"--config={configuration}", f"--kubeconfig={kubeconfig}", "--host=127.0.0.1", "--port=0"]
    lease = ["--lease-name=synthray-operator", f"--lease-namespace={namespace}"]
    with log.open("wb") as output, subprocess.Popen([*command, *options, *lease], stderr=output) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)
