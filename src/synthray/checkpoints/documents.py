"""JSON documents that carry their own digest, so that a single changed byte is noticed.

Parts are guarded by their manifest; the manifest, the attempts and the run's identity have nobody above
them, so they guard themselves: one field holds the SHA-256 of all others, and only the exact bytes that
`seal` writes are accepted.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from synthray.errors import NotFound, VerificationFailed
from synthray.storage import ByteRange, ObjectStore

_DIGEST_FIELD = "document_sha256"


class DamagedDocument(Exception):
    """These bytes are not what was written; the message says what is wrong with them."""


class Document(BaseModel):
    """A sealed document's content: every field known, typed and immutable."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


DocumentT = TypeVar("DocumentT", bound=Document)


def encode_json(fields: Mapping[str, Any]) -> bytes:
    """One spelling for equal content: sorted keys, UTF-8, no NaN."""
    return json.dumps(fields, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode()


def seal(document: Document) -> bytes:
    """The bytes to store for `document`."""
    fields = document.model_dump(mode="json")
    return encode_json({**fields, _DIGEST_FIELD: hashlib.sha256(encode_json(fields)).hexdigest()})


def unseal(kind: type[DocumentT], data: bytes) -> DocumentT:
    """Read what `seal` wrote; raises DamagedDocument for anything else."""
    try:
        fields = json.loads(data)
        del fields[_DIGEST_FIELD]
        document = kind.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(place) for place in first["loc"]) or "document"
        raise DamagedDocument(f"{where}: {first['msg']}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedDocument("it is not one of our JSON documents") from error
    if seal(document) != data:
        raise DamagedDocument("its content does not match its digest")
    return document


def read_document(store: ObjectStore, key: str, parse: Callable[[bytes], DocumentT]) -> DocumentT:
    """Read and parse one document; a damaged answer is asked for once more, as bytes also flip on the way.

    Raises NotFound, Unavailable, and DamagedDocument if the second answer is damaged too.
    """
    try:
        return parse(store.read(key))
    except DamagedDocument:
        return parse(store.read(key))


def read_documents(
    store: ObjectStore, sizes_bytes: Mapping[str, int], parse: Callable[[str, bytes], DocumentT]
) -> dict[str, DocumentT | DamagedDocument]:
    """Read and parse many small documents at once; those that are damaged come as their damage.

    Keys whose object is gone by now are left out. Raises Unavailable.
    """
    try:
        ranges = [ByteRange(key, 0, size) for key, size in sizes_bytes.items()]
        answers = dict(zip(sizes_bytes, store.read_ranges(ranges), strict=True)) if ranges else {}
    except (NotFound, VerificationFailed):
        answers = {}  # one of them changed since it was listed
    found: dict[str, DocumentT | DamagedDocument] = {}
    for key in sizes_bytes:
        try:
            found[key] = parse(key, answers[key])
        except (KeyError, DamagedDocument):
            try:
                found[key] = read_document(store, key, partial(parse, key))
            except DamagedDocument as damage:
                found[key] = damage
            except NotFound:
                continue
    return found
