"""Objects in memory with S3's promises: whole or not at all, one creator wins, reads see what was written."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from synthray.storage import ByteRange, ObjectInfo
from synthray.storage.objects import already_exists, check_key, check_prefix, not_found, wrong_size


class MemoryStore:
    """`objects` holds what is stored, by key; a child sees the same ones under its prefix."""

    def __init__(self, objects: dict[str, bytes] | None = None, uri: str = "memory:", root: str = "") -> None:
        self.objects: dict[str, bytes] = {} if objects is None else objects
        self._uri, self._root = uri, root
        self._lock = threading.Lock()

    @property
    def uri(self) -> str:
        return f"{self._uri}/{self._root}".rstrip("/")

    def read(self, key: str) -> bytes:
        try:
            return self.objects[self._root + check_key(key)]
        except KeyError:
            raise not_found(f"{self.uri}/{key}") from None

    def read_range(self, byte_range: ByteRange) -> bytes:
        data = self.read(byte_range.key)
        if byte_range.end > len(data):
            place = f"{self.uri}/{byte_range.key}"
            raise wrong_size(place, wanted=f"at least {byte_range.end}", found=str(len(data)))
        return data[byte_range.start : byte_range.end]

    def read_ranges(self, byte_ranges: Sequence[ByteRange]) -> list[bytes]:
        return [self.read_range(byte_range) for byte_range in byte_ranges]

    def read_into(
        self, key: str, buffer: memoryview, *, start: int = 0, size_bytes: int | None = None
    ) -> None:
        data, target = self.read(key), buffer.cast("B")
        wanted_bytes = len(target) if size_bytes is None else size_bytes
        if len(data) != wanted_bytes:
            raise wrong_size(f"{self.uri}/{key}", wanted=str(wanted_bytes), found=str(len(data)))
        target[:] = data[start : start + len(target)]

    def write(self, key: str, data: bytes | bytearray | memoryview) -> None:
        self.objects[self._root + check_key(key)] = bytes(data)

    def create(self, key: str, data: bytes) -> None:
        with self._lock:
            if self._root + check_key(key) in self.objects:
                raise already_exists(f"{self.uri}/{key}")
            self.write(key, data)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        whole = self._root + check_prefix(prefix)
        for key in sorted(key for key in list(self.objects) if key.startswith(whole)):
            yield ObjectInfo(key.removeprefix(self._root), len(self.objects[key]), None)

    def stat(self, key: str) -> ObjectInfo | None:
        data = self.objects.get(self._root + check_key(key))
        return None if data is None else ObjectInfo(key, len(data), None)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.objects.pop(self._root + check_key(key), None)

    def discard_unfinished(self, _is_doomed: Callable[[str], bool]) -> Sequence[str]:
        return []

    def child(self, path: str) -> "MemoryStore":
        return MemoryStore(self.objects, self._uri, f"{self._root}{check_key(path)}/")
