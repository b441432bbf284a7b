"""The node's cache of shards: one directory, a bound in bytes, shared by all processes of the node.

Files appear complete or not at all (written beside, then renamed), reservations are made under one `flock`,
and a writer holds a lock on its unfinished file, so the death of any process leaves nothing that the next
one cannot tell and sweep. The cache fills up to its bound and then stays as it is: no thrashing. Shards of
another dataset make room only when no living process uses that dataset. It must not import the storage: it
does not know where shards come from; nor does it vouch for its bytes: readers check every sample's hash.
"""

import fcntl
import logging
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

logger = logging.getLogger(__name__)

_LOCK_NAME = "lock"
_LEASE_NAME = "lease"
_COMPLETE = ".tar"
_UNFINISHED = ".part"
# Far below the usual limit of 1,024 open files, which sockets share.
_MAX_OPEN_SHARDS = 256


class Refusal(Enum):
    """Why no reservation was made: the shard is there, another process is fetching it, or no room is left."""

    PRESENT = "present"
    BUSY = "busy"
    FULL = "full"


@dataclass(frozen=True)
class NodeCache:
    """A directory and the number of bytes that all datasets in it may take together."""

    directory: Path
    max_bytes: int

    def open(self, dataset: str) -> "DatasetCache | None":
        """The cache of one dataset (named by a digest); None, with a warning, if the disk refuses."""
        try:
            return DatasetCache(self.directory, self.max_bytes, dataset)
        except OSError as refused:
            logger.warning("no cache at %s (%s): every image is read from storage", self.directory, refused)
            return None


class Reservation:
    """Room for one shard and the sole right to fetch it, until `commit` or `abandon` or death."""

    def __init__(self, unfinished: Path, descriptor: int) -> None:
        self._unfinished = unfinished
        self._descriptor = descriptor

    def commit(self, data: memoryview) -> None:
        """Write the whole shard and make it visible; raises OSError, with the room given back."""
        try:
            view = data
            while len(view):
                view = view[os.write(self._descriptor, view) :]
            self._unfinished.rename(self._unfinished.with_suffix(_COMPLETE))
        except OSError:
            self.abandon()
            raise
        os.close(self._descriptor)

    def abandon(self) -> None:
        """Give the room back."""
        self._unfinished.unlink(missing_ok=True)
        os.close(self._descriptor)


class _OpenShard:
    """An open file that closes with its last user, so that no thread reads through a reused descriptor."""

    def __init__(self, path: Path) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


class DatasetCache:
    """The cached shards of one dataset; safe for threads, and for processes of one node."""

    def __init__(self, directory: Path, max_bytes: int, dataset: str) -> None:
        self._root = directory
        self._directory = directory / dataset
        self._max_bytes = max_bytes
        self._open_shards: OrderedDict[str, _OpenShard] = OrderedDict()
        self._open_lock = Lock()
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory):
            self._directory.mkdir(exist_ok=True)
            # Held shared until close (or death): it says that this dataset's shards are in use.
            self._lease = os.open(self._directory / _LEASE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            fcntl.flock(self._lease, fcntl.LOCK_SH)
            _sweep_unfinished(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the dataset: its shards stay, and may now make room for another dataset's."""
        with self._open_lock:
            self._open_shards.clear()
        if self._lease >= 0:
            os.close(self._lease)
            self._lease = -1

    def read(self, shard: str, offset: int, length: int) -> bytes | None:
        """Bytes of a cached shard; None if it isn't cached, shorter than `length` if the file is cut."""
        opened = self._opened(shard)
        try:
            return None if opened is None else os.pread(opened.descriptor, length, offset)
        except OSError as broken:
            logger.warning("cached shard %s cannot be read (%s): it is dropped", shard, broken)
            self.drop(shard)
            return None

    def contains(self, shard: str) -> bool:
        """Whether a shard is here, complete."""
        return (self._directory / (shard + _COMPLETE)).exists()

    def drop(self, shard: str) -> None:
        """Remove a shard that turned out to be damaged; a newer copy of it, by another process, stays."""
        with self._open_lock:
            opened = self._open_shards.pop(shard, None)
        path = self._directory / (shard + _COMPLETE)
        # Under the lock, so that no new copy can take the path between the look and the removal.
        with suppress(OSError), _locked(self._root):
            if opened is None or os.fstat(opened.descriptor).st_ino == path.stat().st_ino:
                path.unlink(missing_ok=True)

    def reserve(self, shard: str, size_bytes: int) -> Reservation | Refusal:
        """Claim room for a shard and the right to fetch it; raises OSError if the disk has no room."""
        unfinished = self._directory / (shard + _UNFINISHED)
        with _locked(self._root):
            if self.contains(shard):
                return Refusal.PRESENT
            _sweep_unfinished(self._root)
            if unfinished.exists():
                return Refusal.BUSY
            if not self._make_room(size_bytes):
                return Refusal.FULL
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            reservation = Reservation(unfinished, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                # Takes the blocks now: sizes add up at once, and a full disk is known before the fetch.
                os.posix_fallocate(descriptor, 0, size_bytes)
            except OSError:
                reservation.abandon()
                raise
            return reservation

    def _opened(self, shard: str) -> _OpenShard | None:
        with self._open_lock:
            opened = self._open_shards.get(shard)
            if opened is not None:
                self._open_shards.move_to_end(shard)
                return opened
            try:
                opened = _OpenShard(self._directory / (shard + _COMPLETE))
            except OSError:
                return None
            self._open_shards[shard] = opened
            if len(self._open_shards) > _MAX_OPEN_SHARDS:
                self._open_shards.popitem(last=False)
            return opened

    def _make_room(self, size_bytes: int) -> bool:
        used_bytes = sum(path.stat().st_size for path in _shard_files(self._root))
        if used_bytes + size_bytes <= self._max_bytes:
            return True
        for path in _unused_shards(self._root):
            used_bytes -= path.stat().st_size
            path.unlink()
            if used_bytes + size_bytes <= self._max_bytes:
                return True
        return False


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the cache's lock; the kernel releases it if the process dies."""
    descriptor = os.open(root / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _shard_files(root: Path) -> Iterator[Path]:
    for suffix in (_COMPLETE, _UNFINISHED):
        yield from root.glob(f"*/*{suffix}")


def _unused_shards(root: Path) -> Iterator[Path]:
    """Shards of datasets that no living process holds a lease on."""
    for lease in sorted(root.glob(f"*/{_LEASE_NAME}")):
        if not _is_held(lease):
            yield from sorted(lease.parent.glob(f"*{_COMPLETE}"))


def _sweep_unfinished(root: Path) -> None:
    """Remove unfinished shards whose writer has died: nobody holds their lock."""
    for path in root.glob(f"*/*{_UNFINISHED}"):
        if not _is_held(path):
            path.unlink(missing_ok=True)


def _is_held(path: Path) -> bool:
    """Whether some living process holds a lock on the file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except PermissionError:  # another user's: not ours to judge
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
