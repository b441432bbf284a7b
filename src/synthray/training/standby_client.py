"""How supervisors reach their node's standby: knock, start one where none answers, replace one that hangs.

No torch and no Ray here.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from synthray.training.standby import LOCK_NAME, SOCKET_NAME

FORK_SECONDS = 60.0
_IMPORT_SECONDS = 300.0
_RESTART_SECONDS = 5.0


class StandbyClient:
    """The standby of `directory`; it ends with the process `lifeline_process_id`."""

    def __init__(self, directory: Path, lifeline_process_id: int) -> None:
        self._directory = directory
        self._lifeline_process_id = lifeline_process_id
        self._started_at = -_RESTART_SECONDS
        self._is_warm = False
        self._greeting: Connection | None = None
        self._greeted_at = 0.0
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def start(self) -> None:
        """Start a standby, at most once in a while; a second one of a directory ends at once."""
        if time.monotonic() - self._started_at < _RESTART_SECONDS:
            return
        self._started_at = time.monotonic()
        with (self._directory / "standby.log").open("ab") as log:
            # It detaches itself: Ray kills the children of its workers, and the standby outlives them.
            subprocess.run(
                [
                    *(sys.executable, "-m", "synthray.training.standby"),
                    *(str(self._directory), str(self._lifeline_process_id)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )

    def ask(self, request: dict[str, Any]) -> Connection | None:
        """Send a request; None if nobody takes it."""
        client = socket.socket(socket.AF_UNIX)
        try:
            client.setblocking(False)  # a full backlog is no answer either
            client.connect(str(self._directory / SOCKET_NAME))
            client.setblocking(True)
        except OSError:
            client.close()
            return None
        connection = Connection(client.detach())
        try:
            connection.send(request)
        except OSError:
            connection.close()
            return None
        return connection

    def is_warm(self) -> bool:
        """Whether the standby has imported all that it forks with; brings one up where there is none."""
        if self._is_warm:
            return True
        if self._greeting is None:
            self._greeting, self._greeted_at = self.ask({"exit_of": 0}), time.monotonic()
        if self._greeting is None:
            self.start()
            return False
        try:
            self._is_warm = self._greeting.poll(0)
        except (EOFError, OSError):
            self._greeting = None
            return False
        if self._is_warm or time.monotonic() - self._greeted_at > _IMPORT_SECONDS:
            self._greeting.close()
            self._greeting = None
        if not self._is_warm and self._greeting is None:
            self.replace()
        return self._is_warm

    def replace(self) -> None:
        """End a standby that does not answer; the next who needs one starts it."""
        try:
            process_id = int((self._directory / LOCK_NAME).read_text())
            command = Path(f"/proc/{process_id}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return
        if str(self._directory).encode() in command:
            os.kill(process_id, signal.SIGKILL)

    def describe_silence(self) -> str:
        """What to tell people when no worker can be forked."""
        return (
            f"the standby on this node forked no worker within {FORK_SECONDS:.0f} s; "
            f"see {self._directory}/standby.log"
        )
