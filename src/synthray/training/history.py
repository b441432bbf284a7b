"""A run's history: starts, resizes, faults, saves and epochs, from what it has left in its prefix.

The ledger of the newest state tells all up to that state; attempts that began later are told by their own
records. So the history can be read while the run trains, and when nothing of it runs any more. It must not
import torch.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from synthray.checkpoints.attempts import Attempt, read_attempts
from synthray.checkpoints.manifest import Manifest
from synthray.checkpoints.store import CheckpointStore
from synthray.errors import NotFound
from synthray.training.ledger import Ledger, Planned

EPOCH_ENDED = "EpochEnded"
"""The one kind that no ledger's event has: the model of an epoch stands for it."""


@dataclass(frozen=True)
class HistoryEntry:
    """Something that happened at a time (seconds since 1970), when the run had seen so many images."""

    time: float
    images_seen: int
    kind: str
    message: str
    is_fault: bool = False


def read_history(checkpoints: CheckpointStore) -> list[HistoryEntry]:
    """All that is known, oldest first; raises NotFound where no run is, Unavailable."""
    states = checkpoints.list_states()
    attempts = read_attempts(checkpoints.store)
    if not attempts:
        raise NotFound(f"{checkpoints.uri} holds no run; name a TrainingRun's file or its checkpoints.uri")
    ledger = Ledger.from_json(states[-1].ledger) if states else None
    entries = [
        *(_tell_ledger(ledger) if ledger else ()),
        # Earlier saves stand in the ledger; that of the newest state came too late for its own.
        *_tell_saves(states[-1:]),
        *_tell_models(checkpoints.list_models()),
        *_tell_attempts(attempts.values(), after=ledger.attempts if ledger else 0),
    ]
    return sorted(entries, key=lambda entry: (entry.time, entry.images_seen))


def to_documents(history: Iterable[HistoryEntry]) -> list[dict[str, Any]]:
    """For --json, with times as UTC in ISO 8601."""
    return [{**asdict(entry), "time": format_time(entry.time)} for entry in history]


def format_time(seconds: float) -> str:
    """UTC in ISO 8601, to the second."""
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"


def _tell_ledger(ledger: Ledger) -> Iterable[HistoryEntry]:
    for event in (*ledger.events, *ledger.faults):
        yield HistoryEntry(event.time, event.images_seen, event.kind, event.message, event.is_fault)


def _tell_saves(states: Iterable[Manifest]) -> Iterable[HistoryEntry]:
    for state in states:
        message = f"state {state.name} of epoch {state.epoch}"
        yield HistoryEntry(_seconds(state.created), state.images_seen, str(Planned.SAVED), message)


def _tell_models(models: Iterable[Manifest]) -> Iterable[HistoryEntry]:
    for model in models:
        loss = "" if model.validation_loss is None else f", validation loss {model.validation_loss:.4g}"
        message = f"epoch {model.epoch}, model {model.name}{loss}"
        yield HistoryEntry(_seconds(model.created), model.images_seen, EPOCH_ENDED, message)


def _tell_attempts(attempts: Iterable[Attempt], *, after: int) -> Iterable[HistoryEntry]:
    for attempt in attempts:
        record = attempt.record
        if record is None or record.number <= after:
            continue
        images_seen = record.source.images_seen if record.source else 0
        why = f", since {record.reason}" if record.reason else ""
        message = f"attempt {record.number} goes on from {record.resumes_from or 'nothing'}{why}"
        yield HistoryEntry(_seconds(record.created), images_seen, str(Planned.STARTED), message)


def _seconds(created: str) -> float:
    return datetime.fromisoformat(created).timestamp()
