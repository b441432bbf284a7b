"""Whatever stands in a file, the answer is an object or a message, never anything else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from synthray.api.loading import build_generation_service, build_training_run, with_absolute_paths
from synthray.api.messages import list_field_paths
from synthray.api.overrides import apply_overrides
from synthray.api.v1alpha1 import GenerationService, TrainingRun
from synthray.api.yaml_documents import parse_yaml
from synthray.errors import InvalidInput

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["latest", "s3://xray/a", "4Gi", "{", "{0}", "{ge}", "%s"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)
RUN = {
    "metadata": {"name": "small"},
    "spec": {
        "dataset": {"uri": "s3://xray/d"},
        "checkpoints": {"uri": "s3://xray/r"},
        "optimization": {"epochs": 3},
    },
}
SERVICE = {"metadata": {"name": "small"}, "spec": {"model": {"trainingRun": "small"}}}


def placed(document: Any, path: list[str], value: Any) -> Any:
    """The document with a value at a path."""
    head, *rest = path
    inner = document.get(head, {}) if isinstance(document, dict) else {}
    return {**document, head: placed(inner, rest, value) if rest else value}


def complaint_of(call: Callable[[], object]) -> str:
    """The message of what `call` refuses, empty if it doesn't; any other exception is a failed test."""
    try:
        call()
    except InvalidInput as error:
        return error.message or "nothing said"
    return ""


@given(st.data())
def test_any_value_at_any_field_of_a_run_loads_or_is_explained(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(list_field_paths(TrainingRun))))
    document = placed(RUN, path.split("."), data.draw(VALUES))
    assert all(complaint_of(lambda: build_training_run(document)).splitlines())


@given(st.data())
def test_any_value_at_any_field_of_a_service_loads_or_is_explained(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(list_field_paths(GenerationService))))
    document = placed(SERVICE, path.split("."), data.draw(VALUES))
    assert all(complaint_of(lambda: build_generation_service(document)).splitlines())


@given(text=st.text(max_size=60) | st.text(alphabet="a:-{}[]&*!|>'\"%@`#? \n\t1.e+_<~", max_size=60))
def test_any_text_is_yaml_or_is_refused_in_one_line(text: str) -> None:
    complaint = complaint_of(lambda: parse_yaml(text, "run.yaml"))
    assert complaint == "" or (complaint.startswith("run.yaml") and "\n" not in complaint)


@given(override=st.text(alphabet="spec.sd=:[]{}!&*-1 \x00", max_size=30))
def test_any_override_is_applied_or_refused(override: str) -> None:
    complaint = complaint_of(lambda: apply_overrides(RUN, [override]))
    assert complaint == "" or complaint.startswith("--set ")


@given(document=st.dictionaries(st.text(max_size=5) | st.just("spec"), VALUES, max_size=3))
def test_paths_are_made_absolute_in_whatever_there_is(document: dict[str, Any]) -> None:
    assert set(with_absolute_paths(document, Path("/here"))) == set(document)
