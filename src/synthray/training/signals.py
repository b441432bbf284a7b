"""SIGINT and SIGTERM as the driver hears them: the first asks to save and end, the second ends at once."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_log = logging.getLogger(__name__)


@contextmanager
def hear_signals(stopping: threading.Event) -> Iterator[None]:
    """Set `stopping` at the first signal, raise KeyboardInterrupt at the second."""

    def stop(signal_number: int, _: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        _log.warning("%s: saving, then stopping; once more stops at once", signal.Signals(signal_number).name)
        stopping.set()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
