"""A run's progress on a terminal: epoch, loss, images per second and time to go, in one line that moves.

Where standard error is not a terminal, a plain line is printed now and then instead.
"""

import math
import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from synthray.telemetry.report import RunSnapshot

_PLAIN_LINE_SECONDS = 10.0


class ProgressDisplay:
    """Shows snapshots; used as a context manager around a run."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=1.0)
        self._plain_at = 0.0
        self._plain = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        if not self._console.is_terminal and self._plain:
            self._console.print(self._plain, soft_wrap=True)

    def show(self, snapshot: RunSnapshot) -> None:
        """Show the newest snapshot."""
        line = describe(snapshot)
        images_seen = snapshot.figures.images_seen if snapshot.figures else snapshot.lifetime.images_seen
        self._progress.update(
            self._task, description=line, completed=images_seen, total=float(snapshot.images_total)
        )
        if self._console.is_terminal or line == self._plain:
            return
        if time.monotonic() - self._plain_at > _PLAIN_LINE_SECONDS:
            self._console.print(line, soft_wrap=True)
            self._plain_at = time.monotonic()
            self._plain = ""
        else:
            self._plain = line


def describe(snapshot: RunSnapshot) -> str:
    """One line for people."""
    figures = snapshot.figures
    if figures is None:
        return f"{snapshot.run}: {snapshot.state}, attempt {snapshot.attempt}"
    parts = [
        f"{snapshot.run}: {snapshot.state}",
        f"epoch {figures.epoch}/{snapshot.epochs}",
        f"loss {figures.loss:.4f}" if math.isfinite(figures.loss) else "loss -",
        f"{figures.images_per_second:.1f} images/s",
        f"{snapshot.workers_ready}/{snapshot.workers_desired} workers",
    ]
    if snapshot.eta_seconds is not None and snapshot.state != "Complete":
        parts.append(f"ETA {describe_seconds(snapshot.eta_seconds)}")
    return ", ".join(parts)


def describe_seconds(seconds: float) -> str:
    """42 s, 3 min 20 s, 5 h 10 min, 12 d 3 h."""
    whole = round(seconds)
    for unit, name, smaller, smaller_name in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // smaller} {smaller_name}"
    return f"{whole} s"
