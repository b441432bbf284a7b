"""Where a run's log comes from: the driver's own logging, and the files into which workers write.

A worker's file is read by its supervisor, which outlives it: what a worker said before it was killed, and
what a crash left past logging, is shipped all the same, and training has no part in it. No torch here.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from synthray.checkpoints.attempts import newest_attempt
from synthray.storage import ObjectStore, open_store
from synthray.training.run_log.chunks import (
    ATTEMPT_BYTES,
    LOGS_PREFIX,
    RUN_ATTEMPTS,
    RUN_BYTES,
    LogBounds,
    list_chunks,
    plan_farewell,
)
from synthray.training.run_log.lines import LogPlace, WrittenLines, worker_process_name
from synthray.training.run_log.shipper import LineBox, LogShipper
from synthray.training.settings import StorageSettings

DRIVER: Final = "driver"
_TRY_SECONDS = 5.0
_CONNECTIONS = 2
_FAREWELL_SECONDS = 3.0
_LOOK_BYTES = 2**20

_log = logging.getLogger(__name__)


class DriverLog(logging.Handler):
    """Takes what synthray logs in this process into the log of the attempt that runs; it never waits."""

    def __init__(self, storage: StorageSettings) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(message)s"))
        self._storage = storage
        # What is said before there is an attempt belongs to the first.
        self._box = LineBox()
        self._shipper: LogShipper | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            for line in self.format(record).splitlines():
                self._box.put(record.created, record.levelname, line)
        except Exception:  # noqa: BLE001 as every handler does
            self.handleError(record)

    def begin_attempt(self, number: int, num_workers: int) -> None:
        """From here on, what is said belongs to that attempt."""
        self.acquire()
        try:
            box = self._box if self._shipper is None else LineBox()
            former, self._box = self._shipper, box
        finally:
            self.release()
        if former is not None:
            former.close()
        self._shipper = LogShipper(
            LogPlace(number, DRIVER),
            LogBounds.of_one_among(num_workers + 1),
            partial(_open_log_store, self._storage),
            box=box,
            make_room=partial(_make_room, number=number),
            say=_say_trouble,
        )

    def end(self, words: str) -> None:
        """The last words; waits a little until they are shipped."""
        if self._shipper is not None:
            self._box.put(time.time(), "INFO", words, is_last=True)
            self._shipper.close(_FAREWELL_SECONDS)


@contextmanager
def keep_driver_log(storage: StorageSettings) -> Iterator[DriverLog]:
    """Keep what synthray logs in this process from entering until leaving.

    Of synthray alone: what libraries say was written for others, and might hold what ours never does.
    """
    handler, ours = DriverLog(storage), logging.getLogger("synthray")
    ours.addHandler(handler)
    try:
        yield handler
    finally:
        ours.removeHandler(handler)


def _say_trouble(message: str) -> None:
    _log.warning("the log is not shipped for now, training goes on: %s", message)


def _open_log_store(storage: StorageSettings) -> ObjectStore:
    settings = replace(storage.s3, deadline_seconds=_TRY_SECONDS, max_connections=_CONNECTIONS)
    return open_store(storage.checkpoints_uri, settings)


def _make_room(store: ObjectStore, *, number: int) -> None:
    """Remove the logs of the oldest attempts; one that was fenced off removes nothing."""
    by_attempt = list_chunks(store.list(LOGS_PREFIX))
    max_bytes = RUN_BYTES - ATTEMPT_BYTES
    doomed = plan_farewell(by_attempt, number, max_bytes=max_bytes, max_attempts=RUN_ATTEMPTS - 1)
    if doomed and newest_attempt(store) == number:
        store.delete([chunk.key for chunk in doomed])


class FileTail:
    """Puts what is written into a file from now on into a box; of a flood, the newest part."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = WrittenLines()
        # An earlier run of this name may have left one.
        self._at = path.stat().st_size if path.exists() else 0

    def look(self, box: LineBox, is_last: bool) -> None:
        """What is new; at the last look also a line without an end."""
        for seconds, level, message in self._lines.feed(self._read(box)):
            box.put(seconds, level, message)
        if is_last:
            for seconds, level, message in self._lines.finish():
                box.put(seconds, level, message)

    def _read(self, box: LineBox) -> bytes:
        try:
            with self._path.open("rb") as file:
                skipped = file.seek(0, 2) - self._at - _LOOK_BYTES
                if skipped > 0:
                    self._at += skipped
                    words = f"{skipped} bytes of this log were left out: they came faster than they are read"
                    box.put(time.time(), "WARNING", words)
                file.seek(self._at)
                data = file.read(_LOOK_BYTES)
        except FileNotFoundError:
            return b""  # it has not begun to write
        self._at += len(data)
        return data


def ship_worker_log(storage: StorageSettings, attempt: int, rank: int, size: int, file: Path) -> LogShipper:
    """Ship what a worker that is about to start writes into `file`, until the shipper is closed."""
    return LogShipper(
        LogPlace(attempt, worker_process_name(rank)),
        LogBounds.of_one_among(size + 1),
        partial(_open_log_store, storage),
        look=FileTail(file).look,
    )
