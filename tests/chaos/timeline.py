"""What `/progress` said over time, and what can be read from that about a fault. Pure but for the appending.

Seconds count from the run's start. A driver that was started anew begins with its resume point's images; one
that goes on itself shows the last attempt's images until the new one's first step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Sample:
    """One look at `/progress`."""

    seconds: float
    attempt: int
    images_seen: int
    state: str
    workers: int = 0
    redone_images: int = 0


def build_sample(seconds: float, progress: Mapping[str, Any]) -> Sample:
    """The part of the document that matters here."""
    return Sample(
        seconds,
        int(progress["attempt"]),
        int(progress["images_seen"]),
        str(progress["state"]),
        int(progress["workers"]["ready"]),
        int(progress["goodput"]["redone_images"]),
    )


Timeline = Sequence[Sample]


def reached(timeline: Timeline, until: float) -> int:
    """The most images that were seen by then, accepted or not."""
    return max((sample.images_seen for sample in timeline if sample.seconds <= until), default=0)


def reached_before(timeline: Timeline, until: float, attempt: int) -> int:
    """The most images that attempts up to `attempt` have shown; their last steps are shown after `until`."""
    shown = [sample.images_seen for sample in timeline if sample.seconds <= until]
    for sample in timeline:
        if sample.seconds > until:
            if sample.attempt != attempt:
                break
            shown.append(sample.images_seen)
    return max(shown, default=0)


def newest_attempt(timeline: Timeline, until: float) -> int:
    """The newest attempt by then."""
    return max((sample.attempt for sample in timeline if sample.seconds <= until), default=0)


def first_step_at(timeline: Timeline, since: float, after_attempt: int) -> float | None:
    """When an attempt newer than `after_attempt` had made a step; None if none has."""
    for before, sample in pairwise(timeline):
        is_newer = sample.seconds >= since and before.attempt == sample.attempt > after_attempt
        if is_newer and sample.images_seen != before.images_seen:
            return sample.seconds
    return None


def caught_up_at(timeline: Timeline, since: float, images: int) -> float | None:
    """When more than `images` had been seen; None if they have not."""
    times = (sample.seconds for sample in timeline if sample.seconds >= since and sample.images_seen > images)
    return next(times, None)


def new_images(timeline: Timeline, since: float, until: float) -> int:
    """Images that nobody had seen before, between two moments."""
    return reached(timeline, until) - reached(timeline, since)


def longest_stall_seconds(timeline: Timeline, since: float, until: float) -> float:
    """The longest time without a step between two moments."""
    steps = [
        after.seconds
        for before, after in pairwise(timeline)
        if since < after.seconds < until and after.images_seen != before.images_seen
    ]
    return max((after - before for before, after in pairwise([since, *steps, until])), default=0.0)


def images_per_second(timeline: Timeline, quiet: Sequence[tuple[float, float]]) -> float | None:
    """The rate of new images over spans in which nothing was done to the run; None if there are none."""
    seconds = sum(end - begin for begin, end in quiet)
    images = sum(new_images(timeline, begin, end) for begin, end in quiet)
    return images / seconds if seconds > 0 and images > 0 else None


def cost_seconds(timeline: Timeline, since: float, until: float, rate: float) -> float:
    """Seconds of training that were lost: the time that passed, less what the new images would have taken."""
    return max(0.0, until - since - new_images(timeline, since, until) / rate)
