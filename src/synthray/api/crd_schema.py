"""From pydantic's JSON schema to the structural schema that a CustomResourceDefinition takes.

Kubernetes wants everything in place (no $ref, no anyOf) and a type everywhere. An explicit null counts as
left out there, as it does in `loading`, so nothing is nullable. Bounds and forms that carry a remedy become
rules in CEL, since the API server's own words for a pattern would show a regular expression and no way out.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic.fields import FieldInfo

from synthray.api.cel import Rule, quote
from synthray.api.messages import model_in
from synthray.api.v1alpha1.fields import ApiModel, Remedy
from synthray.api.v1alpha1.object_meta import Condition

Schema = dict[str, Any]

RULES: Final = "x-kubernetes-validations"
_INT_OR_STRING: Final = "x-kubernetes-int-or-string"
# Of pydantic's keywords, those that mean the same in Kubernetes.
_KEPT: Final = (
    "type",
    "description",
    "format",
    "enum",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "pattern",
    _INT_OR_STRING,
)
# The range of int64, which the format says already and which JSON numbers can't hold exactly.
_INT64_MAX: Final = 2**63 - 1
_MAX_TIMESTAMP_CHARACTERS: Final = 64


def build_schema(model: type[ApiModel], path: str) -> Schema:
    """The structural schema of a model that stands at `path` in its object, such as `spec`."""
    document = model.model_json_schema(by_alias=True)
    return _convert(document, document.get("$defs", {}), model, path)


def node_at(schema: Schema, path: str) -> Schema:
    """The schema of the field at a dotted path below `schema`; the empty path is `schema` itself."""
    node = schema
    for name in filter(None, path.split(".")):
        node = node["properties"][name]
    return node


def add_rule(node: Schema, rule: Rule) -> None:
    """Put a rule on a place in the schema."""
    node.setdefault(RULES, []).append(rule.as_schema())


def _convert(node: Schema, definitions: Mapping[str, Schema], model: type[ApiModel], path: str) -> Schema:
    properties = {
        field.alias or name: _convert_field(
            _resolve(node["properties"][field.alias or name], definitions), definitions, field, path
        )
        for name, field in model.model_fields.items()
    }
    converted: Schema = {key: node[key] for key in ("type", "description") if key in node}
    converted["properties"] = properties
    if node.get("required"):
        converted["required"] = node["required"]
    return converted


def _convert_field(node: Schema, definitions: Mapping[str, Schema], field: FieldInfo, parent: str) -> Schema:
    path = f"{parent}.{field.alias}"
    inner = model_in(field.annotation)
    if node.get("type") == "array":
        return _convert_list(node, definitions, inner, path)
    if inner is not None:
        converted = _convert(node, definitions, inner, path)
        if node.get("default") is not None:
            # Whole: the rules on an object are evaluated on its default before the defaults of its fields.
            converted["default"] = _without_nulls(node["default"])
        return converted
    converted = _convert_value(node)
    for rule in _remedied_rules(field, converted, path):
        add_rule(converted, rule)
    return converted


def _convert_list(
    node: Schema, definitions: Mapping[str, Schema], inner: type[ApiModel] | None, path: str
) -> Schema:
    items = _resolve(node["items"], definitions)
    converted = {
        **_convert_value(node),
        "items": _convert_value(items) if inner is None else _convert(items, definitions, inner, path),
    }
    if inner is Condition:
        # One condition of each type, so that two writers can each apply their own.
        converted |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    return converted


def _resolve(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """The node with what it refers to in place, and without null among what it may be."""
    options = [option for option in node.get("anyOf", []) if option.get("type") != "null"]
    if len(options) == 1:
        node = {**options[0], **{key: value for key, value in node.items() if key != "anyOf"}}
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def _convert_value(node: Schema) -> Schema:
    converted: Schema = {key: node[key] for key in _KEPT if key in node}
    if "const" in node:
        converted["enum"] = [node["const"]]
    if converted.get("default", "") is None:
        del converted["default"]
    if converted.get("type") == "integer":
        converted["format"] = "int64"
        if converted.get("maximum") == _INT64_MAX:
            del converted["maximum"]
    if converted.get("format") == "date-time":
        converted["maxLength"] = _MAX_TIMESTAMP_CHARACTERS
    return converted


def _without_nulls(default: Schema) -> Schema:
    """The default of an object without the fields that are left out in it."""
    return {
        key: _without_nulls(value) if isinstance(value, dict) else value
        for key, value in default.items()
        if value is not None
    }


def _remedied_rules(field: FieldInfo, node: Schema, path: str) -> list[Rule]:
    """Rules in place of the keywords of `node` for which the field names a remedy; takes these out."""
    rules = []
    for remedy in (item for item in field.metadata if isinstance(item, Remedy)):
        if "pattern" in node:
            rules.append(_form_rule(node, path, remedy.text))
        for side, keyword, comparison in (("below", "minimum", ">="), ("above", "maximum", "<=")):
            if remedy.when == side:
                bound = node.pop(keyword)
                rules.append(
                    Rule(
                        f"self {comparison} {_as_number(bound, node['type'])}",
                        f"{path}={{value}} is {side} {bound}; {remedy.text}",
                        {"value": "self"},
                    )
                )
    return rules


def _form_rule(node: Schema, path: str, remedy: str) -> Rule:
    pattern = quote(node.pop("pattern"))
    # A number is allowed where the text of it would be.
    text = "string(self)" if _INT_OR_STRING in node else "self"
    message = f"{path}={{value}} has not the form that it needs; {remedy}"
    return Rule(f"{text}.matches({pattern})", message, {"value": "self"})


def _as_number(bound: float, kind: str) -> str:
    return str(int(bound)) if kind == "integer" else repr(float(bound))
