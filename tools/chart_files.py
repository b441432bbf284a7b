"""What of the Helm chart follows from the code: values, their schema and the README, as texts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from tools.chart_values import ChartValues

from synthray.api.messages import model_in

# What a person writes of the README; the table of values follows.
_README = Path(__file__).with_name("chart_readme.md")
_HEAD = """# The chart's values with their defaults. Written by `make docs` from tools/chart_values.py and
# src/synthray/operator/configuration.py; changes made here are lost: give your own with --values or --set.
"""


def build_values() -> str:
    """values.yaml: every value with its default, described."""
    return _HEAD + "\n".join(_value_lines(ChartValues, _defaults(), 0)) + "\n"


def build_values_schema() -> str:
    """values.schema.json: what Helm checks before it renders anything."""
    schema = ChartValues.model_json_schema(by_alias=True)
    document = {"$schema": "http://json-schema.org/draft-07/schema#", **_without_foreign_words(schema)}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def build_readme() -> str:
    """README.md of the chart."""
    rows = "\n".join(_value_rows(ChartValues, _defaults(), ""))
    return f"{_README.read_text()}\n| value | default | meaning |\n| --- | --- | --- |\n{rows}\n"


def _defaults() -> dict[str, Any]:
    return ChartValues().model_dump(mode="json", by_alias=True)


def _entries(model: type[BaseModel], values: dict[str, Any]) -> Iterator[tuple[str, Any, str, type | None]]:
    """Name, default, description and inner model of each value."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        value = values[key]
        inner = model_in(field.annotation) if isinstance(value, dict) else None
        yield key, value, field.description or "", inner


def _value_lines(model: type[BaseModel], values: dict[str, Any], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for key, value, description, inner in _entries(model, values):
        if depth == 0:
            yield ""
        yield f"{indent}# {description}"
        if inner is not None:
            yield f"{indent}{_flow(key)}:"
            yield from _value_lines(inner, value, depth + 1)
        else:
            yield f"{indent}{_flow(key)}: {_flow(value)}"


def _value_rows(model: type[BaseModel], values: dict[str, Any], prefix: str) -> Iterator[str]:
    for key, value, description, inner in _entries(model, values):
        if inner is not None:
            yield from _value_rows(inner, value, f"{prefix}{key}.")
        else:
            meaning = description.replace("|", "\\|")
            yield f"| `{prefix}{key}` | `{_flow(value)}` | {meaning} |"


def _flow(value: Any) -> str:
    """A value on one line, as YAML reads it."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
    return '""' if value == "" else text


def _without_foreign_words(node: Any) -> Any:
    """The schema without the words that are Kubernetes' and not JSON schema's."""
    if isinstance(node, dict):
        return {
            key: _without_foreign_words(value)
            for key, value in node.items()
            if not key.startswith("x-kubernetes-")
        }
    return [_without_foreign_words(value) for value in node] if isinstance(node, list) else node
