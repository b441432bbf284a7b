"""From a file to an object: read, override, resolve paths, validate.

The one way in for the command line; the operator has documents already and calls `build_training_run`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from synthray.api.messages import describe_unknown_field, describe_validation_error
from synthray.api.names import API_VERSION
from synthray.api.overrides import apply_overrides
from synthray.api.v1alpha1 import GenerationService, TrainingRun
from synthray.api.v1alpha1.fields import ApiModel
from synthray.api.v1alpha1.object_meta import KUBERNETES_METADATA_FIELDS
from synthray.api.yaml_documents import read_yaml_file
from synthray.errors import InvalidInput

_Object = TypeVar("_Object", bound=ApiModel)

# Fields of a spec that name a place; on a laptop relative paths are allowed there.
_PLACES: Final = (("dataset", "uri"), ("checkpoints", "uri"), ("model", "initFrom"), ("model", "uri"))


def load_training_run(path: Path | str, overrides: Sequence[str] = ()) -> TrainingRun:
    """The TrainingRun of a file, with `PATH=VALUE` overrides.

    Relative paths in it count from the working directory. Raises NotFound without such a file, InvalidInput
    with a line for each problem.
    """
    document = apply_overrides(read_object(Path(path), kind="TrainingRun"), overrides)
    _check_metadata(document)
    return build_training_run(with_absolute_paths(document, Path.cwd()))


def build_training_run(document: Mapping[str, Any]) -> TrainingRun:
    """The TrainingRun of a document as the API server or a file gives it; raises InvalidInput."""
    return _build(TrainingRun, document)


def load_generation_service(path: Path | str) -> GenerationService:
    """The GenerationService of a file; raises like `load_training_run`."""
    document = read_object(Path(path), kind="GenerationService")
    _check_metadata(document)
    return build_generation_service(with_absolute_paths(document, Path.cwd()))


def build_generation_service(document: Mapping[str, Any]) -> GenerationService:
    """The GenerationService of a document as the API server or a file gives it; raises InvalidInput."""
    return _build(GenerationService, document)


def load_run_or_service(path: Path | str) -> TrainingRun | GenerationService:
    """The TrainingRun or GenerationService of a file; raises like `load_training_run`."""
    documents = read_yaml_file(Path(path))
    first = documents[0] if documents else None
    if isinstance(first, Mapping) and first.get("kind") == "GenerationService":
        return load_generation_service(path)
    return load_training_run(path)


def read_object(path: Path, *, kind: str) -> dict[str, Any]:
    """The one document of a file, of this kind; raises NotFound or InvalidInput."""
    documents = read_yaml_file(path)
    if not documents:
        raise InvalidInput(f"{path} is empty; write a {kind} into it (see manifests/examples)")
    if len(documents) > 1:
        raise InvalidInput(f"{path} holds {len(documents)} documents; keep one {kind} in a file")
    document = documents[0]
    if not isinstance(document, dict):
        raise InvalidInput(f"{path} is not a mapping; write a {kind} into it (see manifests/examples)")
    _check_identity(document, path, kind)
    return document


def with_absolute_paths(document: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """The document with relative paths (and ~) in its places counted from `directory`."""
    spec = document.get("spec")
    if not isinstance(spec, Mapping):
        return dict(document)
    resolved = dict(spec)
    for room, field in _PLACES:
        part = resolved.get(room)
        if isinstance(part, Mapping) and isinstance(part.get(field), str):
            resolved[room] = {**part, field: _absolute(part[field], directory)}
    return {**document, "spec": resolved}


def _absolute(place: str, directory: Path) -> str:
    if not place or ":" in place:
        return place
    return os.path.normpath(directory / Path(place).expanduser())


def _check_identity(document: Mapping[str, Any], path: Path, kind: str) -> None:
    for field, wanted in (("apiVersion", API_VERSION), ("kind", kind)):
        if field not in document:
            remedy = f"begin with apiVersion: {API_VERSION} and kind: {kind}"
            raise InvalidInput(f"{path}: {field} is missing; {remedy}")
        if document[field] != wanted:
            raise InvalidInput(
                f"{path}: {field}={document[field]} is not {wanted}; this command takes a {kind}"
            )


def _check_metadata(document: Mapping[str, Any]) -> None:
    """Refuse typing errors there; an object from the API server may carry what a later Kubernetes adds."""
    metadata = document.get("metadata")
    unknown = set(metadata) - KUBERNETES_METADATA_FIELDS if isinstance(metadata, Mapping) else set()
    if unknown:
        complaints = [
            describe_unknown_field(f"metadata.{name}", sorted(KUBERNETES_METADATA_FIELDS))
            for name in sorted(map(str, unknown))
        ]
        raise InvalidInput("\n".join(complaints))


def _build(model: type[_Object], document: Mapping[str, Any]) -> _Object:
    try:
        return model.model_validate(_without_nulls(document), by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidInput("\n".join(describe_validation_error(error, model))) from error


def _without_nulls(value: Any) -> Any:
    """A field without a value counts as left out, as the API server counts it."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value
