"""What became of a run's attempts: how each ended, and what it had computed and not saved.

An attempt that ends by itself leaves a word in the store; one that left none was killed with its driver.
What a living driver saw its attempts lose is kept here, so that attempts which commit nothing add up too.
It must not import torch.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime

from synthray.checkpoints.attempts import AttemptRecord
from synthray.checkpoints.documents import DamagedDocument, read_document, unseal
from synthray.checkpoints.names import CheckpointName, attempt_key
from synthray.errors import NotFound
from synthray.storage import ObjectStore
from synthray.training.ledger import RunEvent

_ENDINGS_PREFIX = "endings/"


class Losses:
    """Images that the attempts of this driver computed and did not save; lives as long as the driver."""

    def __init__(self) -> None:
        self._by_attempt: dict[int, int] = {}
        self._newest = 0

    def note_end(self, *, images_reached: int, resumed_images: int) -> None:
        """The newest attempt got that far, and the next one goes on from there; to be said once or twice."""
        if self._newest:
            self._by_attempt[self._newest] = max(0, images_reached - resumed_images)

    def note_start(self, number: int) -> None:
        """An attempt begins."""
        self._newest = number

    def since(self, attempt: int) -> int:
        """Images lost by `attempt`, after the state that it is resumed from, and by all later ones."""
        return sum(images for number, images in self._by_attempt.items() if number >= attempt)


def ending_key(number: int) -> str:
    """Where an attempt says how it ended."""
    return f"{_ENDINGS_PREFIX}{number:06d}.json"


def write_ending(store: ObjectStore, number: int, *, words: str, images_seen: int) -> None:
    """Say how an attempt ended; raises Unavailable."""
    store.write(ending_key(number), json.dumps({"ended": words, "images_seen": images_seen}).encode())


def has_ended(store: ObjectStore, number: int) -> bool:
    """Whether an attempt said that it ended; raises Unavailable."""
    return store.stat(ending_key(number)) is not None


def list_faults(records: Iterable[AttemptRecord], messages: Mapping[int, str]) -> tuple[RunEvent, ...]:
    """What ended the attempts before these, in their order, told by the reasons for which these began.

    `messages` has what is known of some beyond the reason.
    """
    events = (
        RunEvent(
            _images_of(record),
            record.reason,
            messages.get(record.number, f"attempt {record.number - 1} ended before it had saved anything"),
            datetime.fromisoformat(record.created).timestamp(),
        )
        for record in sorted(records, key=lambda record: record.number)
        if record.reason
    )
    return tuple(event for event in events if event.is_fault)


def read_records(store: ObjectStore, numbers: Iterable[int]) -> list[AttemptRecord]:
    """The attempts' own records, those that are whole; raises Unavailable."""
    records = []
    for number in numbers:
        with suppress(NotFound, DamagedDocument):
            records.append(
                read_document(store, attempt_key(number), lambda data: unseal(AttemptRecord, data))
            )
    return records


def _images_of(record: AttemptRecord) -> int:
    name = CheckpointName.parse(record.resumes_from) if record.resumes_from else None
    return name.images_seen if name else 0
