"""`synthray logs`: what driver and workers of a run said, from the run's prefix."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from synthray.cli.checkpoints import RunPlace, open_checkpoints
from synthray.cli.output import people
from synthray.errors import NotFound

if TYPE_CHECKING:
    from synthray.training.run_log.lines import StoredLine
    from synthray.training.run_log.reading import LogReader

_FOLLOW_SECONDS = 2.0


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("logs")(logs)


def logs(
    run: RunPlace,
    attempt: Annotated[int | None, typer.Option(min=1, help="Of this attempt instead of the newest.")] = None,
    process: Annotated[
        str, typer.Option(metavar="PROCESS", help="Of one process alone: driver, worker-0, worker-1, …")
    ] = "",
    tail: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the last N lines.")] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Go on with what comes, also in later attempts, until the run ends."),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the lines as they are stored: a JSON document each.")
    ] = False,
) -> None:
    """Tell what a run's driver and workers said, in the order of time. Also when its cluster is gone.

    Lines appear within some ten seconds. Times are UTC.
    """
    from synthray.training.run_log.reading import LogReader, choose_attempt

    store = open_checkpoints(run).store
    reader = LogReader(store, choose_attempt(store, attempt))
    lines = reader.read_new()
    if not follow:
        _check_process(reader, process)
    wanted = _of_process(lines, process)
    _print(wanted[-tail:] if tail else wanted, as_json=json)
    while follow and not reader.is_over:
        time.sleep(_FOLLOW_SECONDS)
        _print(_of_process(reader.read_new(), process), as_json=json)
        newest = choose_attempt(store, None)
        if newest > reader.attempt:
            if attempt is not None:
                return
            # What the last one still said before the next began.
            _print(_of_process(reader.read_new(), process), as_json=json)
            reader = LogReader(store, newest)
            people.print(f"attempt {newest}")


def _check_process(reader: "LogReader", process: str) -> None:
    if process and process not in reader.processes:
        raise NotFound(
            f"--process {process}: the log of attempt {reader.attempt} has lines of "
            f"{', '.join(reader.processes)}; choose one of these, or another --attempt"
        )


def _of_process(lines: "Iterable[StoredLine]", process: str) -> "list[StoredLine]":
    return [line for line in lines if not process or line.place.process == process]


def _print(lines: "Iterable[StoredLine]", *, as_json: bool) -> None:
    """Without rich: a log's brackets are no markup, and nothing is wrapped."""
    from synthray.training.run_log.lines import format_line

    for line in lines:
        print(line.raw if as_json else format_line(line))
    print(end="", flush=True)
