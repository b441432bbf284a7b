"""How commands print: results on standard output, everything else on standard error."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EXIT_INTERRUPTED = 130
"""What a command returns after Ctrl-C."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]

people = Console(stderr=True, highlight=False)
"""Notes and progress."""

results = Console(highlight=False)
"""What a command was asked for, in a form for people."""


def print_document(document: Any) -> None:
    """The one JSON document of a `--json` command."""
    print(json.dumps(document, indent=2, default=str))


@contextmanager
def counting(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that moves with (done, in all); silent where standard error is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=people, transient=True, disable=not people.is_terminal) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
