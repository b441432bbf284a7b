"""How bytes reach a local disk so that they are there whole or not at all, and what its refusals mean."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from synthray.errors import InvalidInput, Reason, SynthrayError, Unavailable
from synthray.storage.objects import Buffer

UNFINISHED_PREFIX = ".synthray-unfinished-"
"""Files of such names are being written, or were when their writer died; they are no objects."""
# The rest of the name: the writer's process, a nonce and, where it is no longer than this, the final name.
_MAX_EMBEDDED_BYTES = 128

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM}
_MISSHAPEN = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EINVAL,
    errno.ENOTEMPTY,
    errno.EEXIST,
    errno.EFBIG,
}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
# A delete elsewhere may remove a folder that became empty between its making and its use here.
_FOLDER_RACE_TRIES = 16


def explain_os_error(error: OSError, path: Path) -> SynthrayError:
    """What an operating system's error on a path means, with the path and the remedy."""
    if error.errno in _FULL:
        message = f"no space is left for {path}; free some, or name a folder on a larger disk"
        return Unavailable(message, reason=Reason.STORAGE_FULL)
    if error.errno == errno.EROFS:
        return InvalidInput(f"{path} lies on a read-only file system; name another folder")
    if error.errno in _DENIED:
        return InvalidInput(f"{path}: permission is denied; grant it, or name another folder")
    if error.errno in _MISSHAPEN:
        return InvalidInput(f"{path} cannot be used ({error.strerror}); name another folder")
    return Unavailable(f"{path} cannot be used now ({error.strerror or error})")


@contextmanager
def unfinished_file(path: Path, data: Buffer) -> Iterator[Path]:
    """A file beside `path`, in a folder that is made for it, that holds the data durably."""
    final_name = path.name if len(os.fsencode(path.name)) <= _MAX_EMBEDDED_BYTES else ""
    unfinished = path.with_name(f"{UNFINISHED_PREFIX}{os.getpid()}-{secrets.token_hex(8)}-{final_name}")
    try:
        for tries_left in reversed(range(_FOLDER_RACE_TRIES)):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                _write_durably(unfinished, data)
                break
            except FileNotFoundError:
                if not tries_left:
                    raise
        yield unfinished
    finally:
        with suppress(OSError):
            unfinished.unlink()


def final_path(path: Path) -> Path | None:
    """The file that an unfinished one was to become; None for any other file, and where it can't be told."""
    _, marker, rest = path.name.partition(UNFINISHED_PREFIX)
    _, _, final_name = rest.partition("-")[2].partition("-")
    return path.with_name(final_name) if marker and path.name.startswith(marker) and final_name else None


def _write_durably(path: Path, data: Buffer) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def link_once(source: Path, path: Path) -> bool:
    """Give a file its final name unless that is taken; whether it was free."""
    try:
        path.hardlink_to(source)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise InvalidInput(
            f"{path} cannot be created exactly once, for its file system has no hard links; "
            "name a folder on another one",
            reason=Reason.CONDITIONAL_WRITES_UNSUPPORTED,
        ) from error
    return True


def sync_folder(folder: Path) -> None:
    """Make new names in a folder outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
