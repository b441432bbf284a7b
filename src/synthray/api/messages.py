"""What is wrong with an object, in sentences: field, value, complaint, remedy.

pydantic says `Input should be greater than or equal to 1`; a user reads `spec.workers.replicas=0 is below 1;
to release all workers set spec.suspend: true`. Remedies stand on the fields (`Remedy`), complaints here.
"""

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, get_args

from annotated_types import Ge, Le
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from synthray.api.v1alpha1.fields import ApiModel, Remedy

_MAX_SHOWN_CHARACTERS: Final = 80
_CREDENTIALS = re.compile(r"//[^/@\s]*@")

_LENGTH_OF_LIST: Final = frozenset({"too_long", "too_short"})
_WITHOUT_QUOTES: Final = frozenset({"bool_type", "int_type", "float_type"})
_TYPE_COMPLAINTS: Final = {
    "bool_type": ("is not true or false", "write true or false, without quotes"),
    "int_type": ("is not a whole number", "write it without quotes and without a fraction"),
    "int_from_float": ("is not a whole number", "write it without quotes and without a fraction"),
    "float_type": ("is not a number", "write it without quotes"),
    "finite_number": ("is not finite", "use a finite number"),
    "string_type": ("is not text", 'write it in quotes: "..."'),
    "model_type": ("is not a mapping", "give it fields of its own"),
    "dict_type": ("is not a mapping", "give it fields of its own"),
    "tuple_type": ("is not a list", "write [a, b]"),
    "string_pattern_mismatch": ("has not the form that it needs", "see the reference"),
    "string_too_short": ("is too short", "write more than that"),
}


def describe_validation_error(error: ValidationError, model: type[ApiModel]) -> list[str]:
    """One message for each thing that is wrong, in the order of the fields."""
    messages: list[str] = []
    for details in error.errors(include_url=False):
        if details["type"] == "value_error":  # our own rules between fields: sentences already
            messages += str(details["ctx"]["error"]).splitlines()
        else:
            messages.append(_describe(details, model))
    return messages


def describe_unknown_field(path: str, known: Sequence[str], elsewhere: Sequence[str] = ()) -> str:
    """The message for a field that does not exist, with the nearest of `known` (its neighbours' names).

    `elsewhere` are paths of fields in other parts of the object, one of which may be meant.
    """
    name = path.rpartition(".")[2]
    nearest = _nearest(name, known)
    if nearest:
        return f"{path} is not a field; did you mean {nearest}?"
    homes = [other for other in elsewhere if other.rpartition(".")[2] == name]
    if homes:
        return f"{path} is not a field; did you mean {homes[0]}?"
    return f"{path} is not a field; there are {', '.join(known)}"


def render_value(value: object) -> str:
    """A value as it stands in YAML, cut to a line, without credentials in its address."""
    text = value if isinstance(value, str) and value else json.dumps(value, default=str)
    text = _CREDENTIALS.sub("//***@", " ".join(text.split()))
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}..."


def _describe(details: ErrorDetails, model: type[ApiModel]) -> str:
    location, kind = details["loc"], details["type"]
    path = _render_path(location)
    if kind == "extra_forbidden":
        parent = _model_at(model, location[:-1])
        return describe_unknown_field(path, _yaml_fields(parent), list(list_field_paths(model)))
    field = _field_at(model, location)
    if kind == "missing":
        example = f", for example {render_value(field.examples[0])}" if field and field.examples else ""
        return f"{path} is missing; give it{example}"
    value = details["input"]
    complaint, usual_remedy = _complaint(details, field)
    remedy = _remedy_on(field, kind) or usual_remedy
    if kind in _LENGTH_OF_LIST:
        return f"{path} {complaint}; {remedy}"
    # The quotes are what is wrong with a number in quotes.
    shown = json.dumps(value) if kind in _WITHOUT_QUOTES and isinstance(value, str) else render_value(value)
    return f"{path}={shown} {complaint}; {remedy}"


def _remedy_on(field: FieldInfo | None, kind: str) -> str | None:
    side = {"greater_than_equal": "below", "less_than_equal": "above"}.get(kind, "any")
    remedies = [item for item in field.metadata if isinstance(item, Remedy)] if field else []
    return next((item.text for item in remedies if item.when in {"any", side}), None)


def _complaint(details: ErrorDetails, field: FieldInfo | None) -> tuple[str, str]:
    """What is wrong with a value, and what would usually be right."""
    kind, context = details["type"], details.get("ctx", {})
    if kind == "literal_error":
        choices = _choices(context["expected"])
        nearest = _nearest(render_value(details["input"]), choices)
        remedy = f"did you mean {nearest}?" if nearest else "use one of them"
        return f"is not one of {', '.join(choices)}", remedy
    complaints = {
        "greater_than_equal": ("is below {ge}", _range_remedy(field, "use {ge} or more")),
        "less_than_equal": ("is above {le}", _range_remedy(field, "use {le} or less")),
        "string_too_long": ("is longer than {max_length} characters", "use {max_length} or fewer"),
        "too_long": ("has more than {max_length} entries", "use {max_length} or fewer"),
        "too_short": ("has no entry", "use {min_length} or more"),
        **_TYPE_COMPLAINTS,
    }
    if kind not in complaints:
        return f"is not valid ({details['msg']})", "see the reference"
    complaint, remedy = complaints[kind]
    return complaint.format_map(context), remedy.format_map(context)


def _range_remedy(field: FieldInfo | None, otherwise: str) -> str:
    metadata = field.metadata if field else []
    lowest = next((item.ge for item in metadata if isinstance(item, Ge)), None)
    highest = next((item.le for item in metadata if isinstance(item, Le)), None)
    return otherwise if lowest is None or highest is None else f"use {lowest} to {highest}"


def _choices(expected: str) -> list[str]:
    """Pydantic's `'a', 'b' or 'c'` as a list."""
    return [choice.strip("'") for choice in re.split(r", | or ", expected)]


def _nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that was probably meant; case and underscores don't count."""
    plain = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.replace("_", "").lower(), plain, n=1, cutoff=0.65)
    return plain[near[0]] if near else None


def _render_path(location: Sequence[int | str]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".")


def _yaml_fields(model: type[ApiModel] | None) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _field_at(model: type[ApiModel], location: Sequence[int | str]) -> FieldInfo | None:
    """The field at a place; None for an entry of a list or a mapping."""
    parent = _model_at(model, location[:-1]) if location else None
    if parent is None:
        return None
    return next((field for field in parent.model_fields.values() if field.alias == location[-1]), None)


def _model_at(model: type[ApiModel], location: Sequence[int | str]) -> type[ApiModel] | None:
    current: type[ApiModel] | None = model
    for part in location:
        if current is None:
            return None
        field = next((field for field in current.model_fields.values() if field.alias == part), None)
        current = model_in(field.annotation) if field else None
    return current


def model_in(annotation: Any) -> type[ApiModel] | None:
    """The model that an annotation is, or is an optional or a tuple of."""
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := model_in(inner))), None)


def list_field_paths(model: type[ApiModel], prefix: str = "") -> Iterator[str]:
    """The paths of all fields that a user writes, as they stand in YAML."""
    for field in model.model_fields.values():
        if field.alias == "status":
            continue
        path = f"{prefix}{field.alias}"
        yield path
        inner = model_in(field.annotation)
        if inner:
            yield from list_field_paths(inner, f"{path}.")
