"""`synthray top`'s table: where runs stand, from what a driver or the API server says of them. Pure."""

import math
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from synthray.cli.terminal import describe_seconds

_BARS: Final = "▁▂▃▄▅▆▇█"
_NUM_LOSSES: Final = 24
_TROUBLED: Final = frozenset({"Blocked", "Failed", "Fenced"})
_COLUMNS: Final = ("RUN", "STATE", "EPOCH", "PROGRESS", "LOSS", "", "IMG/S", "WORKERS", "ETA", "SAVED")


@dataclass(frozen=True)
class Standing:
    """Where a run stands; None is what is not known. `saved` is in seconds since 1970."""

    name: str
    state: str
    epoch: int = 0
    epochs: int = 0
    share: float = 0.0
    loss: float | None = None
    images_per_second: float | None = None
    workers_ready: int = 0
    workers_desired: int = 0
    eta: str = ""
    saved: float | None = None


def read_progress(progress: Mapping[str, Any]) -> Standing:
    """From a driver's `/progress`."""
    workers, checkpoint = progress.get("workers") or {}, progress.get("last_checkpoint")
    eta_seconds = progress.get("eta_seconds")
    return Standing(
        name=progress["run"],
        state=progress["state"],
        epoch=progress.get("epoch") or 0,
        epochs=progress.get("epochs") or 0,
        share=_share(progress.get("images_seen"), progress.get("images_total")),
        loss=progress.get("loss"),
        images_per_second=progress.get("images_per_second"),
        workers_ready=workers.get("ready", 0),
        workers_desired=workers.get("desired", 0),
        eta=describe_seconds(eta_seconds) if eta_seconds else "",
        saved=checkpoint["time"] if checkpoint else None,
    )


def read_training_run(document: Mapping[str, Any]) -> Standing:
    """From a TrainingRun as the API server holds it."""
    status, metadata = document.get("status") or {}, document["metadata"]
    workers, checkpoint = status.get("workers") or {}, status.get("lastCheckpoint")
    return Standing(
        name=f"{metadata['namespace']}/{metadata['name']}",
        state=status.get("state", "Pending"),
        epoch=status.get("epoch", 0),
        epochs=status.get("epochs", 0),
        share=_share(status.get("imagesSeen"), status.get("imagesTotal")),
        loss=status.get("loss"),
        images_per_second=status.get("imagesPerSecond"),
        workers_ready=workers.get("ready", 0),
        workers_desired=workers.get("desired", 0),
        eta=status.get("eta", ""),
        saved=datetime.fromisoformat(checkpoint["time"]).timestamp() if checkpoint else None,
    )


def _share(seen: int | None, total: int | None) -> float:
    return min(1.0, (seen or 0) / total) if total else 0.0


class Losses:
    """The losses that were seen of each run, the newest last."""

    def __init__(self) -> None:
        self._by_run: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_NUM_LOSSES))

    def note(self, standings: Sequence[Standing]) -> None:
        """Take notice of where runs stand now."""
        for one in standings:
            if one.loss is not None and math.isfinite(one.loss):
                self._by_run[one.name].append(one.loss)

    def of(self, name: str) -> tuple[float, ...]:
        """Those of one run."""
        return tuple(self._by_run.get(name, ()))


def draw_sparkline(values: Sequence[float]) -> str:
    """Values as bars, from the least to the greatest of them; equal ones as the lowest bar."""
    if not values:
        return ""
    least, span = min(values), max(values) - min(values)
    return "".join(_BARS[int((value - least) / span * (len(_BARS) - 1)) if span else 0] for value in values)


def build_table(standings: Sequence[Standing], losses: Losses, now: float) -> Table:
    """The table; `now` in seconds since 1970."""
    table = Table(*_COLUMNS, box=None)
    for one in sorted(standings, key=lambda standing: standing.name):
        table.add_row(
            Text(one.name),
            Text(one.state, style="red" if one.state in _TROUBLED else ""),
            f"{one.epoch}/{one.epochs}",
            f"{one.share:.1%}",
            f"{one.loss:.4f}" if one.loss is not None else "",
            draw_sparkline(losses.of(one.name)),
            f"{one.images_per_second:.1f}" if one.images_per_second is not None else "",
            f"{one.workers_ready}/{one.workers_desired}",
            one.eta if one.state != "Complete" else "",
            f"{describe_seconds(max(0.0, now - one.saved))} ago" if one.saved is not None else "",
        )
    return table
