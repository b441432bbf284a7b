"""The pages of the custom objects, read from their pydantic models."""

from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo
from tools.reference.markdown import write_table

from synthray.api.architecture import PRESETS
from synthray.api.v1alpha1 import GenerationService, TrainingRun
from synthray.api.v1alpha1.fields import SEED_MAX


def build_training_run() -> str:
    """Fields of a TrainingRun."""
    presets = [
        (
            f"`{name}`",
            str(shape.resolution_px),
            ", ".join(map(str, shape.block_out_channels)),
            str(shape.layers_per_block),
            str(shape.norm_num_groups),
        )
        for name, shape in PRESETS.items()
    ]
    header = ("preset", "resolution", "blockOutChannels", "layersPerBlock", "normNumGroups")
    return "\n\n".join([*_object(TrainingRun), "## Presets of spec.model", write_table(header, presets)])


def build_generation_service() -> str:
    """Fields of a GenerationService."""
    return "\n\n".join(_object(GenerationService))


def _object(model: type[BaseModel]) -> Iterator[str]:
    yield f"# {model.__name__}"
    yield model.__doc__ or ""
    yield "`apiVersion: synthray.io/v1alpha1`. A field with no default is required."
    for part in ("spec", "status"):
        yield f"## {part}"
        header = ("field", "form", "default", "meaning")
        yield write_table(header, list(_fields(_inner_model(model.model_fields[part].annotation), part)))


def _fields(model: type[BaseModel] | None, path: str) -> Iterator[tuple[str, str, str, str]]:
    if model is None:
        return
    for name, field in model.model_fields.items():
        here = f"{path}.{field.alias or name}"
        inner = _inner_model(field.annotation)
        if inner is None or get_origin(field.annotation) is tuple:
            yield f"`{here}`", _form(field), _field_default(field), field.description or ""
        if inner is not None:
            yield from _fields(inner, here + ("[]" if get_origin(field.annotation) is tuple else ""))


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation holds, directly, optionally or in a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _inner_model(part)) is not None), None)


def _form(field: FieldInfo) -> str:
    bounds = [_bound(item) for item in field.metadata]
    return ", ".join([_kind(field.annotation), *filter(None, bounds)])


def _bound(item: Any) -> str:
    for name, words in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"), ("max_length", "length ≤")):
        value = getattr(item, name, None)
        if value == SEED_MAX:
            return "< 2^53"
        if value is not None and value < SEED_MAX:
            return f"{words} {value:,}" if isinstance(value, int) else f"{words} {value:g}"
    return ""


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_kind(part) for part in arguments if part is not type(None))
    if origin is tuple:
        return f"list of {_kind(arguments[0])}"
    if hasattr(annotation, "__metadata__"):
        return _kind(arguments[0])
    words = {int: "integer", float: "number", str: "text", bool: "true or false", AwareDatetime: "time"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _field_default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    words: dict[object, str] = {None: "none", "": '""'}
    return f"`{words.get(value, value)}`"
