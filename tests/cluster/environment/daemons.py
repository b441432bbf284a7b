"""Processes that outlive the command which starts them, found again by a file with their number.

The file holds the start time, too: the two name one process for good, so a number that the kernel has given
away since is never signalled.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_POLL_SECONDS = 0.1
# In /proc/PID/stat, counted after the name, which may itself hold spaces.
_STATE, _START_TIME = 0, 19


def observe_start_time(pid: int) -> str | None:
    """When the process began, in the kernel's ticks; None if it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[_STATE] == "Z" else fields[_START_TIME]


@dataclass(frozen=True)
class Daemon:
    """One process, known by the file `pid_file`."""

    pid_file: Path

    @property
    def pid(self) -> int | None:
        """Its number, if that very process still runs."""
        try:
            pid, start_time = self.pid_file.read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if observe_start_time(int(pid)) == start_time else None

    def start(
        self,
        arguments: Sequence[str | Path],
        *,
        log: Path,
        before: Callable[[], None] | None = None,
    ) -> int:
        """Start it in a session of its own; `before` runs in the child. Its number."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                [str(argument) for argument in arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
                preexec_fn=before,  # noqa: PLW1509 this process has no threads yet
            )
        process.returncode = 0  # it is to outlive this object, which would otherwise warn of that
        self.adopt(process.pid)
        return process.pid

    def adopt(self, pid: int) -> None:
        """Know a process that somebody else started."""
        self.pid_file.write_text(f"{pid} {observe_start_time(pid)}\n")

    def stop(self, *, grace_seconds: float) -> None:
        """Ask it to end, and make it end after the grace; 0 at once."""
        pid = self.pid
        if pid is not None:
            deadline = time.monotonic() + grace_seconds
            _signal(pid, signal.SIGTERM if grace_seconds else signal.SIGKILL)
            while self.pid == pid:
                if time.monotonic() > deadline:
                    _signal(pid, signal.SIGKILL)
                time.sleep(_POLL_SECONDS)
                _reap(pid)
        self.pid_file.unlink(missing_ok=True)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _reap(pid: int) -> None:
    """A child of this very process stays listed until it is asked for."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
