"""Which faults come when: a pure function of a seed.

No clock and no run: the same seed gives the same faults on every machine, so that a failure can be repeated.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

from .faults import Fault, Kind, Trait

_DELAY_SECONDS = 0.5
_OVERLAP_SECONDS = 3.0
_SHARE_OF_OVERLAPS = 0.1


def schedule(seed: int, mix: Mapping[Kind, Trait], marks: Sequence[float]) -> tuple[Fault, ...]:
    """One fault for each mark, in their order; some come at the mark of the one before, into its recovery.

    Each fault draws from a stream of its own, so that it stays what it is when others are added behind it.
    """
    kinds = list(mix)
    weights = list(accumulate(mix[kind].weight for kind in kinds))
    faults: list[Fault] = []
    for number, mark in enumerate(marks):
        fault = _draw(seed, number, mark, mix, kinds, weights)
        faults.append(replace(fault, mark=faults[-1].mark) if fault.overlaps else fault)
    return tuple(faults)


def _draw(
    seed: int,
    number: int,
    mark: float,
    mix: Mapping[Kind, Trait],
    kinds: Sequence[Kind],
    weights: Sequence[float],
) -> Fault:
    stream = random.Random(f"{seed}/{number}")  # noqa: S311 the same faults for the same seed
    kind = stream.choices(kinds, cum_weights=weights)[0]
    overlaps = number > 0 and stream.random() < _SHARE_OF_OVERLAPS
    return Fault(
        number=number,
        kind=kind,
        mark=mark,
        delay_seconds=stream.uniform(0, _OVERLAP_SECONDS if overlaps else _DELAY_SECONDS),
        lasts_seconds=stream.uniform(*mix[kind].lasts_seconds),
        pick=stream.random(),
        overlaps=overlaps,
    )


def marks_by_progress(seed: int, count: int, first: float, last: float) -> list[float]:
    """`count` marks in order between `first` and `last`, one at random in each of as many equal parts."""
    stream = random.Random(f"{seed}/marks")  # noqa: S311
    width = (last - first) / max(1, count)
    return [first + width * (part + stream.random()) for part in range(count)]


def marks_by_time(seed: int, mean_seconds: float, duration_seconds: float) -> list[float]:
    """Seconds at which faults arrive that know nothing of each other (a Poisson process), in order."""
    stream = random.Random(f"{seed}/arrivals")  # noqa: S311
    marks: list[float] = []
    now = stream.expovariate(1 / mean_seconds)
    while now < duration_seconds:
        marks.append(now)
        now += stream.expovariate(1 / mean_seconds)
    return marks
