"""A run's log, read from its prefix: while the run trains, and when nothing of it runs any more.

It must not import torch.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence

from synthray.checkpoints.attempts import newest_attempt
from synthray.errors import NotFound, Unavailable, VerificationFailed
from synthray.storage import ByteRange, ObjectStore
from synthray.training.run_log.chunks import (
    LOGS_PREFIX,
    LogChunk,
    attempt_folder,
    list_chunks,
    plan_reading,
)
from synthray.training.run_log.lines import StoredLine, decode_lines

_LOOKS = 3


def choose_attempt(store: ObjectStore, wanted: int | None) -> int:
    """The attempt to tell of: the one that is wanted, else the newest with a log.

    Raises NotFound where there is no run, no log, or none of that attempt.
    """
    attempts = sorted(list_chunks(store.list(LOGS_PREFIX)))
    if attempts and (wanted is None or wanted in attempts):
        return attempts[-1] if wanted is None else wanted
    begun = newest_attempt(store)
    if not begun:
        raise NotFound(f"{store.uri} holds no run; name a TrainingRun's file or its checkpoints.uri")
    if not attempts:
        raise NotFound(
            f"{store.uri}/{LOGS_PREFIX} holds no log yet: one appears within seconds of an attempt's begin, "
            "if the run may write there. Try again, or look at the pods' own logs"
        )
    raise NotFound(
        f"--attempt {wanted}: {store.uri} has logs of these attempts: {_describe_numbers(attempts)}; choose "
        "one of them. Old ones are removed when space is needed"
    )


def _describe_numbers(numbers: Sequence[int]) -> str:
    if len(numbers) > 10:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


class LogReader:
    """The lines of one attempt; each is told once, although it may be stored twice."""

    def __init__(self, store: ObjectStore, attempt: int) -> None:
        self.attempt = attempt
        self._store = store
        self._chunks_known: dict[str, int] = {}
        self._lines_known: dict[str, int] = {}
        self.is_over = False
        """Whether the driver has said its last word."""

    @property
    def processes(self) -> list[str]:
        """Whose lines have been read so far."""
        return sorted(self._lines_known)

    def read_new(self) -> list[StoredLine]:
        """All lines since the last call, of all processes, in the order of time; raises Unavailable."""
        streams = self._take_new(self._read_chunks())
        lines = list(heapq.merge(*streams.values(), key=lambda stored: stored.line.time))
        self.is_over = self.is_over or any(stored.line.is_last for stored in lines)
        return lines

    def _read_chunks(self) -> list[tuple[LogChunk, list[StoredLine]]]:
        for _ in range(_LOOKS):
            wanted = self._list_new()
            ranges = [ByteRange(chunk.key, 0, chunk.size_bytes) for chunk in wanted]
            try:
                found = self._store.read_ranges(ranges) if ranges else []
            except (NotFound, VerificationFailed):
                continue  # one was merged into another since it was listed
            return [
                (chunk, decode_lines(chunk.place, data)) for chunk, data in zip(wanted, found, strict=True)
            ]
        raise Unavailable(f"{self._store.uri}/{LOGS_PREFIX} changes faster than it is read; try again")

    def _list_new(self) -> list[LogChunk]:
        listed = list_chunks(self._store.list(attempt_folder(self.attempt)))
        return plan_reading(listed.get(self.attempt, []), self._chunks_known)

    def _take_new(self, read: Iterable[tuple[LogChunk, list[StoredLine]]]) -> Mapping[str, list[StoredLine]]:
        streams: dict[str, list[StoredLine]] = {}
        for chunk, lines in read:
            process = chunk.place.process
            self._chunks_known[process] = max(self._chunks_known.get(process, 0), chunk.last)
            for stored in lines:
                if stored.line.number > self._lines_known.get(process, 0):
                    self._lines_known[process] = stored.line.number
                    streams.setdefault(process, []).append(stored)
        return streams
