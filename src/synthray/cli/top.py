"""`synthray top`: a live table of runs, those of a cluster or those that train on this machine."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synthray.cli.output import results
from synthray.errors import InvalidInput, NotFound, SynthrayError

if TYPE_CHECKING:
    from synthray.cli.top_table import Standing

Look = Callable[[], "list[Standing]"]


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("top")(top)


def top(
    kubeconfig: Annotated[
        str, typer.Option(envvar="KUBECONFIG", help="Cluster to look at; none: this machine.")
    ] = "",
    namespace: Annotated[str, typer.Option(help="Of this namespace alone.")] = "",
    port: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=65535,
            help="--metrics-port of a run on this machine, instead of a cluster; repeatable.",
        ),
    ] = None,
    every: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print the table once and end.")] = False,
) -> None:
    """Show runs as a live table: progress, loss, speed, workers, time left, newest checkpoint."""
    look = _look_at_cluster(kubeconfig, namespace) if kubeconfig and not port else _look_here(port or [8090])
    if once or not results.is_terminal:
        _show_once(look)
    else:
        _show(look, every)


def _show_once(look: Look) -> None:
    from synthray.cli.top_table import Losses, build_table

    standings, losses = look(), Losses()
    losses.note(standings)
    results.print(build_table(standings, losses, time.time()))


def _show(look: Look, every_seconds: float) -> None:
    """Until Ctrl-C; a look that fails leaves the last table standing, with what was wrong below it."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from synthray.cli.top_table import Losses, build_table

    standings, losses, trouble = look(), Losses(), ""
    with Live(console=results, auto_refresh=False) as live:
        while True:
            losses.note(standings)
            table = build_table(standings, losses, time.time())
            live.update(Group(table, Text(trouble, style="red")), refresh=True)
            time.sleep(every_seconds)
            try:
                standings, trouble = look(), ""
            except SynthrayError as error:
                trouble = error.message


def _look_here(ports: Sequence[int]) -> Look:
    """Those that train on this machine; raises NotFound where none answers."""
    from synthray.cli.scaling import ask_driver
    from synthray.cli.top_table import read_progress

    def look() -> "list[Standing]":
        standings, missing = [], None
        for port in ports:
            try:
                _, answer = ask_driver(port, "GET", "/progress")
                # Whatever else listens there is no run.
                with suppress(ValueError, KeyError, TypeError, AttributeError):
                    standings.append(read_progress(json.loads(answer)))
            except NotFound as error:
                missing = error
        if not standings:
            raise missing or NotFound(
                f"no run answers at port {', '.join(map(str, ports))}; pass a run's own --metrics-port"
            )
        return standings

    return look


def _look_at_cluster(kubeconfig: str, namespace: str) -> Look:
    """The TrainingRuns of a cluster; raises NotFound where it knows no such kind."""
    from synthray.cli.top_table import read_training_run
    from synthray.operator.cluster import Missing, Refused, connect
    from synthray.operator.cluster.watching import RUNS

    server = connect(kubeconfig)

    def look() -> "list[Standing]":
        try:
            found: dict[str, Any] = server.request("GET", RUNS.url(namespace))
        except Missing as error:
            raise NotFound("the cluster knows no TrainingRun; install synthray's chart on it") from error
        except Refused as error:
            raise InvalidInput(f"the cluster does not let you list TrainingRuns: {error}") from error
        return [read_training_run(one) for one in found["items"]]

    return look
