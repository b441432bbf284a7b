"""A thread that brings what a process says into the bucket, about every ten seconds and at its end.

Whoever logs never waits for it: lines go into a box of bounded size, out of which the oldest fall. While
storage is away the newest lines are kept, and the log itself says how many were not. Whatever goes wrong here
changes nothing elsewhere. It must not import torch.
"""

import itertools
import threading
from collections import deque
from collections.abc import Callable

from synthray.errors import SynthrayError
from synthray.storage import ObjectStore
from synthray.training.run_log.chunks import LogBounds
from synthray.training.run_log.lines import (
    MAX_MESSAGE_CHARACTERS,
    LogLine,
    LogPlace,
    encode_lines,
    keep_newest,
    tell_gaps,
)
from synthray.training.run_log.shelf import LogShelf

EVERY_SECONDS = 10.0
_MAX_PAUSE_SECONDS = 30.0
_MAX_LINES = 4096


class LineBox:
    """Lines on their way to the shipper's thread; the oldest fall out of a full one.

    Without a lock: a signal's handler may log in the middle of another line.
    """

    def __init__(self, max_lines: int = _MAX_LINES) -> None:
        self._max_lines = max_lines
        self._lines: deque[LogLine] = deque(maxlen=max_lines)
        self._numbers = itertools.count(1)

    def put(self, seconds: float, level: str, message: str, *, is_last: bool = False) -> None:
        """Add a line; one that is very long is cut."""
        if len(message) > MAX_MESSAGE_CHARACTERS:
            message = f"{message[:MAX_MESSAGE_CHARACTERS]} … ({len(message)} characters)"
        self._lines.append(LogLine(next(self._numbers), seconds, level, message, is_last))

    def take(self) -> list[LogLine]:
        """What is in it, in order."""
        taken: list[LogLine] = []
        while self._lines and len(taken) < self._max_lines:
            taken.append(self._lines.popleft())
        return sorted(taken, key=lambda line: line.number)


class LogShipper:
    """Ships the lines of `box`; `look` may fill it, and is told whether it is asked for the last time.

    `open_store` is called in the thread, since opening one may take its time; so is `make_room`, once, after
    the first lines are safe. `say` hears of trouble, once until it has passed.
    """

    def __init__(
        self,
        place: LogPlace,
        bounds: LogBounds,
        open_store: Callable[[], ObjectStore],
        *,
        box: LineBox | None = None,
        look: Callable[[LineBox, bool], None] | None = None,
        make_room: Callable[[ObjectStore], None] | None = None,
        say: Callable[[str], None] | None = None,
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        self.box = box or LineBox()
        self._place = place
        self._bounds = bounds
        self._open_store = open_store
        self._look = look
        self._make_room = make_room
        self._say = say
        self._every_seconds = every_seconds
        self._shelf: LogShelf | None = None
        self._pending: list[LogLine] = []
        self._shipped = 0
        self._failures = 0
        self._hurrying, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"log-{place.attempt}-{place.process}", daemon=True
        )
        self._thread.start()

    def hurry(self) -> None:
        """Ship now what is there."""
        self._hurrying.set()

    def close(self, wait_seconds: float = 0.0) -> None:
        """Ship the rest and end; waits for that so long at most."""
        self._closing.set()
        self._hurrying.set()
        self._thread.join(wait_seconds)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._hurrying.wait(self._pause_seconds())
            self._hurrying.clear()
            is_last = self._closing.is_set()
            try:
                self._ship(is_last)
            except SynthrayError as error:
                self._note_failure(error.message)
            except Exception as error:  # noqa: BLE001 a log that stops is bad, a run that stops for it is worse
                self._note_failure(f"{type(error).__name__}: {error}")
            else:
                self._failures = 0

    def _pause_seconds(self) -> float:
        return min(
            max(_MAX_PAUSE_SECONDS, self._every_seconds), self._every_seconds * 2.0 ** min(self._failures, 8)
        )

    def _ship(self, is_last: bool) -> None:
        if self._look is not None:
            self._look(self.box, is_last)
        self._pending = keep_newest([*self._pending, *self.box.take()], self._bounds.pending_bytes)
        if not self._pending:
            return
        if self._shelf is None:
            self._shelf = LogShelf(self._open_store(), self._place, self._bounds)
        self._shelf.add(encode_lines(self._place, tell_gaps(self._pending, after=self._shipped)))
        self._shipped, self._pending = self._pending[-1].number, []
        self._shelf.tidy()
        if self._make_room is not None:
            self._make_room(self._shelf.store)
            self._make_room = None

    def _note_failure(self, message: str) -> None:
        self._failures += 1
        if self._failures == 1 and self._say is not None:
            self._say(message)
