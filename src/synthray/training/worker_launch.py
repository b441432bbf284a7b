"""The supervisor's end of a worker process: have the node's standby fork it, talk to it, end it.

No torch and no Ray: whoever supervises stays small, and is there when the worker is not.
"""

import os
import select
import signal
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from synthray.errors import Unavailable
from synthray.training.standby_client import FORK_SECONDS, StandbyClient
from synthray.training.worker_task import WorkerTask

_ANSWER_SECONDS = 1.0
_STACKS_POLL_SECONDS = 0.05
_END_SECONDS = 10.0


class WorkerStart:
    """A worker process that is coming up; to be polled, since who waits is taken for lost."""

    def __init__(
        self, standby: StandbyClient, task: WorkerTask, *, log: Path, environment: Mapping[str, str]
    ) -> None:
        self._standby = standby
        self._task = task
        self._log = log
        title = f"synthray worker of {task.settings.run}: attempt {task.attempt.number}, rank {task.rank}"
        self._request = {"environment": dict(environment), "log": str(log), "title": title}
        self._connection: Connection | None = None
        self._deadline = time.monotonic() + FORK_SECONDS
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def poll(self) -> "WorkerProcess | None":
        """The worker process once it is there; raises Unavailable if the standby forks none in time."""
        if time.monotonic() > self._deadline:
            self.cancel()
            self._standby.replace()
            raise Unavailable(self._standby.describe_silence())
        if self._connection is None:
            self._connection = self._standby.ask(self._request)
            if self._connection is None:
                self._standby.start()
                return None
        try:
            if not self._connection.poll(0):
                return None
            process_id: int = self._connection.recv()
        except (EOFError, OSError):
            self.cancel()  # the standby died in between; the next round starts another
            return None
        connection, self._connection = self._connection, None
        connection.send(self._task)
        return WorkerProcess(self._standby, connection, process_id, log=self._log)

    def cancel(self) -> None:
        """Want it no more: a worker whose pipe is closed ends by itself."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class WorkerProcess:
    """A worker process of this node, and the pipe to it."""

    def __init__(self, standby: StandbyClient, connection: Connection, process_id: int, *, log: Path) -> None:
        self._standby = standby
        self._connection = connection
        self._log = log
        self.process_id = process_id
        self._handle = os.pidfd_open(process_id)

    def receive(self, timeout_seconds: float) -> list[object]:
        """The worker's messages since the last call; raises EOFError when it is gone."""
        messages: list[object] = []
        wait_seconds = timeout_seconds
        try:
            while self._connection.poll(wait_seconds):
                messages.append(self._connection.recv())
                wait_seconds = 0.0
        except (EOFError, OSError):
            if not messages:
                raise EOFError from None
        return messages

    def send(self, message: object) -> None:
        """Tell the worker something; one that is gone misses nothing."""
        try:
            self._connection.send(message)
        except OSError:
            return

    def kill(self) -> None:
        """SIGKILL it, stopped or not."""
        try:
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        except ProcessLookupError:
            return

    def dump_stacks(self) -> str:
        """What its threads are doing, by faulthandler; or why that can't be told."""
        state = _read_process_state(self.process_id)
        if state in ("T", "t"):
            return "the process is stopped (SIGSTOP)"
        start = self._log.stat().st_size if self._log.exists() else 0
        try:
            signal.pidfd_send_signal(self._handle, signal.SIGUSR1)
        except ProcessLookupError:
            return "the process is gone"
        deadline = time.monotonic() + _ANSWER_SECONDS
        while time.monotonic() < deadline:
            time.sleep(_STACKS_POLL_SECONDS)
            with self._log.open("rb") as log:
                log.seek(start)
                stacks = log.read().decode(errors="replace")
            if stacks.endswith("\n"):
                return stacks
        return f"no answer (process state {state})"

    def describe_end(self) -> str:
        """How it ended, for people; only for one that has."""
        # A dying process closes its pipe before its parent can learn how it died.
        select.select([self._handle], [], [], _ANSWER_SECONDS)
        code = None
        if (connection := self._standby.ask({"exit_of": self.process_id})) is not None:
            with connection:
                try:
                    code = connection.recv() if connection.poll(_ANSWER_SECONDS) else None
                except (EOFError, OSError):
                    code = None
        if code is None:
            return "ended"
        return f"was killed by {_name_signal(-code)}" if code < 0 else f"exited with code {code}"

    def close(self) -> None:
        """End it if it still runs, wait until its memory and its GPU are free, and let go of the pipe."""
        self.kill()
        select.select([self._handle], [], [], _END_SECONDS)
        self._connection.close()
        os.close(self._handle)


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _read_process_state(process_id: int) -> str:
    """The state letter of /proc (R, S, D, T, Z); empty for a process that is gone."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
