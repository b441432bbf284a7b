"""Fencing: who may write, and which checkpoints count.

An attempt is one stretch of training, from one resume point to its end. It begins by creating the next
`attempts/<n>.json`, which names the state that it goes on from. No clock and no lease: a writer that was
paused and comes back late finds a newer attempt, and whatever it still commits lies off the chain of resume
points, where no reader looks.
"""

import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, model_validator

from synthray.checkpoints.documents import DamagedDocument, Document, read_document, seal, unseal
from synthray.checkpoints.names import ATTEMPTS_PREFIX, CheckpointName, attempt_key
from synthray.errors import NotFound, Reason, RunFailed
from synthray.storage import ObjectExists, ObjectStore

_FORMAT_VERSION = 1


class AttemptRecord(Document):
    """One attempt; `resumes_from` is a state's directory name, None for a start from nothing."""

    format_version: Annotated[int, Field(ge=1, le=_FORMAT_VERSION)] = _FORMAT_VERSION
    number: Annotated[int, Field(ge=1)]
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    driver: str
    resumes_from: str | None
    created: str
    reason: str

    @model_validator(mode="after")
    def _resumes_from_the_past(self) -> "AttemptRecord":
        if self.resumes_from is not None:
            source = CheckpointName.parse(self.resumes_from)
            if source is None or source.attempt >= self.number:
                raise ValueError("resumes_from names no state of an earlier attempt")
        return self


def begin_attempt(
    store: ObjectStore, driver: str, resumes_from: str | None, *, reason: str = ""
) -> AttemptRecord:
    """Create the next attempt; from here on, every earlier one is fenced off.

    `driver` says who it is, for people. A lost answer is recognized by the nonce. Raises Unavailable.
    """
    number = max(list_attempt_numbers(store), default=0) + 1
    nonce = secrets.token_hex(16)
    while True:
        record = AttemptRecord(
            number=number,
            nonce=nonce,
            driver=driver,
            resumes_from=resumes_from,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            reason=reason,
        )
        data = seal(record)
        try:
            store.create(attempt_key(number), data)
        except ObjectExists:
            if store.read(attempt_key(number)) != data:
                number += 1
                continue
        return record


def list_attempt_numbers(store: ObjectStore) -> list[int]:
    """The numbers of all attempts, in order."""
    stems = (
        info.key.removeprefix(ATTEMPTS_PREFIX).removesuffix(".json") for info in store.list(ATTEMPTS_PREFIX)
    )
    return sorted(int(stem) for stem in stems if stem.isdecimal() and len(stem) >= 6)


def read_attempts(
    store: ObjectStore, known: Mapping[int, AttemptRecord] | None = None
) -> dict[int, AttemptRecord | None]:
    """All attempts by number; None for a record that is damaged. `known` ones are not read again."""
    found: dict[int, AttemptRecord | None] = {}
    for number in list_attempt_numbers(store):
        found[number] = (known or {}).get(number) or _read_attempt(store, number)
    return found


def _read_attempt(store: ObjectStore, number: int) -> AttemptRecord | None:
    try:
        record = read_document(store, attempt_key(number), lambda data: unseal(AttemptRecord, data))
    except (DamagedDocument, NotFound):
        return None
    return record if record.number == number else None


def check_not_fenced(store: ObjectStore, number: int) -> None:
    """Raise RunFailed(FENCED) if an attempt newer than `number` exists."""
    newest = max(list_attempt_numbers(store), default=0)
    if newest > number:
        raise RunFailed(
            f"{store.uri}: attempt {number} was replaced by attempt {newest}, which goes on with the run; "
            "this one stops without committing anything more",
            reason=Reason.FENCED,
        )


def accepted_checkpoints(
    records: Mapping[int, AttemptRecord | None], names: Iterable[CheckpointName]
) -> frozenset[CheckpointName]:
    """Those of `names` that lie on the chain of resume points, walked back from the newest attempt.

    An attempt whose record is lost or damaged is taken to go on from the attempt before it: its resume
    point is unknown, and by the promise any state of the run at the same images_seen is the same state.
    """
    candidates = tuple(names)
    numbers = sorted(set(records) | {name.attempt for name in candidates})
    accepted: set[CheckpointName] = set()
    limit_images: int | None = None
    number = numbers[-1] if numbers else None
    while number is not None:
        accepted.update(
            name
            for name in candidates
            if name.attempt == number and (limit_images is None or name.images_seen <= limit_images)
        )
        record = records.get(number)
        if record is None:
            number = max((other for other in numbers if other < number), default=None)
            continue
        source = CheckpointName.parse(record.resumes_from) if record.resumes_from else None
        number, limit_images = (source.attempt, source.images_seen) if source else (None, None)
    return frozenset(accepted)
