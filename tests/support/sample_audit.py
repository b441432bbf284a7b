"""An oracle: what a run's workers say that they computed, against the one history that readers accept.

It takes the audit's lines and the attempts' resume points, and knows nothing of how training works.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from synthray.storage import ObjectStore

_RECORD = re.compile(r"attempts/([0-9]{6,})\.json")


@dataclass(frozen=True)
class AuditLine:
    """One worker's part of one accepted step."""

    attempt: int
    rank: int
    world_size: int
    step: int
    positions: tuple[int, ...]
    samples: tuple[int, ...]


@dataclass(frozen=True)
class AuditVerdict:
    """What is wrong, and how many images were computed that did not count."""

    problems: tuple[str, ...]
    redone_images: int


def read_audit(directory: Path) -> list[AuditLine]:
    """All lines of a directory of audit files."""
    lines = []
    for file in sorted(directory.glob("*.jsonl")):
        for text in file.read_text().splitlines():
            line = json.loads(text)
            lines.append(
                AuditLine(
                    line["attempt"],
                    line["rank"],
                    line["world_size"],
                    line["step"],
                    tuple(line["positions"]),
                    tuple(line["samples"]),
                )
            )
    return lines


def read_chain(store: ObjectStore) -> list[tuple[int, int]]:
    """The chain of attempts in a run's store, from the attempts' records alone."""
    records = {}
    for info in store.list("attempts/"):
        if match := _RECORD.fullmatch(info.key):
            records[int(match[1])] = json.loads(store.read(info.key))["resumes_from"]
    return walk_chain(records)


def walk_chain(resumes_from: Mapping[int, str | None]) -> list[tuple[int, int]]:
    """The attempts that count, oldest first, each with the images at which it took over.

    `resumes_from` gives each attempt's resume point by its state's name, <images>-a<attempt>.
    """
    chain: list[tuple[int, int]] = []
    attempt: int | None = max(resumes_from, default=None)
    while attempt is not None:
        name = resumes_from[attempt]
        images, _, source = (name or "0-a").partition("-a")
        chain.append((attempt, int(images)))
        attempt = int(source) if source else None
    return chain[::-1]


def audit_history(
    lines: Iterable[AuditLine], chain: Sequence[tuple[int, int]], *, images_seen: int
) -> AuditVerdict:
    """Whether each position below `images_seen` was computed once, by the attempt that counts."""
    lines = list(lines)
    ends = [*(start for _, start in chain[1:]), images_seen]
    owners: dict[int, int] = {}
    for (attempt, start), end in zip(chain, ends, strict=True):
        owners.update(dict.fromkeys(range(start, end), attempt))
    counted: Counter[int] = Counter()
    samples: dict[int, set[int]] = defaultdict(set)
    for line in lines:
        for position, sample in zip(line.positions, line.samples, strict=True):
            samples[position].add(sample)
            counted[position] += owners.get(position) == line.attempt
    problems = [
        f"position {position} counts {counted[position]} times, by attempt {owners.get(position)}"
        for position in range(images_seen)
        if counted[position] != 1
    ]
    problems += [
        f"position {position} was computed with samples {sorted(used)}"
        for position, used in sorted(samples.items())
        if len(used) > 1
    ]
    problems += [
        f"attempt {after[0]} takes over at {after[1]}, before attempt {before[0]} began at {before[1]}"
        for before, after in pairwise(chain)
        if after[1] < before[1]
    ]
    computed = sum(len(line.positions) for line in lines)
    return AuditVerdict(tuple(problems), computed - images_seen)
