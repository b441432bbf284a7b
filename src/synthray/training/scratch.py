"""A driver's folder for files that only live as long as it does, and what killed drivers left behind.

Who is killed removes nothing. So each folder holds a lock that ends with its driver, and the next driver on
the machine removes the folders that nobody holds. No torch, no Ray.
"""

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

_PREFIX = "synthray-"
_LOCK_NAME = "driver.lock"
# A folder that is being made has no lock that anybody holds yet.
_NEW_SECONDS = 60.0
_KEPT_ATTEMPTS = 20
_WORKER_LOG = re.compile(r"attempt-(\d+)-rank-\d+\.log")


@contextmanager
def open_scratch(run: str, parent: Path | None = None) -> Iterator[Path]:
    """A folder for the time of the context; first, those of drivers that were killed are removed."""
    parent = parent or Path(tempfile.gettempdir())
    remove_abandoned(parent)
    with (
        tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{run}-", dir=parent) as name,
        (Path(name) / _LOCK_NAME).open("w") as lock,
    ):
        flock(lock, LOCK_EX | LOCK_NB)
        yield Path(name)


def remove_abandoned(parent: Path) -> None:
    """Remove the scratch folders in `parent` whose drivers are gone."""
    for lock_file in parent.glob(f"{_PREFIX}*/{_LOCK_NAME}"):
        try:
            with lock_file.open("r+") as lock:
                flock(lock, LOCK_EX | LOCK_NB)
                if time.time() - lock_file.stat().st_mtime > _NEW_SECONDS:
                    shutil.rmtree(lock_file.parent, ignore_errors=True)
        except OSError:
            continue  # held, or another user's


def prune_worker_logs(logs: Path) -> None:
    """Remove the workers' logs of all but the newest attempts."""
    by_attempt: dict[int, list[Path]] = {}
    for path in logs.glob("attempt-*.log"):
        if (match := _WORKER_LOG.fullmatch(path.name)) is not None:
            by_attempt.setdefault(int(match[1]), []).append(path)
    for attempt in sorted(by_attempt)[:-_KEPT_ATTEMPTS]:
        for path in by_attempt[attempt]:
            path.unlink(missing_ok=True)
