"""JSON documents that carry their own digest, so that a single changed byte is noticed.

Parts are guarded by their manifest; the manifest, the attempts and the run's identity have nobody above
them, so they guard themselves: one field holds the SHA-256 of all others, and only the exact bytes that
`seal` writes are accepted.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from synthray.storage import ObjectStore

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
