"""An object store in a local folder, for laptops, node caches and tests.

It keeps S3's promises with files: an object is visible whole or not at all (temporary file, fsync, rename),
of racing creators exactly one wins (a hard link never replaces), and empty folders do not exist. Unlike S3 it
can't hold both "a" and "a/b". It must not import any S3 library.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from synthray.errors import InvalidInput, SynthrayError
from synthray.storage.local_files import (
    UNFINISHED_PREFIX,
    explain_os_error,
    final_path,
    link_once,
    sync_folder,
    unfinished_file,
)
from synthray.storage.objects import (
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
from synthray.telemetry.storage_counters import STORAGE_COUNTERS

_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class LocalStore:
    """Objects as files under `root`, an absolute folder that is made by the first write."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def uri(self) -> str:
        """The absolute folder."""
        return str(self._root)

    def read(self, key: str) -> bytes:
        """See ObjectStore."""
        with self._reading(key) as path:
            data = path.read_bytes()
        STORAGE_COUNTERS.count_request("get", "ok", read_bytes=len(data))
        return data

    def read_range(self, byte_range: ByteRange) -> bytes:
        """See ObjectStore."""
        key = byte_range.key
        with self._reading(key) as path, path.open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), byte_range.size_bytes, byte_range.start)
            size_bytes = os.fstat(file.fileno()).st_size
        if len(data) != byte_range.size_bytes:
            raise wrong_size(f"{self.uri}/{key}", wanted=f"at least {byte_range.end}", found=str(size_bytes))
        STORAGE_COUNTERS.count_request("get", "ok", read_bytes=len(data))
        return data

    def read_ranges(self, byte_ranges: Sequence[ByteRange]) -> list[bytes]:
        """See ObjectStore."""
        return [self.read_range(byte_range) for byte_range in byte_ranges]

    def read_into(
        self, key: str, buffer: memoryview, *, start: int = 0, size_bytes: int | None = None
    ) -> None:
        """See ObjectStore."""
        target = buffer.cast("B")
        wanted_bytes = len(target) if size_bytes is None else size_bytes
        filled = 0
        with self._reading(key) as path, path.open("rb", buffering=0) as file:
            found_bytes = os.fstat(file.fileno()).st_size
            if found_bytes == wanted_bytes:
                file.seek(start)
                while count := file.readinto(target[filled:]):
                    filled += count
        if found_bytes != wanted_bytes or filled != len(target):
            raise wrong_size(f"{self.uri}/{key}", wanted=str(wanted_bytes), found=str(found_bytes))
        STORAGE_COUNTERS.count_request("get", "ok", read_bytes=filled)

    def write(self, key: str, data: Buffer) -> None:
        """See ObjectStore."""
        with self._writing("put", key) as path, unfinished_file(path, data) as unfinished:
            unfinished.rename(path)
            sync_folder(path.parent)

    def create(self, key: str, data: bytes) -> None:
        """See ObjectStore."""
        with self._writing("create", key) as path, unfinished_file(path, data) as unfinished:
            if not link_once(unfinished, path):
                raise already_exists(f"{self.uri}/{key}")
            sync_folder(path.parent)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        folder = self._root / check_prefix(prefix).rpartition("/")[0]
        found = {}
        for parent, _, names in os.walk(folder, onerror=_raise_unless_absent, followlinks=True):
            for name in names:
                path = Path(parent, name)
                key = path.relative_to(self._root).as_posix()
                if key.startswith(prefix) and not name.startswith(UNFINISHED_PREFIX):
                    found[key] = path
        STORAGE_COUNTERS.count_request("list", "ok")
        for key in sorted(found):
            with suppress(*_ABSENT):  # deleted since it was listed
                yield _info(key, found[key])

    def stat(self, key: str) -> ObjectInfo | None:
        """See ObjectStore."""
        path = self._root / check_key(key)
        info = None
        with suppress(*_ABSENT), _explained(path):
            info = None if path.is_dir() else _info(key, path)
        STORAGE_COUNTERS.count_request("head", "ok")
        return info

    def delete(self, keys: Iterable[str]) -> None:
        """See ObjectStore."""
        for key in keys:
            path = self._root / check_key(key)
            with suppress(*_ABSENT), _explained(path):
                path.unlink()
                self._remove_empty_folders(path.parent)
            STORAGE_COUNTERS.count_request("delete", "ok")

    def discard_unfinished(self, is_doomed: Callable[[str], bool]) -> Sequence[str]:
        """See ObjectStore."""
        discarded = []
        for parent, _, names in os.walk(self._root, onerror=_raise_unless_absent, followlinks=True):
            for name in names:
                path = Path(parent, name)
                final = final_path(path)
                if final is None or not is_doomed(key := final.relative_to(self._root).as_posix()):
                    continue
                with suppress(*_ABSENT), _explained(path):
                    path.unlink()
                    self._remove_empty_folders(path.parent)
                    discarded.append(key)
        STORAGE_COUNTERS.count_request("list", "ok")
        return discarded

    def child(self, path: str) -> ObjectStore:
        """See ObjectStore."""
        return LocalStore(self._root / check_key(path))

    @contextmanager
    def _reading(self, key: str) -> Iterator[Path]:
        """The key's path; what the operating system refuses inside is counted and explained."""
        path = self._root / check_key(key)
        try:
            with _explained(path):
                yield path
        except _ABSENT:
            STORAGE_COUNTERS.count_request("get", "error")
            raise not_found(f"{self.uri}/{key}") from None
        except SynthrayError:
            STORAGE_COUNTERS.count_request("get", "error")
            raise

    @contextmanager
    def _writing(self, operation: str, key: str) -> Iterator[Path]:
        """The key's path; the request's outcome is counted, and what is refused inside is explained."""
        path = self._root / check_key(key)
        try:
            with _explained(path):
                yield path
        except _ABSENT as error:
            STORAGE_COUNTERS.count_request(operation, "error")
            raise InvalidInput(f"{path} cannot be written ({error.strerror}); name another folder") from error
        except SynthrayError:
            STORAGE_COUNTERS.count_request(operation, "error")
            raise
        STORAGE_COUNTERS.count_request(operation, "ok")

    def _remove_empty_folders(self, folder: Path) -> None:
        with suppress(OSError):  # the first that is not empty ends it
            while folder != self._root:
                folder.rmdir()
                folder = folder.parent


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except _ABSENT:
        raise
    except OSError as error:
        raise explain_os_error(error, path) from error


def _raise_unless_absent(error: OSError) -> None:
    if not isinstance(error, _ABSENT):
        raise explain_os_error(error, Path(error.filename)) from error


def _info(key: str, path: Path) -> ObjectInfo:
    status = path.stat()
    return ObjectInfo(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
