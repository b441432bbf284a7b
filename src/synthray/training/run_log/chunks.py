"""How a run's log lies in its prefix: names of objects, what is merged and what has to go. Pure.

`logs/attempt-000002/worker-0-00000007.jsonl` is what worker 0 of attempt 2 said between two looks, and never
changes. Small ones are merged into one, `...-00000001-00000032.jsonl`, so that a run of weeks does not leave
ten thousands of objects. It must not import torch.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from synthray.storage import ObjectInfo
from synthray.training.run_log.lines import LogPlace

LOGS_PREFIX: Final = "logs/"

RUN_BYTES: Final = 256 * 2**20
"""What the logs of all attempts may take together; the oldest attempts go."""
RUN_ATTEMPTS: Final = 200
ATTEMPT_BYTES: Final = 32 * 2**20
"""What an attempt's processes share in equal parts; the oldest lines of each go."""
_PENDING_BYTES = 2**20
_MERGED_BYTES = 256 * 2**10
_MERGED_CHUNKS = 32

_KEY = re.compile(
    r"logs/attempt-(?P<attempt>[0-9]{6,})/"
    r"(?P<process>driver|worker-[0-9]+)-(?P<first>[0-9]{8})(-(?P<last>[0-9]{8}))?\.jsonl"
)


@dataclass(frozen=True)
class LogBounds:
    """What one process's log may take: in the bucket, in memory while storage is away, and in one object."""

    stored_bytes: int
    pending_bytes: int
    merged_bytes: int
    merged_chunks: int = _MERGED_CHUNKS

    @classmethod
    def of_one_among(cls, num_processes: int) -> Self:
        """The part of one process of an attempt."""
        share = ATTEMPT_BYTES // num_processes
        return cls(share, min(_PENDING_BYTES, share // 4), min(_MERGED_BYTES, share // 4))


@dataclass(frozen=True)
class LogChunk:
    """One object: the numbers `first` to `last` of a process's pieces."""

    place: LogPlace
    first: int
    last: int
    size_bytes: int

    @property
    def key(self) -> str:
        """Where it lies; keys of a process sort by time."""
        upto = "" if self.last == self.first else f"-{self.last:08d}"
        return f"{attempt_folder(self.place.attempt)}{self.place.process}-{self.first:08d}{upto}.jsonl"

    @classmethod
    def parse(cls, info: ObjectInfo) -> Self | None:
        """Read what was listed; None if it is no chunk."""
        match = _KEY.fullmatch(info.key)
        if match is None:
            return None
        first = int(match["first"])
        place = LogPlace(int(match["attempt"]), match["process"])
        return cls(place, first, int(match["last"] or first), info.size_bytes)


def attempt_folder(number: int) -> str:
    """The prefix of an attempt's log."""
    return f"{LOGS_PREFIX}attempt-{number:06d}/"


def list_chunks(infos: Iterable[ObjectInfo]) -> dict[int, list[LogChunk]]:
    """What is listed, by attempt."""
    found: dict[int, list[LogChunk]] = {}
    for info in infos:
        if (chunk := LogChunk.parse(info)) is not None:
            found.setdefault(chunk.place.attempt, []).append(chunk)
    return found


def plan_rotation(chunks: Sequence[LogChunk], max_bytes: int) -> list[LogChunk]:
    """The oldest of one process's chunks, those that must go so that the rest fits; never the newest."""
    excess = sum(chunk.size_bytes for chunk in chunks) - max_bytes
    doomed: list[LogChunk] = []
    for chunk in chunks[:-1]:
        if excess <= 0:
            break
        doomed.append(chunk)
        excess -= chunk.size_bytes
    return doomed


def plan_farewell(
    by_attempt: Mapping[int, Sequence[LogChunk]], before: int, *, max_bytes: int, max_attempts: int
) -> list[LogChunk]:
    """The chunks of attempts before `before` that have to go: whole attempts, the oldest first."""
    kept = 0
    doomed: list[LogChunk] = []
    for place, attempt in enumerate(sorted((one for one in by_attempt if one < before), reverse=True)):
        kept += sum(chunk.size_bytes for chunk in by_attempt[attempt])
        if kept > max_bytes or place >= max_attempts:
            doomed += by_attempt[attempt]
    return doomed


def plan_reading(chunks: Iterable[LogChunk], after: Mapping[str, int]) -> list[LogChunk]:
    """The chunks to read, in order, without those that others hold or that `after` knows."""
    known = dict(after)
    chosen = []
    for chunk in sorted(chunks, key=lambda one: (one.place.process, one.first, -one.last)):
        if chunk.last > known.get(chunk.place.process, 0):
            known[chunk.place.process] = chunk.last
            chosen.append(chunk)
    return chosen
