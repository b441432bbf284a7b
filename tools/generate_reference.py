"""Writes docs/reference from the code: commands, objects, metrics.

A reference that people keep by hand drifts; this one can't, because `make check` compares it with the code.
Each page is a pure function of what it describes. Nothing of a run is imported: neither torch nor Ray.
"""

import argparse
import difflib
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from prometheus_client.metrics_core import Metric
from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo
from typer.models import ArgumentInfo

from synthray.api.architecture import PRESETS
from synthray.api.v1alpha1 import GenerationService, TrainingRun
from synthray.api.v1alpha1.fields import SEED_MAX
from synthray.cli.entry import app
from synthray.errors import SynthrayError
from synthray.telemetry.metrics import build_metric_families
from synthray.telemetry.report import LastCheckpoint, RunLifetime, RunSnapshot, StepFigures

DESTINATION = Path(__file__).parents[1] / "docs" / "reference"
NOTICE = "<!-- Written by `make docs` from the code; changes made here are lost. -->\n\n"


def main() -> int:
    """Write the pages, or with --check say which ones are stale."""
    parser = argparse.ArgumentParser(description="Writes docs/reference from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is stale")
    check = parser.parse_args().check
    stale = False
    for name, build in PAGES.items():
        path, page = DESTINATION / name, NOTICE + build().rstrip() + "\n"
        there = path.read_text() if path.exists() else ""
        if there == page:
            continue
        stale = True
        if check:
            lines = difflib.unified_diff(
                there.splitlines(), page.splitlines(), f"{name} here", "made anew", ""
            )
            print("\n".join(lines))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page)
            print(f"wrote {path}")
    if check and stale:
        print("docs/reference is not what the code says: run make docs", file=sys.stderr)
    return int(check and stale)


def build_index() -> str:
    """The list of pages."""
    return """# Reference

- [Commands](commands.md): every argument and option, exit codes
- [TrainingRun](training-run.md): every field, its bounds and its default
- [GenerationService](generation-service.md)
- [Metrics](metrics.md): what `/metrics` of a run shows
"""


def build_commands() -> str:
    """Every command of `synthray`, its arguments and options."""
    about = (
        "Every path is local (`/data/x`) or `s3://bucket/prefix`. S3 settings come from the standard AWS "
        "variables. `--json` prints one JSON document on standard output and nothing else there; logs and "
        "progress go to standard error."
    )
    return "\n\n".join(["# Commands", about, _exit_codes(), *_commands("synthray", app)])


def _exit_codes() -> str:
    rows = {
        error.exit_code: (error.__doc__ or "").splitlines()[0] for error in SynthrayError.__subclasses__()
    }
    rows |= {0: "Done.", 1: "A defect of synthray; the only one with a traceback.", 130: "Ctrl-C."}
    return _table(("exit code", "meaning"), [(str(code), rows[code]) for code in sorted(rows)])


def _commands(prefix: str, typer_app: typer.Typer) -> Iterator[str]:
    for command in typer_app.registered_commands:
        assert command.callback is not None
        parameters = list(_parameters(command.callback))
        usage = [
            prefix,
            command.name or "",
            *(parameter.usage for parameter in parameters if parameter.usage),
        ]
        yield f"## `{' '.join(usage)}`"
        yield inspect.getdoc(command.callback) or ""
        if parameters:
            rows = [(f"`{one.names}`", one.default, one.meaning) for one in parameters]
            yield _table(("argument", "default", "meaning"), rows)
    for group in typer_app.registered_groups:
        assert group.typer_instance is not None
        yield from _commands(f"{prefix} {group.name}", group.typer_instance)


@dataclass(frozen=True)
class _Parameter:
    names: str
    usage: str
    default: str
    meaning: str


def _parameters(callback: Callable[..., Any]) -> Iterator[_Parameter]:
    hints = get_type_hints(callback, include_extras=True)
    for name, parameter in inspect.signature(callback).parameters.items():
        kind, info = get_args(hints[name])[:2]
        required = parameter.default is inspect.Parameter.empty
        meaning = f"{info.help or ''}{_range(info.min, info.max)}".strip()
        default = "required" if required else _default(parameter.default)
        if isinstance(info, ArgumentInfo):
            metavar = info.metavar or name.upper()
            usage = metavar if required else f"[{metavar}]"
            yield _Parameter(metavar, usage, default, meaning)
        else:
            # Within Annotated, typer keeps the first name that is given where a default would stand.
            given = [info.default] if isinstance(info.default, str) else []
            names = ", ".join([*given, *(info.param_decls or ())] or [f"--{name.replace('_', '-')}"])
            value = "" if kind is bool else f" {info.metavar or _word(kind)}"
            yield _Parameter(names + value, "", default, meaning)


def _word(kind: Any) -> str:
    """What stands for a value of this type: N, TEXT, PATH."""
    kind = next((part for part in get_args(kind) if part is not type(None)), kind)
    return {int: "N", float: "X", Path: "PATH"}.get(kind, "TEXT")


def _default(value: object) -> str:
    if value is None or value is False:
        return ""
    return f"`{str(value).replace(str(Path.home()), '~')}`"


def _range(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    return f" From {low:,}{'' if high is None else f' to {high:,}'}."


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
    return "\n\n".join([*_object(TrainingRun), "## Presets of spec.model", _table(header, presets)])


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
        yield _table(header, list(_fields(_inner_model(model.model_fields[part].annotation), part)))


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


def build_metrics() -> str:
    """Every metric family of a run."""
    rows = [
        _metric(family) for family in sorted(build_metric_families(_full_snapshot()), key=lambda f: f.name)
    ]
    about = (
        "Served by the driver on port 8090 under `/metrics`. Every metric has the labels `namespace` and "
        "`run`; those named below come on top. Counters start at 0 with each driver; the gauges "
        "`synthray_run_*` tell a run's whole life."
    )
    header = ("metric", "type", "labels", "meaning")
    return "\n\n".join(["# Metrics of a run", about, _table(header, rows)])


def _full_snapshot() -> RunSnapshot:
    """A snapshot in which nothing is missing, so that each family is there."""
    figures = StepFigures(1, 1, 1, 0.0, (0.0,), 0.0, 0.0, 1.0, 1.0, 0.0)
    return RunSnapshot(
        "",
        "",
        "",
        "",
        1,
        2,
        1,
        attempt_began=0.0,
        figures=figures,
        lifetime=RunLifetime(attempts=1),
        last_checkpoint=LastCheckpoint("", 1, 1, "", 0.0),
    )


def _metric(family: Metric) -> tuple[str, str, str, str]:
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    labels: tuple[str, ...] = getattr(family, "_labelnames", ())
    if family.type == "info":
        labels = tuple(family.samples[0].labels)
    own = [f"`{label}`" for label in labels if label not in ("namespace", "run")]
    return f"`{family.name}{suffix}`", family.type, ", ".join(own), family.documentation


def _table(header: tuple[str, ...], rows: list[Any]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    cells = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


PAGES: dict[str, Callable[[], str]] = {
    "README.md": build_index,
    "commands.md": build_commands,
    "training-run.md": build_training_run,
    "generation-service.md": build_generation_service,
    "metrics.md": build_metrics,
}

if __name__ == "__main__":
    sys.exit(main())
