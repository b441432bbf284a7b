"""SIGINT and SIGTERM, heard so that whoever waits for them always wakes up.

A handler runs between two steps of the main thread, which may hold the lock inside the very Event that it
waits for: a handler that calls `Event.set` then waits for itself, for ever. So a handler here only puts the
signal into a SimpleQueue, whose `put` may interrupt another, and a thread does the rest. It must not import
anything of synthray.
"""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

_log = logging.getLogger(__name__)


@contextmanager
def hear_signals(stopping: threading.Event, intention: str) -> Iterator[None]:
    """Set `stopping` at the first signal and log the intention; raise KeyboardInterrupt at the second.

    What was heard inside is set when the block is left. For the main thread.
    """
    heard: SimpleQueue[int | None] = SimpleQueue()

    def hear(signal_number: int, _: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        heard.put(signal_number)

    def act() -> None:
        while (signal_number := heard.get()) is not None:
            name = signal.Signals(signal_number).name
            _log.warning("%s: %s; once more stops at once", name, intention)
            stopping.set()

    acting = threading.Thread(target=act, name="signals", daemon=True)
    acting.start()
    previous = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        heard.put(None)
        acting.join()
