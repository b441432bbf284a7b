"""A line of a run's log: as a process writes it, as it lies in the bucket, and as people read it.

Pure. In the bucket a line is a JSON document of its own, with its place among the lines of its process, so
that a line that is stored twice is told once and one that is missing is noticed. It must not import torch.
"""

import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from synthray.telemetry.redaction import redact_text

MAX_MESSAGE_CHARACTERS: Final = 4096
# What JSON puts around a message.
_AROUND_BYTES = 150
_STAMPED = re.compile(r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (?P<level>[A-Z]+) (?P<message>.*)")
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}") | {9: "\t"}


@dataclass(frozen=True)
class LogPlace:
    """Whose log it is: a process (`driver`, `worker-0`) of an attempt."""

    attempt: int
    process: str


@dataclass(frozen=True)
class LogLine:
    """One line; `number` counts those of its process in its attempt, from 1; `time` in seconds since 1970.

    `level` is empty for what went past logging, as a crash's stack does. `is_last`: nothing comes after it.
    """

    number: int
    time: float
    level: str
    message: str
    is_last: bool = False


@dataclass(frozen=True)
class StoredLine:
    """A line as it was read back; `raw` is the JSON document."""

    place: LogPlace
    line: LogLine
    raw: str


def worker_process_name(rank: int) -> str:
    """What the log calls the worker of a rank."""
    return f"worker-{rank}"


def build_formatter() -> logging.Formatter:
    """How a worker writes its lines, so that `WrittenLines` can read them: with UTC and the level."""
    formatter = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    return formatter


class WrittenLines:
    """Reads what a worker has written, piece by piece; a line counts once its end is there."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._time: float | None = None
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[float, str, str]]:
        """The time, level and message of each line that is complete now."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        yield from (self._read(line) for line in whole if line.strip())

    def finish(self) -> Iterator[tuple[float, str, str]]:
        """What is left, if the last line never ended."""
        yield from self.feed(b"\n")

    def _read(self, data: bytes) -> tuple[float, str, str]:
        text = data.decode(errors="replace").rstrip()
        if (match := _STAMPED.fullmatch(text)) is not None:
            self._time = _parse_time(match["time"])
            return self._time, match["level"], match["message"]
        # A traceback belongs to the line before it.
        return (self._clock() if self._time is None else self._time), "", text


def keep_newest(lines: Sequence[LogLine], max_bytes: int) -> list[LogLine]:
    """The newest lines that fit into so many bytes, about; always the newest one."""
    kept: list[LogLine] = []
    size_bytes = 0
    for line in reversed(lines):
        size_bytes += len(line.message) + _AROUND_BYTES
        if kept and size_bytes > max_bytes:
            break
        kept.append(line)
    return kept[::-1]


def tell_gaps(lines: Iterable[LogLine], *, after: int) -> Iterator[LogLine]:
    """The lines, with a word wherever some between them, or between number `after` and them, were dropped."""
    for line in lines:
        missing = line.number - after - 1
        if missing > 0:
            words = f"{missing} lines were dropped here: they came faster than storage took them"
            yield LogLine(line.number - 1, line.time, "WARNING", words)
        yield line
        after = line.number


def encode_lines(place: LogPlace, lines: Iterable[LogLine]) -> bytes:
    """JSON documents, a line each, without what looks like a secret."""
    return b"".join(_encode(place, line) for line in lines)


def _encode(place: LogPlace, line: LogLine) -> bytes:
    document = {
        "time": format_time(line.time),
        "level": line.level,
        "attempt": place.attempt,
        "process": place.process,
        "line": line.number,
        "message": redact_text(line.message),
        **({"last": True} if line.is_last else {}),
    }
    return json.dumps(document).encode() + b"\n"


def decode_lines(place: LogPlace, data: bytes) -> list[StoredLine]:
    """The lines of an object; what is no line of ours is left out."""
    found = (_decode(place, raw) for raw in data.decode(errors="replace").split("\n"))
    return [line for line in found if line is not None]


def _decode(place: LogPlace, raw: str) -> StoredLine | None:
    try:
        document = json.loads(raw)
        line = LogLine(
            number=int(document["line"]),
            time=_parse_time(str(document["time"])),
            level=str(document["level"]),
            message=str(document["message"]),
            is_last=bool(document.get("last", False)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return StoredLine(place, line, raw)


def format_line(stored: StoredLine) -> str:
    """For people; what would move a terminal's cursor or change its colours is replaced."""
    line = stored.line
    text = f"{format_time(line.time)}  {stored.place.process:<9}  {line.level:<7}  {line.message}"
    return text.translate(_CONTROLS).rstrip()


def format_time(seconds: float) -> str:
    """UTC in ISO 8601, to the millisecond."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


def _parse_time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
