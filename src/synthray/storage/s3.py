"""An object store in an S3 bucket: keys under a prefix, called from any thread of any process.

What each operation sends is s3_bucket's part, how requests are retried and bounded in time s3_connection's.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from synthray.storage.objects import (
    CHUNK_BYTES,
    Buffer,
    ByteRange,
    ObjectInfo,
    ObjectStore,
    already_exists,
    check_key,
    check_prefix,
    not_found,
    wrong_size,
)
from synthray.storage.s3_bucket import S3Bucket
from synthray.storage.s3_connection import connection_for, together
from synthray.storage.settings import S3Settings

_DELETE_BATCH = 1000  # S3's bound


class S3Store:
    """Objects under `prefix` (no slashes around it, may be empty) of `bucket`."""

    def __init__(self, bucket: str, prefix: str, settings: S3Settings) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._settings = settings

    @property
    def uri(self) -> str:
        """s3://bucket/prefix."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def read(self, key: str) -> bytes:
        """See ObjectStore."""
        bucket = self._open()
        return bucket.connection.run(bucket.get(self._name(key)))

    def read_range(self, byte_range: ByteRange) -> bytes:
        """See ObjectStore."""
        return self.read_ranges([byte_range])[0]

    def read_ranges(self, byte_ranges: Sequence[ByteRange]) -> list[bytes]:
        """See ObjectStore."""
        bucket = self._open()
        buffers = [bytearray(byte_range.size_bytes) for byte_range in byte_ranges]
        fills = [
            bucket.fill(self._name(byte_range.key), byte_range.start, memoryview(buffer))
            for byte_range, buffer in zip(byte_ranges, buffers, strict=True)
            if buffer
        ]
        bucket.connection.run(together(fills))
        return [bytes(buffer) for buffer in buffers]

    def read_into(
        self, key: str, buffer: memoryview, *, start: int = 0, size_bytes: int | None = None
    ) -> None:
        """See ObjectStore."""
        bucket, name = self._open(), self._name(key)
        target = buffer.cast("B")
        wanted_bytes = len(target) if size_bytes is None else size_bytes
        if not target:  # no range lies within an empty object
            info = self.stat(key)
            if info is None:
                raise not_found(f"{self.uri}/{key}")
            if info.size_bytes != wanted_bytes:
                raise wrong_size(f"{self.uri}/{key}", wanted=str(wanted_bytes), found=str(info.size_bytes))
            return
        fills = [
            bucket.fill(name, start + offset, target[offset : offset + CHUNK_BYTES], whole_bytes=wanted_bytes)
            for offset in range(0, len(target), CHUNK_BYTES)
        ]
        bucket.connection.run(together(fills))

    def write(self, key: str, data: Buffer) -> None:
        """See ObjectStore."""
        bucket = self._open()
        bucket.connection.run(bucket.put(self._name(key), memoryview(data).cast("B")))

    def create(self, key: str, data: bytes) -> None:
        """See ObjectStore."""
        bucket = self._open()
        if not bucket.connection.run(bucket.create(self._name(key), data)):
            raise already_exists(f"{self.uri}/{key}")

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        bucket = self._open()
        root = f"{self._prefix}/" if self._prefix else ""
        found = bucket.connection.run(bucket.list(root + check_prefix(prefix)))
        relative = [
            ObjectInfo(info.key.removeprefix(root), info.size_bytes, info.modified)
            for info in found
            if not info.key.endswith("/")  # a folder's marker, left by other tools
        ]
        # Some stores order by folder and not by key.
        return iter(sorted(relative, key=lambda info: info.key))

    def stat(self, key: str) -> ObjectInfo | None:
        """See ObjectStore."""
        bucket = self._open()
        info = bucket.connection.run(bucket.head(self._name(key)))
        return ObjectInfo(key, info.size_bytes, info.modified) if info else None

    def delete(self, keys: Iterable[str]) -> None:
        """See ObjectStore."""
        bucket = self._open()
        names = (self._name(key) for key in keys)
        while batch := list(islice(names, _DELETE_BATCH)):
            bucket.connection.run(bucket.delete(batch))

    def discard_unfinished(self, is_doomed: Callable[[str], bool]) -> Sequence[str]:
        """See ObjectStore."""
        bucket = self._open()
        root = f"{self._prefix}/" if self._prefix else ""
        uploads = bucket.connection.run(bucket.list_uploads(root))
        doomed = [(name, upload) for name, upload in uploads if is_doomed(name.removeprefix(root))]
        bucket.connection.run(together([bucket.end_upload(name, upload) for name, upload in doomed]))
        return [name.removeprefix(root) for name, _ in doomed]

    def child(self, path: str) -> ObjectStore:
        """See ObjectStore."""
        return S3Store(self._bucket, self._name(path), self._settings)

    def _name(self, key: str) -> str:
        return f"{self._prefix}/{check_key(key)}" if self._prefix else check_key(key)

    def _open(self) -> S3Bucket:
        """The bucket by this process's own connection; asked anew each time, for a fork may lie between."""
        return S3Bucket(self._bucket, connection_for(self._settings))
