"""Fields that a run can't change: those that would change its result, and the place of its memory.

Which ones these are follows from the digest of a configuration (`digests`): a resume with another digest is
refused anyway, so the API server refuses the change at once and says what to do instead.
"""

from collections.abc import Iterator
from typing import Final

from synthray.api.cel import Rule
from synthray.api.crd_rules import WITHOUT_SLASHES
from synthray.api.crd_schema import Schema, node_at
from synthray.api.digests import INTRODUCTION_DEFAULTS

_WOULD_CHANGE: Final = (
    "it is part of the result; make a new run (another metadata.name and spec.checkpoints.uri), which can "
    "start from these weights by spec.model.initFrom"
)
_ELSEWHERE: Final = (
    "all that the run has learned lies there; make a new run (another metadata.name), which can start from "
    "these weights by spec.model.initFrom"
)
# Beside the fields of the digest: the preset is resolved there, the dataset and the card have digests and
# fingerprints of their own, and checkpoints.uri is where the digest is kept.
_BESIDE: Final = ("model.preset", "dataset.uri", "workers.gpu.product", "checkpoints.uri")
# The slashes at the end of a prefix mean nothing.
_PLACES: Final = ("dataset.uri", "checkpoints.uri")

IMMUTABLE_FIELDS: Final = (*INTRODUCTION_DEFAULTS, *_BESIDE)
"""Paths below spec."""


def build_immutability_rules(spec: Schema) -> Iterator[tuple[str, Rule]]:
    """A rule for each field that can't change, with the path below `spec` at which it stands."""
    for path in IMMUTABLE_FIELDS:
        place, _, name = path.rpartition(".")
        while place and not _is_always_there(spec, place):
            # A rule on what may be left out would sleep when it comes and when it goes.
            place, _, outer = place.rpartition(".")
            name = f"{outer}.{name}"
        yield place, _build_rule(path, name, optional=_optional_parts(spec, place, name))


def _is_always_there(spec: Schema, path: str) -> bool:
    parent, _, name = path.rpartition(".")
    return "default" in node_at(spec, path) or name in node_at(spec, parent).get("required", ())


def _optional_parts(spec: Schema, place: str, name: str) -> list[str]:
    """The beginnings of `name`, below `place`, that may be left out."""
    parts = name.split(".")
    beginnings = [".".join(parts[: index + 1]) for index in range(len(parts))]
    return [
        beginning
        for beginning in beginnings
        if not _is_always_there(spec, f"{place}.{beginning}".lstrip("."))
    ]


def _build_rule(path: str, name: str, *, optional: list[str]) -> Rule:
    now, before = f"self.{name}", f"oldSelf.{name}"
    is_now = " && ".join(f"has(self.{part})" for part in optional)
    is_before = is_now.replace("self.", "oldSelf.")
    condition = f"{now} == {before}"
    if path in _PLACES:
        condition = f"{now}.{WITHOUT_SLASHES} == {before}.{WITHOUT_SLASHES}"
    values = {"before": before, "now": now}
    if optional:
        condition = f"({is_now}) == ({is_before}) && (!({is_now}) || {condition})"
        values = {
            "before": f'{is_before} ? dyn({before}) : dyn("none")',
            "now": f'{is_now} ? dyn({now}) : dyn("none")',
        }
    why = _ELSEWHERE if path == "checkpoints.uri" else _WOULD_CHANGE
    return Rule(
        condition,
        f"spec.{path} can't change from {{before}} to {{now}}: {why}",
        values,
        shown_at=f".{name.partition('.')[0]}",
        reason="FieldValueForbidden",
    )
