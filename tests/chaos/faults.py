"""The kinds of faults that a campaign injects, how often each one comes, and one fault as data.

Pure: what a fault does is the injector's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What happens: killed by SIGKILL, hung by SIGSTOP, paused by SIGSTOP and SIGCONT, noticed by SIGTERM."""

    WORKER_KILLED = "worker_killed"
    WORKERS_KILLED = "workers_killed"
    WORKER_HUNG = "worker_hung"
    WORKERS_HUNG = "workers_hung"
    WORKER_PAUSED = "worker_paused"
    WORKER_NOTICED = "worker_noticed"
    WORKERS_NOTICED = "workers_noticed"
    SUPERVISOR_KILLED = "supervisor_killed"
    SCALED = "scaled"
    DRIVER_KILLED = "driver_killed"
    DRIVER_PAUSED = "driver_paused"
    DRIVER_NOTICED = "driver_noticed"
    SECOND_DRIVER = "second_driver"
    EVERYTHING_KILLED = "everything_killed"
    EVERYTHING_PAUSED = "everything_paused"
    EVERYTHING_NOTICED = "everything_noticed"
    SERVER_PAUSED = "server_paused"
    SERVER_KILLED = "server_killed"
    S3_ERRORS = "s3_errors"
    S3_SLOW_DOWN = "s3_slow_down"
    S3_SLOW = "s3_slow"
    S3_RESETS = "s3_resets"
    S3_CUTS = "s3_cuts"
    S3_LOST_ANSWERS = "s3_lost_answers"
    S3_TRUNCATED = "s3_truncated"
    S3_FLIPPED = "s3_flipped"
    S3_BLACK_HOLE = "s3_black_hole"
    DISK_FULL = "disk_full"
    CLOCK_SKEWED = "clock_skewed"


@dataclass(frozen=True)
class Trait:
    """A kind's share of the mix (a weight), and for how long its faults last, in seconds from and to."""

    weight: float
    lasts_seconds: tuple[float, float] = (0.0, 0.0)


MIX: Mapping[Kind, Trait] = {
    # Two thirds are losses of workers, as the operators of large runs report.
    Kind.WORKER_KILLED: Trait(40),
    Kind.WORKERS_KILLED: Trait(6),
    Kind.SUPERVISOR_KILLED: Trait(4),
    Kind.WORKER_HUNG: Trait(3),
    Kind.WORKERS_HUNG: Trait(1),
    Kind.WORKER_NOTICED: Trait(8),
    Kind.WORKERS_NOTICED: Trait(2),
    Kind.WORKER_PAUSED: Trait(2, (0.5, 4)),
    Kind.SCALED: Trait(7),
    Kind.DRIVER_KILLED: Trait(3),
    Kind.DRIVER_PAUSED: Trait(1, (0.5, 8)),
    Kind.DRIVER_NOTICED: Trait(2),
    Kind.SECOND_DRIVER: Trait(2),
    Kind.EVERYTHING_KILLED: Trait(2),
    Kind.EVERYTHING_PAUSED: Trait(1, (0.5, 8)),
    Kind.EVERYTHING_NOTICED: Trait(1),
    Kind.SERVER_PAUSED: Trait(2, (1, 20)),
    Kind.SERVER_KILLED: Trait(2, (0, 5)),
    Kind.S3_ERRORS: Trait(1, (1, 10)),
    Kind.S3_SLOW_DOWN: Trait(1, (1, 10)),
    Kind.S3_SLOW: Trait(1, (1, 10)),
    Kind.S3_RESETS: Trait(1, (1, 10)),
    Kind.S3_CUTS: Trait(1, (1, 10)),
    Kind.S3_LOST_ANSWERS: Trait(1, (1, 10)),
    Kind.S3_TRUNCATED: Trait(0.5, (1, 10)),
    Kind.S3_FLIPPED: Trait(0.5, (1, 10)),
    Kind.S3_BLACK_HOLE: Trait(1, (1, 5)),
    Kind.DISK_FULL: Trait(2, (1, 10)),
    Kind.CLOCK_SKEWED: Trait(1),
}
"""The stated mix."""

ENDS_SEGMENT = frozenset(
    {
        Kind.WORKER_KILLED,
        Kind.WORKERS_KILLED,
        Kind.WORKER_HUNG,
        Kind.WORKERS_HUNG,
        Kind.WORKER_NOTICED,
        Kind.WORKERS_NOTICED,
        Kind.SUPERVISOR_KILLED,
        Kind.SCALED,
        Kind.DRIVER_KILLED,
        Kind.DRIVER_NOTICED,
        Kind.SECOND_DRIVER,
        Kind.EVERYTHING_KILLED,
        Kind.EVERYTHING_NOTICED,
    }
)
"""Kinds after which training goes on in another attempt; the others it may ride out in the same one."""

WITHOUT_NOTICE = ENDS_SEGMENT - {
    Kind.WORKER_NOTICED,
    Kind.WORKERS_NOTICED,
    Kind.SCALED,
    Kind.DRIVER_NOTICED,
}
"""Kinds that leave no time to save, so that the work since the last save is done again."""


@dataclass(frozen=True)
class Fault:
    """One fault of a schedule.

    It comes once the run has reached `mark` (images seen, or seconds; the schedule's owner knows) and
    `delay_seconds` more have passed, so that it falls anywhere within a step. If it `overlaps`, it does not
    wait until the run has recovered from the one before. `pick`, in [0, 1), chooses among what there is to
    choose from: the worker, their new number, the bytes after which a connection is cut.
    """

    number: int
    kind: Kind
    mark: float
    delay_seconds: float
    lasts_seconds: float
    pick: float
    overlaps: bool
