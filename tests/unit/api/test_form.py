"""The form of the objects: bounded, described, strict; and cheap to import."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from synthray.api.v1alpha1 import GenerationService, TrainingRun
from synthray.api.v1alpha1.fields import ApiModel, yaml_name

OBJECTS = [TrainingRun, GenerationService]


def walk(schema: dict[str, Any], node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field's schema, by its path."""
    if "$ref" in node:
        node = {
            **schema["$defs"][node["$ref"].rpartition("/")[2]],
            **{k: v for k, v in node.items() if k != "$ref"},
        }
    yield path, node
    options = [] if "x-kubernetes-int-or-string" in node else node.get("anyOf", [])
    for option in options:
        yield from walk(schema, option, path)
    for name, inner in node.get("properties", {}).items():
        yield from walk(schema, inner, f"{path}.{name}")
    if "items" in node:
        yield from walk(schema, node["items"], f"{path}[]")


def fields_of(model: type[ApiModel]) -> list[tuple[str, dict[str, Any]]]:
    schema = model.model_json_schema(by_alias=True)
    return list(walk(schema, schema, model.__name__))


@pytest.mark.parametrize("model", OBJECTS)
def test_every_field_is_described(model: type[ApiModel]) -> None:
    fields = fields_of(model)
    described = {path for path, node in fields if node.get("description")}
    assert {path for path, _ in fields if not path.endswith("[]")} - described == set()


@pytest.mark.parametrize("model", OBJECTS)
def test_every_number_text_and_list_of_a_spec_is_bounded(model: type[ApiModel]) -> None:
    unbounded = []
    for path, node in fields_of(model):
        if not path.startswith(f"{model.__name__}.spec") or "enum" in node or "const" in node:
            continue
        wanted = {
            "integer": ("minimum", "maximum"),
            "number": ("minimum", "maximum"),
            "string": ("maxLength",),
            "array": ("maxItems",),
            "int-or-string": ("maxLength", "pattern"),
        }.get("int-or-string" if "x-kubernetes-int-or-string" in node else node.get("type", ""), ())
        unbounded += [f"{path}: {bound}" for bound in wanted if bound not in node]
    assert unbounded == []


@pytest.mark.parametrize("model", OBJECTS)
def test_unknown_fields_are_refused_in_specs(model: type[ApiModel]) -> None:
    for path, node in fields_of(model):
        if node.get("type") == "object" and path.startswith(f"{model.__name__}.spec"):
            assert node["additionalProperties"] is False, path


@pytest.mark.parametrize(
    ("python", "yaml"),
    [
        ("seed", "seed"),
        ("max_replicas", "maxReplicas"),
        ("endpoint_url", "endpointURL"),
        ("zero_terminal_snr", "zeroTerminalSNR"),
        ("min_snr_gamma", "minSNRGamma"),
        ("ca_bundle_config_map_name", "caBundleConfigMapName"),
        ("models_every_nth_epoch", "modelsEveryNthEpoch"),
    ],
)
def test_names_in_yaml_are_camel_case_with_acronyms_in_capitals(python: str, yaml: str) -> None:
    assert yaml_name(python) == yaml


def test_reading_a_run_needs_neither_torch_nor_numpy() -> None:
    program = (
        "import sys, synthray.api.loading, synthray.api.digests, synthray.api.names\n"
        "print([name for name in ('torch', 'numpy', 'ray', 'pyarrow', 's3fs') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
