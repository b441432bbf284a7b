"""The page of commands, read from typer's annotations."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer
from tools.reference.markdown import write_table
from typer.models import ArgumentInfo

from synthray.cli.entry import app
from synthray.errors import SynthrayError


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
        error.exit_code: (error.__doc__ or "").splitlines()[0]
        for error in SynthrayError.__subclasses__()
        # Rooms have finer ones, with the codes of these.
        if error.__module__ == SynthrayError.__module__
    }
    rows |= {0: "Done.", 1: "A defect of synthray; the only one with a traceback.", 130: "Ctrl-C."}
    return write_table(("exit code", "meaning"), [(str(code), rows[code]) for code in sorted(rows)])


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
            yield write_table(("argument", "default", "meaning"), rows)
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
