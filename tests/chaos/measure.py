"""From the notes of a played run to the figures of its faults. Pure."""

from collections.abc import Mapping, Sequence

from .play import Notes, PlayedFault
from .results import FaultResult
from .timeline import (
    Timeline,
    caught_up_at,
    cost_seconds,
    first_step_at,
    images_per_second,
    longest_stall_seconds,
    newest_attempt,
    reached_before,
)

_FIRST_SECONDS = 2.0  # in which caches fill


def measure_rate(notes: Notes) -> float | None:
    """Images per second while nothing was done to the run; None if it never was left alone."""
    quiet = []
    begin = (notes.trained_from or 0.0) + _FIRST_SECONDS
    for played in [*notes.played, None]:
        end = played.at_seconds if played else (notes.samples[-1].seconds if notes.samples else 0.0)
        if end > begin:
            quiet.append((begin, end))
        if played is not None:
            begin = max(begin, played.recovered_at or end)
    return images_per_second(notes.samples, quiet)


def measure_faults(
    notes: Notes, rate: float | None, lost_images: Mapping[int, int]
) -> tuple[FaultResult, ...]:
    """One result for each fault; `lost_images` by attempt as the oracle counted them."""
    return tuple(_measure(notes.samples, played, rate, lost_images) for played in notes.played)


def _measure(
    samples: Timeline, played: PlayedFault, rate: float | None, lost_images: Mapping[int, int]
) -> FaultResult:
    fault, since, until = played.fault, played.at_seconds, played.recovered_at
    result = FaultResult(
        number=fault.number,
        kind=fault.kind,
        images_seen=played.images_before,
        heard=played.injected.heard,
        overlapped=played.overlapped,
        lasts_seconds=round(fault.lasts_seconds, 1),
    )
    if until is None or played.overlapped or not played.injected.heard:
        return result
    first_step = first_step_at(samples, since, played.attempt_before)
    if first_step is not None and first_step > until:
        first_step = None
    images_before = reached_before(samples, since, played.attempt_before)
    caught_up = caught_up_at(samples, first_step, images_before) if first_step is not None else None
    attempts = range(played.attempt_before, newest_attempt(samples, until))
    return FaultResult(
        **{
            **vars(result),
            "first_step_seconds": _after(first_step, since),
            "caught_up_seconds": _after(caught_up, since),
            "stall_seconds": round(longest_stall_seconds(samples, since, until), 2),
            "cost_seconds": round(cost_seconds(samples, since, until, rate), 2) if rate else None,
            "lost_images": sum(lost_images.get(attempt, 0) for attempt in attempts),
        }
    )


def _after(moment: float | None, since: float) -> float | None:
    return None if moment is None else round(moment - since, 2)


def find_percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that so large a share of all does not exceed; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]
