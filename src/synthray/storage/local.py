"""An object store in a local folder, for laptops, node caches and tests.

It keeps S3's promises with files: an object is visible whole or not at all (temporary file, fsync, rename),
of racing creators exactly one wins (a hard link never replaces), and empty folders do not exist. It must not
import any S3 library.
"""

import errno
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from synthray.errors import InvalidInput, Reason, SynthrayError, Unavailable
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

_UNFINISHED_PREFIX = ".synthray-unfinished-"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EROFS, errno.EACCES, errno.EPERM}
_MISSHAPEN = {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
# Another writer's delete may remove a folder between its making and its use; each try loses such a race anew.
_FOLDER_RACE_TRIES = 16


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
        with self._request("get", key) as path:
            data = path.read_bytes()
        STORAGE_COUNTERS.count_request("get", "ok", read_bytes=len(data))
        return data

    def read_range(self, byte_range: ByteRange) -> bytes:
        """See ObjectStore."""
        with self._request("get", byte_range.key) as path, path.open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), byte_range.size_bytes, byte_range.start)
            size_bytes = os.fstat(file.fileno()).st_size
        if len(data) != byte_range.size_bytes:
            raise wrong_size(
                self.uri, byte_range.key, wanted_bytes=byte_range.end, found=f"{size_bytes}; it was cut"
            )
        STORAGE_COUNTERS.count_request("get", "ok", read_bytes=len(data))
        return data

    def read_ranges(self, byte_ranges: Sequence[ByteRange]) -> list[bytes]:
        """See ObjectStore."""
        return [self.read_range(byte_range) for byte_range in byte_ranges]

    def read_into(self, key: str, buffer: memoryview) -> None:
        """See ObjectStore."""
        target = buffer.cast("B")
        with self._request("get", key) as path, path.open("rb", buffering=0) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            filled = 0
            if size_bytes == len(target):
                while count := file.readinto(target[filled:]):
                    filled += count
        if filled != len(target):
            raise wrong_size(self.uri, key, wanted_bytes=len(target), found=str(size_bytes))
        STORAGE_COUNTERS.count_request("get", "ok", read_bytes=filled)

    def write(self, key: str, data: Buffer) -> None:
        """See ObjectStore."""
        with self._request("put", key) as path, _unfinished(path, data) as unfinished:
            unfinished.rename(path)
            _sync_folder(path.parent)
        STORAGE_COUNTERS.count_request("put", "ok")

    def create(self, key: str, data: bytes) -> None:
        """See ObjectStore."""
        try:
            with self._request("create", key) as path, _unfinished(path, data) as unfinished:
                _link(unfinished, path)
                _sync_folder(path.parent)
        except FileExistsError:
            STORAGE_COUNTERS.count_request("create", "ok")
            raise already_exists(self.uri, key) from None
        STORAGE_COUNTERS.count_request("create", "ok")

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        check_prefix(prefix)
        folder = self._root / prefix.rpartition("/")[0]
        found = []
        for parent, _, names in os.walk(folder):
            for name in names:
                path = Path(parent, name)
                key = path.relative_to(self._root).as_posix()
                if key.startswith(prefix) and not name.startswith(_UNFINISHED_PREFIX):
                    found.append((key, path))
        STORAGE_COUNTERS.count_request("list", "ok")
        for key, path in sorted(found):
            with suppress(FileNotFoundError):  # deleted since it was listed
                yield _info(key, path)

    def stat(self, key: str) -> ObjectInfo | None:
        """See ObjectStore."""
        info = None
        path = self._root / check_key(key)
        with suppress(FileNotFoundError, NotADirectoryError), _foreseen(path):
            info = _info(key, path) if not path.is_dir() else None
        STORAGE_COUNTERS.count_request("head", "ok")
        return info

    def delete(self, keys: Iterable[str]) -> None:
        """See ObjectStore."""
        for key in keys:
            path = self._root / check_key(key)
            with suppress(FileNotFoundError, NotADirectoryError), _foreseen(path):
                path.unlink()
                self._remove_empty_folders(path.parent)
            STORAGE_COUNTERS.count_request("delete", "ok")

    def child(self, path: str) -> ObjectStore:
        """See ObjectStore."""
        return LocalStore(self._root / check_key(path))

    @contextmanager
    def _request(self, operation: str, key: str) -> Iterator[Path]:
        """The key's path; failures inside become synthray's own and are counted (successes by the caller)."""
        path = self._root / check_key(key)
        try:
            with _foreseen(path):
                yield path
        except FileNotFoundError:
            STORAGE_COUNTERS.count_request(operation, "error")
            raise not_found(self.uri, key) from None
        except SynthrayError:
            STORAGE_COUNTERS.count_request(operation, "error")
            raise

    def _remove_empty_folders(self, folder: Path) -> None:
        with suppress(OSError):  # the first that is not empty ends it
            while folder != self._root:
                folder.rmdir()
                folder = folder.parent


@contextmanager
def _foreseen(path: Path) -> Iterator[None]:
    """Turn what an operating system refuses into failures that name the path and the remedy."""
    try:
        yield
    except (FileNotFoundError, FileExistsError, NotADirectoryError):
        raise
    except OSError as error:
        raise explain_os_error(error, path) from error


def explain_os_error(error: OSError, path: Path) -> SynthrayError:
    """The failure that an operating system's error on a path amounts to."""
    if error.errno in _FULL:
        message = f"no space left for {path}; free some, or name a folder on a larger disk"
        return Unavailable(message, reason=Reason.STORAGE_FULL)
    if error.errno in _DENIED:
        why = "its file system is read-only" if error.errno == errno.EROFS else "permission is denied"
        return InvalidInput(f"{path} cannot be used: {why}; change that, or name another folder")
    if error.errno in _MISSHAPEN:
        return InvalidInput(f"{path} cannot be used: {os.strerror(error.errno)}; name another folder")
    return Unavailable(f"{path} cannot be used now: {error.strerror or error}")


@contextmanager
def _unfinished(path: Path, data: Buffer) -> Iterator[Path]:
    """A file beside `path` that durably holds the data under a name that listings leave out."""
    unfinished = path.with_name(f"{_UNFINISHED_PREFIX}{os.getpid()}-{secrets.token_hex(8)}")
    try:
        for last_try in [False] * _FOLDER_RACE_TRIES + [True]:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with unfinished.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                break
            except FileNotFoundError:
                if last_try:
                    raise
        yield unfinished
    except (NotADirectoryError, FileExistsError) as error:
        if isinstance(error, FileExistsError) and error.filename2 is not None:
            raise  # the conditional create's own conflict
        raise InvalidInput(f"{path} cannot be written: a file stands where a folder should be") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


def _link(source: Path, path: Path) -> None:
    try:
        path.hardlink_to(source)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}:
            raise
        raise InvalidInput(
            f"{path} cannot be created exactly once: its file system has no hard links; name a folder on one that has",
            reason=Reason.CONDITIONAL_WRITES_UNSUPPORTED,
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename or a link in this folder outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _info(key: str, path: Path) -> ObjectInfo:
    status = path.stat()
    return ObjectInfo(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
