"""When a failed request is sent again: pure arithmetic, without clock, sleep or randomness of its own."""

from dataclasses import dataclass

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 5.0


@dataclass(frozen=True)
class Again:
    """Send the request again after a pause."""

    after_seconds: float


@dataclass(frozen=True)
class GiveUp:
    """The deadline has passed; say so."""


def decide_retry(
    *, failures: int, elapsed_seconds: float, deadline_seconds: float, jitter: float
) -> Again | GiveUp:
    """What to do after the `failures`-th failure of a request that was first sent `elapsed_seconds` ago.

    The pause doubles from 0.1 s to at most 5 s and is drawn from its upper half by `jitter` in [0, 1), so
    that workers that failed together don't return together; the last try starts at the deadline itself.
    """
    left_seconds = deadline_seconds - elapsed_seconds
    if left_seconds <= 0:
        return GiveUp()
    pause = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(failures - 1, 30))
    return Again(min(left_seconds, pause * (0.5 + 0.5 * jitter)))
