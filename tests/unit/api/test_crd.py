"""The CRDs: structural, bounded, described, small, and what they forbid to change."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from synthray.api.crd import build_crds, build_generation_service_crd, build_training_run_crd
from synthray.api.crd_immutability import IMMUTABLE_FIELDS
from synthray.api.digests import INTRODUCTION_DEFAULTS
from synthray.api.yaml_documents import parse_yaml

Node = dict[str, Any]
CRDS = {crd["spec"]["names"]["kind"]: crd for crd in build_crds()}
EACH_CRD = pytest.mark.parametrize("crd", CRDS.values(), ids=CRDS)
# What Kubernetes describes itself, or takes as a constant.
NOT_OURS = (".apiVersion", ".kind", ".metadata", ".metadata.name")


def version_of(crd: Node) -> Node:
    version: Node = crd["spec"]["versions"][0]
    return version


def walk(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from walk(inner, f"{path}.{name}")
    if "items" in node:
        yield from walk(node["items"], f"{path}[]")


def fields_of(crd: Node) -> list[tuple[str, Node]]:
    return list(walk(version_of(crd)["schema"]["openAPIV3Schema"]))


def rules_at(crd: Node, path: str) -> list[Node]:
    rules: list[Node] = dict(fields_of(crd))[path]["x-kubernetes-validations"]
    return rules


@EACH_CRD
def test_a_schema_is_structural(crd: Node) -> None:
    for path, node in fields_of(crd):
        assert node.keys().isdisjoint({"$ref", "anyOf", "oneOf", "const", "title", "examples"}), path
        assert "type" in node or node.get("x-kubernetes-int-or-string") is True, path


@EACH_CRD
def test_everything_is_described(crd: Node) -> None:
    fields = [(path, node) for path, node in fields_of(crd) if not path.endswith("[]")]
    assert [path for path, node in fields if path not in NOT_OURS and not node.get("description")] == []


@EACH_CRD
def test_every_list_and_text_is_bounded_in_spec_and_status(crd: Node) -> None:
    unbounded = [
        path
        for path, node in fields_of(crd)
        if path not in NOT_OURS
        and "enum" not in node
        and (
            (node.get("type") == "string" and "maxLength" not in node)
            or (node.get("type") == "array" and "maxItems" not in node)
            or "additionalProperties" in node
        )
    ]
    assert unbounded == []


@EACH_CRD
def test_whole_numbers_are_int64(crd: Node) -> None:
    assert all(node["format"] == "int64" for _, node in fields_of(crd) if node.get("type") == "integer")


@EACH_CRD
def test_a_crd_is_small_enough_for_client_side_apply(crd: Node) -> None:
    assert len(json.dumps(crd)) < 100_000


@EACH_CRD
def test_conditions_are_a_map_by_type(crd: Node) -> None:
    conditions = dict(fields_of(crd))[".status.conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert set(conditions["items"]["required"]) == {"type", "status", "reason", "lastTransitionTime"}


@EACH_CRD
def test_every_rule_says_field_and_remedy_without_being_evaluated(crd: Node) -> None:
    for path, node in fields_of(crd):
        for rule in node.get("x-kubernetes-validations", []):
            assert rule["message"].startswith(("spec.", "metadata.name")), path
            assert ";" in rule["message"], rule["message"]


def test_what_changes_the_result_can_not_change() -> None:
    assert set(INTRODUCTION_DEFAULTS) < set(IMMUTABLE_FIELDS)
    rules = [
        rule["message"]
        for _, node in fields_of(CRDS["TrainingRun"])
        for rule in node.get("x-kubernetes-validations", [])
        if "oldSelf" in rule["rule"]
    ]
    forbidden = {message.split(" ")[0].removeprefix("spec.") for message in rules}
    assert forbidden == set(IMMUTABLE_FIELDS)


def test_what_does_not_change_the_result_may_change() -> None:
    may_change = {"image", "optimization.epochs", "workers.replicas", "workers.memory", "suspend", "previews"}
    assert may_change.isdisjoint(IMMUTABLE_FIELDS)


def test_a_rule_on_an_optional_field_stands_on_its_parent() -> None:
    rule = next(rule for rule in rules_at(CRDS["TrainingRun"], ".spec.workers") if "gpu" in rule["rule"])
    assert rule["rule"] == (
        "(has(self.gpu)) == (has(oldSelf.gpu)) && "
        "(!(has(self.gpu)) || self.gpu.product == oldSelf.gpu.product)"
    )


def test_columns_of_a_run() -> None:
    columns = version_of(build_training_run_crd())["additionalPrinterColumns"]
    shown = [column["name"].upper() for column in columns if "priority" not in column]
    assert shown == ["STATE", "EPOCH", "PROGRESS", "LOSS", "IMG/S", "WORKERS", "ETA", "AGE"]


@pytest.mark.parametrize(
    ("crd", "paths"),
    [
        (
            build_training_run_crd(),
            (".spec.workers.replicas", ".status.workers.replicas", ".status.workers.selector"),
        ),
        (build_generation_service_crd(), (".spec.replicas", ".status.replicas", ".status.selector")),
    ],
)
def test_scale_and_status_are_subresources_and_scale_has_what_an_autoscaler_needs(
    crd: Node, paths: tuple[str, ...]
) -> None:
    subresources = version_of(crd)["subresources"]
    assert subresources["status"] == {}
    assert tuple(subresources["scale"].values()) == paths
    fields = dict(fields_of(crd))
    assert fields[paths[0]]["default"] == 1
    assert all(path in fields for path in paths)


def test_the_command_prints_what_the_manifests_hold() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", "from synthray.cli import main; main()", "crd"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert parse_yaml(answer.stdout, "crd") == list(build_crds())
