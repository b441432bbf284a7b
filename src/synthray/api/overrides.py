"""`--set PATH=VALUE`: one field of a file changed from the command line."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from synthray.api.yaml_documents import parse_yaml
from synthray.errors import InvalidInput

_TOP_FIELDS: Final = ("apiVersion", "kind", "metadata", "spec")


def apply_overrides(document: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The document with each `PATH=VALUE` applied in turn; the given one is left as it was.

    PATH is the field's path in the file (`spec.optimization.epochs`), VALUE is YAML (`3`, `[1, 2]`, `null`);
    nothing after `=` is the empty text. Raises InvalidInput for another form.
    """
    changed = dict(document)
    for override in overrides:
        path, value = _parse(override)
        changed = _replace(changed, path, value, override)
    return changed


def _parse(override: str) -> tuple[list[str], Any]:
    path, equals, text = override.partition("=")
    parts = path.strip().split(".")
    if not equals or not all(parts):
        raise InvalidInput(
            f"--set {override} is not of the form PATH=VALUE; write for example "
            "--set spec.optimization.epochs=3"
        )
    if parts[0] not in _TOP_FIELDS:
        near = difflib.get_close_matches(parts[0], _TOP_FIELDS, n=1)
        better = [near[0], *parts[1:]] if near else ["spec", *parts]
        raise InvalidInput(
            f"--set {override} begins with no field of the file; write --set {'.'.join(better)}={text}"
        )
    if not text:
        return parts, ""
    values = parse_yaml(text, f"--set {override}")
    return parts, values[0] if values else None


def _replace(document: Mapping[str, Any], path: Sequence[str], value: Any, override: str) -> dict[str, Any]:
    head, *rest = path
    if not rest:
        return {**document, head: value}
    inner = document.get(head)
    if inner is None:
        inner = {}
    if not isinstance(inner, Mapping):
        raise InvalidInput(f"--set {override}: {head} has no fields of its own; give its whole value")
    return {**document, head: _replace(inner, rest, value, override)}
