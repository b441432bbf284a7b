"""A run's accounts: where its time went and what happened to it, kept in every state.

The ledger is part of the state, so it continues over restarts and describes exactly the history that was
accepted: what a lost attempt did after its last save is not in it, but its time is, as restart time, and so
is what ended it. Pure data: no clock, no torch.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from synthray.telemetry.report import RunLifetime

MAX_EVENTS = 1000
"""Newest events, and newest faults, that a ledger keeps; older ones are only counted."""


class Planned(StrEnum):
    """Kinds of events that nobody need worry about; all other kinds are faults."""

    STARTED = "Started"
    RESIZED = "Resized"
    SAVED = "Saved"
    STOPPED = "Stopped"


_PLANNED = frozenset(map(str, Planned))


@dataclass(frozen=True)
class EpochRecord:
    """One epoch's end."""

    epoch: int
    images_seen: int
    loss: float
    validation_loss: float | None
    useful_seconds: float


@dataclass(frozen=True)
class RunEvent:
    """Something that happened to the run, `time` in seconds since 1970.

    Of a planned kind, or a fault: a lost worker or driver, a bad sample, an odd device.
    """

    images_seen: int
    kind: str
    message: str
    time: float

    @property
    def is_fault(self) -> bool:
        """Whether it was not planned."""
        return self.kind not in _PLANNED


@dataclass(frozen=True)
class Ledger:
    """Sums over the accepted history, in seconds and images; times are seconds since 1970.

    `workers` is the number of the newest attempt, `event_counts` counts all events ever, by kind.
    """

    started: float
    saved: float
    attempts: int = 0
    workers: int = 0
    useful_seconds: float = 0.0
    data_wait_seconds: float = 0.0
    checkpoint_stall_seconds: float = 0.0
    restart_seconds: float = 0.0
    redone_images: int = 0
    skipped_samples: int = 0
    nonfinite_steps: int = 0
    epoch_loss_sum: float = 0.0
    epoch_steps: int = 0
    history: tuple[EpochRecord, ...] = ()
    events: tuple[RunEvent, ...] = ()
    faults: tuple[RunEvent, ...] = ()
    event_counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def goodput_ratio(self) -> float:
        """Time spent on new steps over elapsed time."""
        elapsed = self.saved - self.started
        return min(1.0, self.useful_seconds / elapsed) if elapsed > 0 else 0.0

    @property
    def num_faults(self) -> int:
        """All faults, those that are only counted too."""
        return sum(count for kind, count in self.event_counts.items() if kind not in _PLANNED)

    def to_json(self) -> dict[str, Any]:
        """The form kept in a state."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Ledger":
        """Read what `to_json` wrote."""
        lists = {
            "history": tuple(EpochRecord(**record) for record in document["history"]),
            "events": tuple(RunEvent(**record) for record in document.get("events", ())),
            "faults": tuple(RunEvent(**record) for record in document["faults"]),
        }
        return cls(**{**document, **lists})


@dataclass(frozen=True)
class StepTimes:
    """Where one step's seconds went."""

    useful_seconds: float
    data_wait_seconds: float


@dataclass(frozen=True)
class AttemptStart:
    """An attempt as it begins, `now`: what it costs, and what had ended the earlier ones."""

    now: float
    number: int
    workers: int
    redone_images: int
    faults: tuple[RunEvent, ...]


def after_step(ledger: Ledger, times: StepTimes, *, loss: float, nonfinite: int, skipped: int) -> Ledger:
    """Book one accepted step."""
    return replace(
        ledger,
        useful_seconds=ledger.useful_seconds + times.useful_seconds,
        data_wait_seconds=ledger.data_wait_seconds + times.data_wait_seconds,
        nonfinite_steps=ledger.nonfinite_steps + nonfinite,
        skipped_samples=ledger.skipped_samples + skipped,
        epoch_loss_sum=ledger.epoch_loss_sum + loss,
        epoch_steps=ledger.epoch_steps + 1,
    )


def after_stall(ledger: Ledger, seconds: float) -> Ledger:
    """Book time that training stood still for a save; the save itself holds what came before it."""
    return replace(ledger, checkpoint_stall_seconds=ledger.checkpoint_stall_seconds + seconds)


def after_epoch(ledger: Ledger, *, epoch: int, images_seen: int, validation_loss: float | None) -> Ledger:
    """Write the epoch into the history and begin the next."""
    record = EpochRecord(
        epoch=epoch,
        images_seen=images_seen,
        loss=ledger.epoch_loss_sum / max(1, ledger.epoch_steps),
        validation_loss=validation_loss,
        useful_seconds=ledger.useful_seconds,
    )
    return replace(ledger, history=(*ledger.history, record), epoch_loss_sum=0.0, epoch_steps=0)


def with_events(ledger: Ledger, events: Iterable[RunEvent]) -> Ledger:
    """Note what happened to the run; of each list the oldest beyond `MAX_EVENTS` are only counted."""
    lists, counts = {False: ledger.events, True: ledger.faults}, Counter(ledger.event_counts)
    for event in events:
        lists[event.is_fault] = (*lists[event.is_fault], event)[-MAX_EVENTS:]
        counts[event.kind] += 1
    return replace(ledger, events=lists[False], faults=lists[True], event_counts=dict(counts))


def after_start(ledger: Ledger, images_seen: int, start: AttemptStart) -> Ledger:
    """Book an attempt's start: the time since the state was saved, and all that happened in it."""
    events = [*start.faults]
    if ledger.workers not in (0, start.workers):
        message = f"from {ledger.workers} to {start.workers} workers"
        events.append(RunEvent(images_seen, str(Planned.RESIZED), message, start.now))
    message = f"attempt {start.number} with {start.workers} workers"
    events.append(RunEvent(images_seen, str(Planned.STARTED), message, start.now))
    return replace(
        with_events(ledger, events),
        attempts=start.number,
        workers=start.workers,
        restart_seconds=ledger.restart_seconds + max(0.0, start.now - ledger.saved),
        redone_images=ledger.redone_images + start.redone_images,
        saved=start.now,
    )


def build_lifetime(ledger: Ledger, images_seen: int) -> RunLifetime:
    """The ledger in the form that metrics show."""
    return RunLifetime(
        images_seen=images_seen,
        useful_seconds=ledger.useful_seconds,
        data_wait_seconds=ledger.data_wait_seconds,
        checkpoint_stall_seconds=ledger.checkpoint_stall_seconds,
        restart_seconds=ledger.restart_seconds,
        redone_images=ledger.redone_images,
        goodput_ratio=ledger.goodput_ratio,
        attempts=ledger.attempts,
        faults=ledger.num_faults,
        resizes=ledger.event_counts.get(Planned.RESIZED, 0),
    )
