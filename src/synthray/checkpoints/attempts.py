"""Fencing: who may write, and what each attempt has said about itself.

An attempt is one stretch of training, from one resume point to its end. It begins with two conditional
creates. The claim, `attempts/<n>.claim.json`, takes the number: from here on every earlier attempt commits
and deletes nothing more than what it had decided already. Then the record, `attempts/<n>.json`, names the
state that it goes on from: from here on readers follow it. No clock and no lease: a writer that was paused
and comes back late finds the newer claim, and whatever it still commits lies where no reader looks.
"""

import secrets
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import Field, model_validator

from synthray.checkpoints.documents import DamagedDocument, Document, read_documents, seal, unseal
from synthray.checkpoints.manifest import parse_manifest
from synthray.checkpoints.names import (
    ATTEMPTS_PREFIX,
    MANIFEST_FILE,
    MODELS_PREFIX,
    STATES_PREFIX,
    CheckpointName,
    attempt_key,
    attempt_of_key,
    claim_key,
    model_directory,
    state_directory,
)
from synthray.errors import NotFound, Reason, RunFailed, Unavailable
from synthray.storage import ObjectExists, ObjectStore

_CLAIM_VERSION = 1
_RECORD_VERSION = 2
_WITH_CLAIMS = 2

Number = Annotated[int, Field(ge=1)]
Nonce = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class AttemptClaim(Document):
    """An attempt's number is taken; `driver` says by whom, for people."""

    format_version: Annotated[int, Field(ge=1, le=_CLAIM_VERSION)] = _CLAIM_VERSION
    number: Number
    nonce: Nonce
    driver: str
    created: str


class AttemptRecord(Document):
    """One attempt; `resumes_from` is a state's directory name, None for a start from nothing.

    `source_manifest` is that state's manifest as it stood, which counts from then on although an earlier
    attempt's late delete removes the object; `source_has_model` says whether a model lay beside the state.
    """

    format_version: Annotated[int, Field(ge=1, le=_RECORD_VERSION)] = _RECORD_VERSION
    number: Number
    nonce: Nonce
    driver: str
    resumes_from: str | None
    created: str
    reason: str
    # Left out where they say nothing, so that records of version 1 are still what their digests say.
    source_manifest: Annotated[str | None, Field(exclude_if=lambda text: text is None)] = None
    source_has_model: Annotated[bool, Field(exclude_if=bool)] = True

    @model_validator(mode="after")
    def _resumes_from_the_past(self) -> "AttemptRecord":
        if self.resumes_from is not None and (self.source is None or self.source.attempt >= self.number):
            raise ValueError("resumes_from names no state of an earlier attempt")
        return self

    @property
    def source(self) -> CheckpointName | None:
        """The state that it goes on from."""
        return CheckpointName.parse(self.resumes_from) if self.resumes_from else None


@dataclass(frozen=True)
class Attempt:
    """What is known of an attempt; without a `record` it is taken to go on from the attempt before it.

    `nonces` are those that its manifests may carry: any if there is none. `problems` are phrases with keys.
    """

    number: int
    record: AttemptRecord | None
    nonces: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()
    is_pending: bool = False


def begin_attempt(
    store: ObjectStore, driver: str, resumes_from: str | None, *, reason: str = ""
) -> AttemptRecord:
    """Begin the next attempt; from here on, every earlier one is fenced off.

    `driver` says who it is, for people. A lost answer is recognized by the nonce. Raises Unavailable, also if
    the state to resume from went while the attempt began: then the newest one must be looked for anew.
    """
    source = CheckpointName.parse(resumes_from) if resumes_from else None
    while True:
        claim = _claim_next(store, driver)
        # The claim comes first: who deletes looks for claims after the manifest and before the parts. So a
        # manifest that is seen after the claim has all its parts for as long as this attempt stands on it.
        record = AttemptRecord(
            number=claim.number,
            nonce=claim.nonce,
            driver=driver,
            resumes_from=resumes_from,
            created=claim.created,
            reason=reason,
            source_manifest=_read_source(store, source) if source else None,
            source_has_model=source is None
            or store.stat(model_directory(source) + MANIFEST_FILE) is not None,
        )
        if _create_once(store, attempt_key(record.number), seal(record)):
            return record


def _claim_next(store: ObjectStore, driver: str) -> AttemptClaim:
    number = max(_list_numbers(store, ATTEMPTS_PREFIX, STATES_PREFIX, MODELS_PREFIX), default=0) + 1
    nonce = secrets.token_hex(16)
    while True:
        created = datetime.now(UTC).isoformat(timespec="seconds")
        claim = AttemptClaim(number=number, nonce=nonce, driver=driver, created=created)
        if _create_once(store, claim_key(number), seal(claim)):
            return claim
        number += 1


def _create_once(store: ObjectStore, key: str, data: bytes) -> bool:
    """Whether these bytes are the ones that stand; a lost answer looks like another creator's."""
    try:
        store.create(key, data)
    except ObjectExists:
        return store.read(key) == data
    return True


def _read_source(store: ObjectStore, source: CheckpointName) -> str:
    """The manifest of the state to resume from, as it stands now."""
    try:
        data = store.read(state_directory(source) + MANIFEST_FILE)
    except NotFound:
        stood = newest_record(read_attempts(store))
        data = (stood.source_manifest or "").encode() if stood and stood.source == source else b""
    try:
        parse_manifest(data, "state", source)
    except DamagedDocument as error:
        raise Unavailable(
            f"{store.uri}: the state {source} went while an attempt began to resume from it; "
            "the next try takes the newest one that is there"
        ) from error
    return data.decode()


def check_not_fenced(store: ObjectStore, number: int) -> None:
    """Raise RunFailed(FENCED) if an attempt newer than `number` was claimed; costs one listing."""
    newest = newest_attempt(store)
    if newest > number:
        raise RunFailed(
            f"{store.uri}: attempt {number} was replaced by attempt {newest}, which goes on with the run; "
            "this one stops without committing anything more",
            reason=Reason.FENCED,
        )


def newest_attempt(store: ObjectStore) -> int:
    """The highest number that an attempt has claimed; 0 if there is none."""
    return max(_list_numbers(store, ATTEMPTS_PREFIX), default=0)


def _list_numbers(store: ObjectStore, *prefixes: str) -> Iterable[int]:
    """The attempts that the keys under these prefixes speak of."""
    for prefix in prefixes:
        for info in store.list(prefix):
            number = attempt_of_key(info.key)
            if number is not None:
                yield number


def read_attempts(
    store: ObjectStore, known: MutableMapping[int, Attempt] | None = None
) -> dict[int, Attempt]:
    """All attempts by number. Those in `known` are not read again, and whole ones are added to it."""
    cache = {} if known is None else known
    sizes = {info.key: info.size_bytes for info in store.list(ATTEMPTS_PREFIX)}
    numbers = sorted({number for key in sizes if (number := attempt_of_key(key)) is not None})
    unread = [number for number in numbers if number not in cache]
    claims = _read_each(store, sizes, {claim_key(number): number for number in unread}, AttemptClaim)
    records = _read_each(store, sizes, {attempt_key(number): number for number in unread}, AttemptRecord)
    found = {
        number: cache.get(number) or _assemble(number, claims.get(number), records.get(number))
        for number in numbers
    }
    cache.update({number: one for number, one in found.items() if not one.problems and not one.is_pending})
    return found


_Spoken = TypeVar("_Spoken", AttemptClaim, AttemptRecord)


def _read_each(
    store: ObjectStore, sizes: Mapping[str, int], keys: Mapping[str, int], kind: type[_Spoken]
) -> dict[int, _Spoken | DamagedDocument]:
    """The documents that exist among `keys`, by number."""

    def parse(key: str, data: bytes) -> _Spoken:
        document = unseal(kind, data)
        if document.number != keys[key]:
            raise DamagedDocument(f"it belongs to attempt {document.number}")
        return document

    present = {key: sizes[key] for key in keys if key in sizes}
    return {keys[key]: document for key, document in read_documents(store, present, parse).items()}


def _assemble(
    number: int, claim: AttemptClaim | DamagedDocument | None, record: AttemptRecord | DamagedDocument | None
) -> Attempt:
    """What claim and record say together; where they contradict each other, neither is followed."""
    problems = [
        f"{key} is damaged: {document}"
        for key, document in ((claim_key(number), claim), (attempt_key(number), record))
        if isinstance(document, DamagedDocument)
    ]
    whole = [one for one in (claim, record) if isinstance(one, AttemptClaim | AttemptRecord)]
    nonces = frozenset(one.nonce for one in whole)
    if len(nonces) > 1:
        problems.append(f"{attempt_key(number)} and {claim_key(number)} are of different processes")
    if isinstance(record, AttemptRecord) and record.format_version >= _WITH_CLAIMS and claim is None:
        problems.append(f"{claim_key(number)} is missing")
    followed = record if isinstance(record, AttemptRecord) and len(nonces) == 1 else None
    return Attempt(number, followed, nonces, tuple(problems), is_pending=record is None)


def newest_record(attempts: Mapping[int, Attempt]) -> AttemptRecord | None:
    """The record that readers follow: that of the newest attempt that has a sound one."""
    records = (attempts[number].record for number in sorted(attempts, reverse=True))
    return next((record for record in records if record is not None), None)
