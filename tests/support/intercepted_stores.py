"""Stores around stores: they tell of each change, and fail where a test wants it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from synthray.errors import Unavailable
from synthray.storage import ByteRange, ObjectInfo, ObjectStore


class InterceptedStore:
    """A real store; `before` and `after` hear of each write, create and delete, and may raise.

    Objects are deleted one by one, since no store deletes many at once.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.changes: list[str] = []

    @property
    def uri(self) -> str:
        return self._store.uri

    def before(self, _key: str) -> None:
        """Called with nothing done yet."""

    def after(self, _key: str) -> None:
        """Called when it is done and nobody has heard."""

    @contextmanager
    def _change(self, key: str) -> Iterator[None]:
        self.before(key)
        yield
        self.changes.append(key)
        self.after(key)

    def write(self, key: str, data: bytes | bytearray | memoryview) -> None:
        with self._change(key):
            self._store.write(key, data)

    def create(self, key: str, data: bytes) -> None:
        with self._change(key):
            self._store.create(key, data)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with self._change(key):
                self._store.delete([key])

    def read(self, key: str) -> bytes:
        return self._store.read(key)

    def read_range(self, byte_range: ByteRange) -> bytes:
        return self._store.read_range(byte_range)

    def read_ranges(self, byte_ranges: Sequence[ByteRange]) -> list[bytes]:
        return self._store.read_ranges(byte_ranges)

    def read_into(
        self, key: str, buffer: memoryview, *, start: int = 0, size_bytes: int | None = None
    ) -> None:
        self._store.read_into(key, buffer, start=start, size_bytes=size_bytes)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._store.list(prefix)

    def stat(self, key: str) -> ObjectInfo | None:
        return self._store.stat(key)

    def discard_unfinished(self, is_doomed: Callable[[str], bool]) -> Sequence[str]:
        return self._store.discard_unfinished(is_doomed)

    def child(self, path: str) -> ObjectStore:
        return self._store.child(path)


class FailingStore(InterceptedStore):
    """Refuses what is written, while it is away."""

    is_away = False

    def before(self, _key: str) -> None:
        if self.is_away:
            raise Unavailable("the store went away")


class VanishingStore(InterceptedStore):
    """Goes away after `changes` changes; `heard`: whether the last one is still answered."""

    def __init__(self, store: ObjectStore, changes: int, *, heard: bool = True) -> None:
        super().__init__(store)
        self._left, self._heard = changes, heard

    def before(self, _key: str) -> None:
        if self._left == 0:
            raise Unavailable("the store went away")
        self._left -= 1

    def after(self, _key: str) -> None:
        if self._left == 0 and not self._heard:
            raise Unavailable("the answer was lost")

    def recover(self) -> None:
        self._left = -1
