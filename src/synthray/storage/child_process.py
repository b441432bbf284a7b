"""A child process that never outlives this one, however this one ends.

PR_SET_PDEATHSIG does it, with two traps that are handled here: it must be set in the child before exec, and
Python code between fork and exec is unsafe in a process with threads, so a tiny interpreter sets it and turns
into the program; and it fires when the thread that started the child ends, so a thread of its own starts
the child and stays with it.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

_TRAMPOLINE = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent process has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""


class ChildProcess:
    """A running program in a session of its own, so that Ctrl-C in the terminal doesn't reach it.

    Its output goes to `log`, or where this process's standard error goes.
    """

    def __init__(
        self, arguments: Sequence[str], *, folder: Path, log: Path | None, environment: Mapping[str, str]
    ) -> None:
        self._started = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: OSError | None = None
        # An event, since Ctrl-C during Thread.join makes Python 3.11 believe that the thread has ended.
        self._ended = threading.Event()
        threading.Thread(
            target=self._keep, args=(list(arguments), folder, log, dict(environment)), daemon=True
        ).start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    @property
    def pid(self) -> int:
        """The process's number; the trampoline keeps it when it becomes the program."""
        return self._running().pid

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""
        return self._running().returncode

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return not self._ended.is_set()

    def stop(self, *, grace_seconds: float) -> None:
        """Ask it to end, and make it and what is left of its session's group end after the grace."""
        self._running().terminate()
        self._ended.wait(grace_seconds)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._ended.wait()

    def wait(self, timeout_seconds: float) -> bool:
        """Whether it ended within the time."""
        return self._ended.wait(timeout_seconds)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the child process was never started")
        return self._process

    def _keep(
        self, arguments: list[str], folder: Path, log: Path | None, environment: dict[str, str]
    ) -> None:
        try:
            with log.open("ab") if log else nullcontext(sys.stderr) as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _TRAMPOLINE, str(os.getpid()), *arguments],
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except OSError as error:
            self._failure = error
            return
        finally:
            self._started.set()
        self._process.wait()
        self._ended.set()
