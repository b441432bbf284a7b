"""Ray's head as a child of the driver, started by the line that KubeRay generates.

It has a session of its own, so that a SIGTERM to the pod reaches the driver alone and Ray stays until the
state is saved. It must not import Ray.
"""

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

_GRACE_SECONDS = 3.0
_KNOCK_SECONDS = 0.5


class RayHead:
    """While entered, Ray's head runs; if it ends by itself, a thread calls `lose` with a few words."""

    def __init__(self, command: str, environment: Mapping[str, str], lose: Callable[[str], None]) -> None:
        self._command = command
        self._environment = {**environment, **RAY_ENVIRONMENT}
        self._lose = lose
        self._is_needed = True
        self._process: ChildProcess | None = None

    def __enter__(self) -> Self:
        self._process = ChildProcess(
            # A shell, as in KubeRay's own pods: the line may hold quoted JSON.
            ["/bin/bash", "-c", self._command],
            folder=Path(os.sep),
            log=None,
            environment=self._environment,
        )
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

    def let_go(self) -> None:
        """Nothing depends on it any more: if it ends now, that is no news."""
        self._is_needed = False

    def _watch(self, process: ChildProcess) -> None:
        process.wait(threading.TIMEOUT_MAX)
        if self._is_needed:
            self._lose(f"Ray's head ended by itself, with exit code {process.exit_code}")
