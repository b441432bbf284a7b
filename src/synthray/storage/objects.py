"""What every object store does, whatever stands behind it.

The rest of synthray knows only this protocol, so that a folder on a laptop and a bucket on a cluster are
the same to it. Keys are relative to the store's root, separated by "/"; stores share one rule for them here,
because some keys come out of manifests and may not lead out of the root. This module imports no S3 library.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from synthray.errors import InvalidInput, NotFound, Reason, SynthrayError, VerificationFailed

CHUNK_BYTES = 16 * 2**20
"""Larger objects move in pieces of this size: each piece is retried by itself and bounds the memory used."""

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True)
class ObjectInfo:
    """One stored object; `modified` is the store's own clock."""

    key: str
    size_bytes: int
    modified: datetime | None


@dataclass(frozen=True)
class ByteRange:
    """The bytes [start, end) of one object."""

    key: str
    start: int
    end: int

    @property
    def size_bytes(self) -> int:
        """How many bytes the range holds."""
        return self.end - self.start


class ObjectExists(SynthrayError):
    """A conditional create found an object of its key, by another creator or by a try of its own.

    The answer to a create that succeeded can be lost, and then a second try conflicts with the first. Who
    must know puts a nonce into the object and reads it back.
    """

    exit_code = 2
    default_reason = Reason.OBJECT_EXISTS


class ObjectStore(Protocol):
    """Objects under a root `uri`, without a trailing slash; synchronous and thread-safe.

    Every method raises Unavailable after the store's deadline of unbroken passing trouble, InvalidInput for
    rejected credentials or an impossible key, and NotFound(BUCKET_MISSING) where the bucket does not exist.
    """

    @property
    def uri(self) -> str:
        """The root: "s3://bucket/prefix" or "/absolute/folder"."""
        ...

    def read(self, key: str) -> bytes:
        """The whole object in one request; NotFound if there is none."""
        ...

    def read_range(self, byte_range: ByteRange) -> bytes:
        """Exactly the range's bytes; VerificationFailed if the object is too short for them."""
        ...

    def read_ranges(self, byte_ranges: Sequence[ByteRange]) -> list[bytes]:
        """The ranges in their order, fetched concurrently."""
        ...

    def read_into(
        self, key: str, buffer: memoryview, *, start: int = 0, size_bytes: int | None = None
    ) -> None:
        """Fill a writable buffer with the object's bytes from `start`, straight into place.

        The object must hold exactly `size_bytes`, or what the buffer holds where none is given, else
        VerificationFailed.
        """
        ...

    def write(self, key: str, data: Buffer) -> None:
        """Store an object, replacing one of this key; it is visible whole or not at all."""
        ...

    def create(self, key: str, data: bytes) -> None:
        """Store an object only if none of this key exists: of racing creators exactly one stores its bytes.

        Raises ObjectExists if there is one.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key starts with the prefix, at any depth, sorted by key."""
        ...

    def stat(self, key: str) -> ObjectInfo | None:
        """What is stored under the key, or None."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; missing ones are fine."""
        ...

    def discard_unfinished(self, is_doomed: Callable[[str], bool]) -> Sequence[str]:
        """Drop what writers left half written of those keys that are `is_doomed`; returns these keys.

        Half written: uploads in pieces that were never completed, temporary files. They are no objects.
        """
        ...

    def child(self, path: str) -> "ObjectStore":
        """The same store rooted at a deeper path."""
        ...


def check_key(key: str) -> str:
    """The key itself; InvalidInput if it could leave the root or mean different things to two stores."""
    if any(part in {"", ".", ".."} for part in key.split("/")) or "\0" in key:
        raise InvalidInput(
            f"object key {key!r} is not a relative path; use names separated by single slashes"
        )
    return key


def check_prefix(prefix: str) -> str:
    """The prefix itself, by the rule of keys; it may be empty and end within a name or with a slash."""
    if prefix:
        check_key(prefix.removesuffix("/"))
    return prefix


def not_found(place: str) -> NotFound:
    """The failure for an object that is missing; `place` is its full URI."""
    return NotFound(f"{place} does not exist")


def already_exists(place: str) -> ObjectExists:
    """The failure for a conditional create that came second."""
    return ObjectExists(f"{place} exists already")


def wrong_size(place: str, *, wanted: str, found: str) -> VerificationFailed:
    """The failure for an object whose size is not what its reader was promised."""
    return VerificationFailed(f"{place} should hold {wanted} bytes and holds {found}")
