"""The page of the generation service's routes, read from the OpenAPI document that it serves."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

from tools.reference.markdown import write_table

from synthray.serving.http import build_http
from synthray.serving.metrics import RequestCounts
from synthray.serving.settings import ServingSettings
from synthray.storage import S3Settings

_ABOUT = """\
The same on a laptop (`synthray serve`) and on a cluster. `/openapi.json` says them to programs, and
[Seeded images over HTTP](../serving.md) shows how to use them.

Failures have OpenAI's form, `{"error": {"message", "type", "param", "code"}}`. Any route below may give them:
"""
_FAILURES = {
    401: "the bearer token is missing or wrong, where the service wants one",
    404: "there is no such model, image or job",
    408: "the body did not come in time",
    413: "the body is too large",
    422: "a field or a parameter is refused; `param` names it",
    429: "the queue is full; `Retry-After` says when to come again",
    500: "a defect of synthray",
    503: "the replica can't draw, or an image waited too long",
}


def build_routes() -> str:
    """Every route that draws, verifies or tells."""
    service: Any = SimpleNamespace(settings=ServingSettings(model_uri="s3://bucket/run"))
    document = build_http(service, S3Settings(), RequestCounts()).openapi()
    schemas = document["components"]["schemas"]
    failures = write_table(
        ("status", "when"),
        [(f"{code} {HTTPStatus(code).phrase}", when) for code, when in _FAILURES.items()],
    )
    sections = [
        part
        for path, methods in document["paths"].items()
        for method, route in methods.items()
        for part in _section(f"{method.upper()} {path}", route, schemas)
    ]
    return "\n\n".join(["# Routes", _ABOUT.rstrip(), failures, *sections])


def _section(title: str, route: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    yield f"## `{title}`"
    yield " ".join(route["description"].split())
    rows = [
        (f"`{one['name']}`", "path", _form(one["schema"], schemas), "") for one in route.get("parameters", [])
    ]
    for media, content in route.get("requestBody", {}).get("content", {}).items():
        fields = _fields(content, schemas, media)
        rows += fields or [("the body", media, "", "")]
    if rows:
        yield write_table(("field", "in", "form", "meaning"), rows)
    for code, answer in route["responses"].items():
        if int(code) not in _FAILURES:
            yield from _answer(int(code), answer, schemas)


def _answer(code: int, answer: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    media = ", ".join(f"`{media}`" for media in answer.get("content", {}))
    yield f"Answers {code} {HTTPStatus(code).phrase}" + (f", {media}:" if media else ".")
    for content in answer.get("content", {}).values():
        rows = [(name, form, meaning) for name, _, form, meaning in _fields(content, schemas, "")]
        if rows:
            yield write_table(("field", "form", "meaning"), rows)


def _fields(
    content: Mapping[str, Any], schemas: Mapping[str, Any], place: str
) -> list[tuple[str, str, str, str]]:
    """Each field of a content's model; of none if it has no model."""
    schema = _resolve(content.get("schema", {}), schemas)
    required = schema.get("required", [])
    return [
        (
            f"`{name}`",
            place,
            _form(one, schemas),
            " ".join(filter(None, [one.get("description", ""), _default(one, is_required=name in required)])),
        )
        for name, one in schema.get("properties", {}).items()
    ]


def _resolve(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return schemas[reference.rpartition("/")[2]] if reference else schema


def _default(schema: Mapping[str, Any], *, is_required: bool) -> str:
    if is_required or schema.get("default") in (None, ""):
        return ""
    return f"Default `{schema['default']}`."


def _form(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    schema = _resolve(schema, schemas)
    if "anyOf" in schema:
        parts = [_form(part, schemas) for part in schema["anyOf"] if part.get("type") != "null"]
        return " or ".join(parts)
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_form(schema['items'], schemas)}"
    if schema.get("type") == "object" and "properties" in schema:
        inner = ", ".join(f"`{name}`" for name in schema["properties"])
        return f"object of {inner}"
    words = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false"}
    kind = words.get(schema.get("type", ""), schema.get("type", ""))
    low, high, longest = (schema.get(bound) for bound in ("minimum", "maximum", "maxLength"))
    bounds = [f"≥ {low:,.0f}" if low is not None else "", f"≤ {high:,.0f}" if high is not None else ""]
    bounds += [f"length ≤ {longest:,}" if longest is not None else ""]
    return ", ".join([kind, *filter(None, bounds)])
