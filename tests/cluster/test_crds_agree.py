"""The API server and the command line refuse the same files: generated specs are given to both.

Where they can't agree, and why:
- `replicas: 4.0`: JSON has one kind of number, so the API server takes it for 4; a file says it by mistake.
- Several widths of a block that don't fit: the API server names the first, the command line each of them.
- Fields that nobody knows: the API server drops them unless it is asked to be strict, as kubectl asks it.
- What may change later is the API server's alone to judge.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cluster_programs import Programs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthray.api.crd import build_crds
from synthray.api.loading import build_generation_service, build_training_run
from synthray.api.v1alpha1 import GenerationServiceSpec, TrainingRunSpec
from synthray.api.yaml_documents import write_yaml
from synthray.errors import InvalidInput
from synthray.operator.cluster import ApiServer, connect
from synthray.operator.cluster.api_server import Refused

Document = dict[str, Any]
EXAMPLES = int(os.environ.get("SYNTHRAY_EXAMPLES", "150"))
# What the API server says when a value's kind is so wrong that its rules can't even be evaluated.
NOT_EVALUATED = "some validation rules were not checked"


@dataclass(frozen=True)
class Kind:
    name: str
    plural: str
    build: Callable[[Document], object]
    schema: Document
    least: Document


RUNS = Kind(
    "TrainingRun",
    "trainingruns",
    build_training_run,
    TrainingRunSpec.model_json_schema(by_alias=True),
    {
        "dataset": {"uri": "s3://xray/d"},
        "checkpoints": {"uri": "s3://xray/c"},
        "optimization": {"epochs": 1},
    },
)
SERVICES = Kind(
    "GenerationService",
    "generationservices",
    build_generation_service,
    GenerationServiceSpec.model_json_schema(by_alias=True),
    {"model": {"trainingRun": "a"}},
)


@pytest.fixture(scope="module")
def server(api_server_kubeconfig: Path) -> ApiServer:
    programs = Programs(api_server_kubeconfig)
    programs.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=write_yaml(build_crds()))
    names = (f"crd/{crd['metadata']['name']}" for crd in build_crds())
    programs.kubectl("wait", "--for=condition=Established", *names)
    return connect(str(api_server_kubeconfig))


def complaint_of_server(server: ApiServer, kind: Kind, spec: Document) -> str:
    """What the API server says to such an object, without storing it; empty if it takes it."""
    path = f"/apis/synthray.io/v1alpha1/namespaces/default/{kind.plural}"
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    try:
        server.request("POST", path, document_of(kind, spec), query=query)
    except Refused as refusal:
        return str(refusal)
    return ""


def complaint_of_command_line(kind: Kind, spec: Document) -> str:
    try:
        kind.build(document_of(kind, spec))
    except InvalidInput as refusal:
        return refusal.message
    return ""


def document_of(kind: Kind, spec: Document) -> Document:
    return {
        "apiVersion": "synthray.io/v1alpha1",
        "kind": kind.name,
        "metadata": {"name": "generated"},
        "spec": spec,
    }


# ---- values of fields: good ones, ones at the edge and beyond, and ones of another kind
WRONG = st.sampled_from([None, True, -1, 0.5, "", "x", "3", [], ["x"], {}, {"x": 1}])
TEXTS = st.sampled_from(
    [
        "s3://xray/c/inner",
        "s3://xray",
        "s3://xray/c//",
        "/data/d",
        "/",
        "data",
        "ranzcr-512",
        "Quadro RTX",
        "16Gi",
        "0.5",
        "1e3",
        "latest",
        "http://s3:9000/",
        "line\nbreak",
        "\u00e9",
        "%s {x} \\",
        "a" * 41,
        "s3://xray/" + "a" * 1100,
    ]
)


def values_of(node: Document, definitions: Document) -> st.SearchStrategy[Any]:
    """Values that fit the schema of a field, and others that all but fit it."""
    node = resolve(node, definitions)
    if "properties" in node:
        return objects_of(node, definitions)
    if "anyOf" in node:
        return st.one_of(*(values_of(option, definitions) for option in node["anyOf"])) | TEXTS
    if "enum" in node or "const" in node:
        return st.sampled_from(node.get("enum", [node.get("const")]))
    if node["type"] == "array":
        items = values_of(node["items"], definitions)
        return st.lists(items, min_size=node.get("minItems", 0), max_size=4)
    if node["type"] in {"integer", "number"}:
        return numbers_of(node)
    return {"boolean": st.booleans(), "null": st.none()}.get(node["type"], TEXTS)


def numbers_of(node: Document) -> st.SearchStrategy[Any]:
    low, high = node.get("minimum", -2), node.get("maximum", 20)
    edges = [low, high, low - 1, high + 1]
    if node["type"] == "number":
        return st.sampled_from(edges) | st.floats(low, high).filter(lambda value: value != int(value))
    small = st.integers(low, min(high, low + 64))
    return small | small.map(lambda value: min(8 * value, high)) | st.sampled_from(edges)


def objects_of(node: Document, definitions: Document) -> st.SearchStrategy[Document]:
    """Objects with a few of the fields; one that is needed may be missing."""
    fields = node["properties"]
    chosen = st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True)
    return chosen.flatmap(
        lambda names: st.fixed_dictionaries(
            {name: st.one_of(*[values_of(fields[name], definitions)] * 6, WRONG) for name in names}
        )
    )


def resolve(node: Document, definitions: Document) -> Document:
    return definitions[node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def specs_of(kind: Kind) -> st.SearchStrategy[Document]:
    generated = objects_of(kind.schema, kind.schema["$defs"])
    return generated.map(lambda spec: merge(kind.least, spec))


def merge(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {key: merge(below.get(key), above.get(key, below.get(key))) for key in below | above}


def has_whole_fraction(value: Any) -> bool:
    """Whether there is a number like 4.0, which only the command line tells from 4."""
    if isinstance(value, dict):
        return any(map(has_whole_fraction, value.values()))
    if isinstance(value, list):
        return any(map(has_whole_fraction, value))
    return isinstance(value, float) and value == int(value)


def check_agreement(server: ApiServer, kind: Kind, spec: Document) -> None:
    here, there = complaint_of_command_line(kind, spec), complaint_of_server(server, kind, spec)
    assert bool(here) == bool(there), f"{json.dumps(spec)}\ncommand line: {here}\nAPI server: {there}"


@given(spec=specs_of(RUNS))
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_run_is_refused_by_both_or_by_neither(server: ApiServer, spec: Document) -> None:
    if not has_whole_fraction(spec):
        check_agreement(server, RUNS, spec)


@given(spec=specs_of(SERVICES))
@settings(max_examples=EXAMPLES // 3, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_service_is_refused_by_both_or_by_neither(server: ApiServer, spec: Document) -> None:
    check_agreement(server, SERVICES, spec)


# ---- fields that are good alone and may not fit together
@st.composite
def unfitting_specs(draw: st.DrawFn) -> Document:
    """Specs of good values, between which any rule may be broken."""
    num_blocks = draw(st.integers(1, 5))
    widths = draw(st.lists(st.sampled_from([8, 12, 16, 20, 32]), min_size=num_blocks, max_size=num_blocks))
    kinds = st.booleans().map(lambda attends: "Attn" if attends else "")
    model = {
        "blockOutChannels": widths,
        "downBlockTypes": [f"{draw(kinds)}DownBlock2D" for _ in range(draw(st.integers(1, num_blocks + 1)))],
        "upBlockTypes": [f"{draw(kinds)}UpBlock2D" for _ in range(draw(st.integers(1, num_blocks + 1)))],
        "resolution": draw(st.integers(8, 70)),
        "normNumGroups": draw(st.integers(1, 8)),
        "attentionHeadDim": draw(st.integers(1, 8)),
        "preset": draw(st.sampled_from(["unconditional-512", "demo-64"])),
    }
    dropped = draw(st.sets(st.sampled_from(sorted(model)), max_size=6))
    spec: Document = {
        "dataset": {"uri": draw(st.sampled_from(["s3://x/a", "s3://x/a/b/", "s3://x/ab", "/", "/a//"]))},
        "checkpoints": {"uri": draw(st.sampled_from(["s3://x/a/", "s3://x/a/b/c", "s3://x/abc", "/a"]))},
        "optimization": {
            "epochs": 1,
            "globalBatchSize": draw(st.integers(1, 12)),
            "microBatchSize": draw(st.integers(1, 4)),
            "learningRateSchedule": {
                "decay": draw(st.sampled_from(["constant", "linear", "inverse_square_root"])),
                "decayImages": draw(st.integers(0, 1)),
            },
        },
        "workers": {"replicas": draw(st.integers(1, 6)), "minReplicas": draw(st.integers(1, 3))},
        "model": {name: value for name, value in model.items() if name not in dropped},
        "diffusion": {
            "predictionType": draw(st.sampled_from(["epsilon", "sample", "v_prediction"])),
            "zeroTerminalSNR": draw(st.booleans()),
        },
        "previews": {"seeds": draw(st.lists(st.integers(0, 3), max_size=4))},
    }
    if draw(st.booleans()):
        spec["workers"]["maxReplicas"] = draw(st.integers(1, 8))
    return spec


def sentences(complaint: str) -> Iterator[str]:
    """The sentences about rules of which the API server must say the same; of widths only the first."""
    seen: set[str] = set()
    for sentence in complaint.splitlines():
        about_widths = "spec.model.blockOutChannels["
        rule = sentence.partition(" ")[2].partition("=")[0] if sentence.startswith(about_widths) else sentence
        if rule not in seen:
            seen.add(rule)
            yield sentence


@given(spec=unfitting_specs())
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rules_between_fields_are_told_in_the_same_words(server: ApiServer, spec: Document) -> None:
    here, there = complaint_of_command_line(RUNS, spec), complaint_of_server(server, RUNS, spec)
    assert NOT_EVALUATED not in there
    assert bool(here) == bool(there), f"{json.dumps(spec)}\ncommand line: {here}\nAPI server: {there}"
    for sentence in sentences(here):
        assert sentence in there, json.dumps(spec)
