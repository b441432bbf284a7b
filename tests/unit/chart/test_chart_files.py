"""What of the chart follows from the code, read without Helm; `tests/cluster/test_chart.py` has Helm."""

import gzip
import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import synthray
from synthray.api.crd import build_crds
from synthray.api.loading import build_training_run
from synthray.api.names import HEAD_ROLE, METRICS_PORT, REPLICA_ROLE, ROLE_LABEL
from synthray.cli.entry import app
from synthray.operator.configuration import NetworkPolicies, OperatorConfiguration
from synthray.operator.kuberay import build_run_network_policy
from synthray.operator.process import load_configuration

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helm" / "synthray"
Document = dict[str, Any]


@pytest.fixture(scope="module")
def values() -> Document:
    document: Document = yaml.safe_load((CHART / "values.yaml").read_text())
    return document


@pytest.fixture(scope="module")
def schema() -> Document:
    document: Document = json.loads((CHART / "values.schema.json").read_text())
    return document


@pytest.fixture(scope="module")
def installed() -> list[Document]:
    return [one for one in yaml.safe_load_all((ROOT / "manifests/install.yaml").read_text()) if one]


def objects_in(schema: Document) -> Iterator[tuple[str, Document]]:
    yield "the values", schema
    for name, definition in schema["$defs"].items():
        if definition.get("type") == "object":
            yield name, definition


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == synthray.__version__


def test_a_misspelt_value_is_refused_everywhere_but_under_global(schema: Document) -> None:
    open_to_others = [
        name for name, node in objects_in(schema) if node.get("additionalProperties") is not False
    ]
    assert open_to_others == ["Global"]


def test_every_value_is_described(schema: Document) -> None:
    undescribed = [
        f"{name}.{key}"
        for name, node in objects_in(schema)
        for key, value in node["properties"].items()
        if not value.get("description") and "$ref" not in value  # a model is described itself
    ]
    assert undescribed == []


def test_the_schema_has_no_words_of_kubernetes(schema: Document) -> None:
    assert "x-kubernetes" not in json.dumps(schema)


def test_every_setting_of_the_operator_is_a_value_with_the_operators_default(values: Document) -> None:
    operators = OperatorConfiguration.model_validate({"images": {"worker": "x"}}).model_dump(
        mode="json", by_alias=True, exclude={"images", "namespaces"}
    )
    assert values["config"] == operators


def test_the_chart_carries_the_crds_of_the_code() -> None:
    for crd in build_crds():
        text = (CHART / "files" / "crds" / f"{crd['metadata']['name']}.yaml").read_text()
        assert yaml.safe_load(text) == crd


def test_the_operator_reads_the_configuration_that_is_installed(
    installed: list[Document], tmp_path: Path
) -> None:
    (config_map,) = of_kind(installed, "ConfigMap")
    file = tmp_path / "operator.yaml"
    file.write_text(config_map["data"]["operator.yaml"])
    configuration = load_configuration(file)
    assert configuration.images.worker == f"synthray/worker:{synthray.__version__}"
    assert configuration.namespaces == ()


def test_without_helm_nothing_is_helms(installed: list[Document]) -> None:
    text = json.dumps(installed)
    assert "helm.sh" not in text
    assert of_kind(installed, "Pod") == []  # the chart's test is not installed


def test_the_operator_may_do_no_more_than_it_needs(installed: list[Document]) -> None:
    roles = of_kind(installed, "ClusterRole") + of_kind(installed, "Role")
    (operators,) = [
        role
        for role in roles
        if role["metadata"]["name"] == "synthray-operator" and role["kind"] == "ClusterRole"
    ]
    rules = [rule for role in roles for rule in role["rules"]]
    resources = {resource for rule in rules for resource in rule["resources"]}
    assert resources.isdisjoint({"secrets", "pods/exec", "serviceaccounts", "*"})
    assert all("*" not in rule["verbs"] and "*" not in rule["apiGroups"] for rule in rules)
    written = {
        resource
        for rule in operators["rules"]
        for resource in rule["resources"]
        if set(rule["verbs"]) & {"create", "update", "patch", "delete"}
    }
    assert written == {
        "trainingruns",  # deleted once finished, if the run says so
        "trainingruns/status",
        "trainingruns/finalizers",
        "generationservices/status",
        "generationservices/finalizers",
        "rayclusters",
        "rayservices",
        "events",
        "networkpolicies",
        "poddisruptionbudgets",
    }
    (lease,) = [rule for rule in rules if "leases" in rule["resources"]]
    assert lease == {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": ["synthray-operator"],
        "verbs": ["get", "update"],
    }


def test_the_operators_pod_is_restricted_and_unhurried(installed: list[Document]) -> None:
    (deployment,) = of_kind(installed, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "cpu" not in container["resources"]["limits"]


def test_the_operator_is_started_with_options_that_it_has(installed: list[Document]) -> None:
    (deployment,) = of_kind(installed, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    program, name = container["command"]
    assert program == "synthray"
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    parameters = command.commands[name].make_context(name, list(container["args"])).params
    (lease,) = of_kind(installed, "Lease")
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "config"]
    assert parameters["lease_name"] == lease["metadata"]["name"]
    assert parameters["config"] == Path(mount["mountPath"]) / "operator.yaml"
    assert [parameters["port"]] == [port["containerPort"] for port in container["ports"]]


def test_policies_of_the_chart_and_of_runs_speak_of_the_same_pods(installed: list[Document]) -> None:
    (policy,) = of_kind(installed, "NetworkPolicy")
    progress = policy["spec"]["egress"][-1]
    (selected,) = progress["to"][0]["podSelector"]["matchExpressions"]
    assert selected == {"key": ROLE_LABEL, "operator": "In", "values": [HEAD_ROLE, REPLICA_ROLE]}
    assert progress["ports"] == [{"protocol": "TCP", "port": METRICS_PORT}]
    run = build_training_run(yaml.safe_load((ROOT / "manifests/examples/demo-64.yaml").read_text()))
    (deployment,) = of_kind(installed, "Deployment")
    label = deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
    runs_policy = json.dumps(build_run_network_policy(run, NetworkPolicies()))
    assert f'"app.kubernetes.io/name": "{label}"' in runs_policy


def test_the_namespace_admits_restricted_pods_alone(installed: list[Document]) -> None:
    (namespace,) = of_kind(installed, "Namespace")
    assert namespace["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}


def test_a_release_fits_into_the_secret_that_helm_keeps_it_in() -> None:
    """Helm keeps chart and what it renders as JSON, compressed, in base64, in one Secret of at most 1 MiB."""
    files = [path.read_bytes() for path in sorted(CHART.rglob("*")) if path.is_file()]
    rendered = [path.read_bytes() for path in sorted((CHART / "files").rglob("*")) if path.is_file()]
    release = json.dumps([b64encode(data).decode() for data in files] + [data.decode() for data in rendered])
    assert len(b64encode(gzip.compress(release.encode()))) < 500_000
