"""What a driver's log tells of its run: a line when something changes, and one a minute."""

import logging
import time

from synthray.telemetry.report import RunSnapshot

_EVERY_SECONDS = 60.0

_log = logging.getLogger(__name__)


class HeadLog:
    """Takes every snapshot, logs few."""

    def __init__(self) -> None:
        self._last: tuple[object, ...] = ()
        self._logged_at = 0.0

    def show(self, snapshot: RunSnapshot) -> None:
        """Log the snapshot if it says something new."""
        figures = snapshot.figures
        # Each epoch is saved; that is no change.
        state = "Running" if snapshot.state == "Saving" else snapshot.state
        epoch = figures.epoch if figures else 0
        news = (state, snapshot.reason, snapshot.attempt, snapshot.workers_ready, epoch)
        now = time.monotonic()
        if news == self._last and now - self._logged_at < _EVERY_SECONDS:
            return
        self._last, self._logged_at = news, now
        _log.info("%s", describe(snapshot))


def describe(snapshot: RunSnapshot) -> str:
    """Where the run stands, in a line."""
    figures = snapshot.figures
    words = [snapshot.state]
    if snapshot.reason:
        words.append(f"({snapshot.reason})")
    words.append(
        f"attempt {snapshot.attempt}, {snapshot.workers_ready} of {snapshot.workers_desired} workers"
    )
    if figures is not None:
        words.append(
            f"epoch {figures.epoch} of {snapshot.epochs}, {figures.images_seen} of {snapshot.images_total} "
            f"images, loss {figures.loss:.4f}, {figures.images_per_second:.1f} images/s"
        )
    if snapshot.last_checkpoint is not None:
        words.append(f"saved {snapshot.last_checkpoint.name}")
    return ", ".join(words).replace(", (", " (", 1)
