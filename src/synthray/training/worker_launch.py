"""The supervisor's end of a worker process: start it from the node's standby, talk to it, end it.

No torch and no Ray: whoever supervises stays small, and is there when the worker is not.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from synthray.errors import Unavailable
from synthray.training.standby import SOCKET_NAME
from synthray.training.worker_task import WorkerTask

_STANDBY_DEADLINE_SECONDS = 300.0
_RETRY_SECONDS = 0.05
_STACKS_SECONDS = 1.0
_END_SECONDS = 10.0


class StandbyAddress:
    """Where this node's standby listens; starts it when nobody answers."""

    def __init__(self, directory: Path, lifeline_process_id: int) -> None:
        self._directory = directory
        self._lifeline_process_id = lifeline_process_id
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._starting: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start a standby; a second one of a directory ends at once."""
        with (self._directory / "standby.log").open("ab") as log:
            self._starting = subprocess.Popen(
                [
                    *(sys.executable, "-m", "synthray.training.standby"),
                    *(str(self._directory), str(self._lifeline_process_id)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def connect(self, request: dict[str, Any]) -> Connection:
        """Send a request to the standby; raises Unavailable if none comes up."""
        deadline = time.monotonic() + _STANDBY_DEADLINE_SECONDS
        while time.monotonic() < deadline:
            client = socket.socket(socket.AF_UNIX)
            try:
                client.connect(str(self._directory / SOCKET_NAME))
                connection = Connection(client.detach())
                connection.send(request)
            except (FileNotFoundError, ConnectionError):
                client.close()
                if self._starting is None or self._starting.poll() is not None:
                    self.start()
                time.sleep(_RETRY_SECONDS)
                continue
            return connection
        raise Unavailable(
            f"no worker process could be started within {_STANDBY_DEADLINE_SECONDS:.0f} s; "
            f"see {self._directory}/standby.log"
        )


class WorkerProcess:
    """A worker process of this node, and the pipe to it."""

    def __init__(
        self, standby: StandbyAddress, task: WorkerTask, *, log: Path, environment: Mapping[str, str]
    ) -> None:
        self._standby = standby
        self._log = log
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._connection = standby.connect({"environment": dict(environment), "log": str(log)})
        self.process_id: int = self._connection.recv()
        self._handle = os.pidfd_open(self.process_id)
        self._connection.send(task)

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
        deadline = time.monotonic() + _STACKS_SECONDS
        while time.monotonic() < deadline:
            time.sleep(_RETRY_SECONDS)
            with self._log.open("rb") as log:
                log.seek(start)
                stacks = log.read().decode(errors="replace")
            if stacks.endswith("\n"):
                return stacks
        return f"no answer (process state {state})"

    def describe_end(self) -> str:
        """How it ended, for people; only for one that has."""
        try:
            with self._standby.connect({"exit_of": self.process_id}) as connection:
                code = connection.recv() if connection.poll(_STACKS_SECONDS) else None
        except (EOFError, OSError, Unavailable):
            code = None
        if code is None:
            return "ended"
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"

    def close(self) -> None:
        """End it if it still runs, wait until its memory and its GPU are free, and let go of the pipe."""
        self.kill()
        select.select([self._handle], [], [], _END_SECONDS)
        self._connection.close()
        os.close(self._handle)


def _read_process_state(process_id: int) -> str:
    """The state letter of /proc (R, S, D, T, Z); empty for a process that is gone."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
