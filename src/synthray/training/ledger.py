"""A run's accounts: where its time went and what happened to it, kept in every state.

The ledger is part of the state, so it continues over restarts and describes exactly the history that was
accepted: what a lost attempt did after its last save is not in it, but its time is, as restart time. Pure
data: no clock, no torch.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from synthray.telemetry.report import RunLifetime


@dataclass(frozen=True)
class EpochRecord:
    """One epoch's end."""

    epoch: int
    images_seen: int
    loss: float
    validation_loss: float | None
    useful_seconds: float


@dataclass(frozen=True)
class FaultRecord:
    """Something that happened to the run: a restart, a resize, a bad sample, an odd device."""

    images_seen: int
    kind: str
    message: str
    time: float


@dataclass(frozen=True)
class Ledger:
    """Sums over the accepted history, in seconds and images; times are seconds since 1970."""

    started: float
    saved: float
    attempts: int = 0
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
    faults: tuple[FaultRecord, ...] = field(default=())

    @property
    def goodput_ratio(self) -> float:
        """Time spent on new steps over elapsed time."""
        elapsed = self.saved - self.started
        return min(1.0, self.useful_seconds / elapsed) if elapsed > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """The form kept in a state."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Ledger":
        """Read what `to_json` wrote."""
        history = tuple(EpochRecord(**record) for record in document["history"])
        faults = tuple(FaultRecord(**record) for record in document["faults"])
        return cls(**{**document, "history": history, "faults": faults})


@dataclass(frozen=True)
class StepTimes:
    """Where one step's seconds went."""

    useful_seconds: float
    data_wait_seconds: float


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


def with_fault(ledger: Ledger, fault: FaultRecord) -> Ledger:
    """Note something that happened to the run."""
    return replace(ledger, faults=(*ledger.faults, fault))


def after_restart(ledger: Ledger, now: float, redone_images: int, fault: FaultRecord | None) -> Ledger:
    """Book the time since the state was saved as restart time, and what led to the restart."""
    return replace(
        ledger,
        attempts=ledger.attempts + 1,
        restart_seconds=ledger.restart_seconds + max(0.0, now - ledger.saved),
        redone_images=ledger.redone_images + redone_images,
        faults=ledger.faults + ((fault,) if fault else ()),
        saved=now,
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
    )
