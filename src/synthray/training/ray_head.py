"""Ray's head as a child of the driver, started by the line that KubeRay generates.

It has a session of its own, so that a SIGTERM to the pod reaches the driver alone and Ray stays until the
state is saved. It must not import Ray.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from synthray.storage.child_process import ChildProcess
from synthray.training.ray_environment import RAY_ENVIRONMENT

COMMAND_VARIABLE: Final = "KUBERAY_GEN_RAY_START_CMD"
ADDRESS_VARIABLE: Final = "RAY_ADDRESS"
DEFAULT_ADDRESS: Final = "127.0.0.1:6379"

_START_TRIES = 3
_GRACE_SECONDS = 3.0
_KNOCK_SECONDS = 0.5

_log = logging.getLogger(__name__)


class RayHead:
    """While entered, Ray's head runs; if it ends by itself, a thread calls `lose` with a few words.

    Until somebody has joined it, it is started again: on a busy node Ray may miss its own deadline of 30 s.
    """

    def __init__(self, command: str, environment: Mapping[str, str], lose: Callable[[str], None]) -> None:
        self._command = command
        self._environment = {**environment, **RAY_ENVIRONMENT}
        self._lose = lose
        self._is_needed, self._is_joined = True, False
        self._process: ChildProcess | None = None

    def __enter__(self) -> Self:
        self._process = self._start()
        threading.Thread(target=self._watch, args=(self._process,), name="ray-head", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.let_go()
        if self._process is not None:
            self._process.stop(grace_seconds=_GRACE_SECONDS)

    def wait_listening(self, address: str) -> None:
        """Return once somebody listens at `address`; who waits for ever hears from `lose`."""
        host, _, port = address.rpartition(":")
        while True:
            try:
                socket.create_connection((host, int(port)), _KNOCK_SECONDS).close()
            except OSError:
                time.sleep(_KNOCK_SECONDS)
            else:
                return

    def note_joined(self) -> None:
        """From now on its end is the end of the attempt."""
        self._is_joined = True

    def let_go(self) -> None:
        """Nothing depends on it any more: if it ends now, that is no news."""
        self._is_needed = False

    def _start(self) -> ChildProcess:
        return ChildProcess(
            # A shell, as in KubeRay's own pods: the line may hold quoted JSON.
            ["/bin/bash", "-c", self._command],
            folder=Path(os.sep),
            log=None,
            environment=self._environment,
        )

    def _watch(self, process: ChildProcess) -> None:
        for tries_left in reversed(range(_START_TRIES)):
            process.wait(threading.TIMEOUT_MAX)
            if not self._is_needed:
                return
            if self._is_joined or not tries_left:
                self._lose(f"Ray's head ended by itself, with exit code {process.exit_code}")
                return
            _log.warning("Ray's head did not come up (exit code %s); once more", process.exit_code)
            self._process = process = self._start()
