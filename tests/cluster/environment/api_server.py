"""An API server alone: etcd, kube-apiserver and, where wanted, the controllers; no node, no scheduler.

For tests of the control plane. It stands within seconds on free ports of the loopback, any number side by
side, needs no root, and dies with the process that started it.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from synthray.errors import Unavailable
from synthray.storage.child_process import ChildProcess

from .addresses import choose_endpoints
from .commands import wait_until
from .control_plane import (
    API_SERVER,
    CONTROLLER_MANAGER,
    ETCD,
    READY_SECONDS,
    ControlPlane,
    make_control_plane,
)

_EVICT_AFTER_SECONDS = 300
_NODE_GRACE_SECONDS = 50
# An API server waits for its watchers before it ends; nobody here misses them.
_GRACE_SECONDS = 1.0


class ApiServerAlone:
    """While entered, an API server whose administrator is `kubeconfig`; all its files lie in `folder`.

    `controllers`: service accounts for new namespaces, deletion of namespaces and of what has lost its owner.
    """

    def __init__(self, folder: Path, *, programs: Path, controllers: bool) -> None:
        self._folder = folder
        self._programs = programs
        self._controllers = controllers
        self._control_plane: ControlPlane | None = None
        self._processes: dict[str, ChildProcess] = {}

    @property
    def kubeconfig(self) -> Path:
        """Its administrator's; the same after each restart of the server."""
        return self._folder / "kubeconfig"

    @property
    def pids(self) -> frozenset[int]:
        """The processes that run now."""
        return frozenset(process.pid for process in self._processes.values())

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop_all()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_all()

    def stop_serving(self) -> None:
        """End the API server alone, as an outage does; what it stored stays."""
        self._processes.pop(API_SERVER).stop(grace_seconds=_GRACE_SECONDS)

    def serve_again(self) -> None:
        """Start the API server on the same port; returns when it is ready."""
        plane = self._plane()
        self._launch(API_SERVER, plane.build_api_server_command(evict_after_seconds=_EVICT_AFTER_SECONDS))
        wait_until("the API server", self._is_ready, seconds=READY_SECONDS, logs=self._folder)

    def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._control_plane = make_control_plane(
            programs=self._programs,
            folder=self._folder,
            keys=self._folder / "pki",
            kubeconfig=self.kubeconfig,
            endpoints=choose_endpoints(),
        )
        self._launch(ETCD, self._control_plane.build_etcd_command())
        self.serve_again()
        if self._controllers:
            command = self._control_plane.build_controller_manager_command(
                node_grace_seconds=_NODE_GRACE_SECONDS, secure_port=0
            )
            self._launch(CONTROLLER_MANAGER, command)

    def _launch(self, name: str, command: list[str]) -> None:
        self._processes[name] = ChildProcess(
            command, folder=self._folder, log=self._folder / f"{name}.log", environment=os.environ
        )

    def _is_ready(self) -> bool:
        """Raises Unavailable where a process has ended: its port may have been taken by another just now."""
        for name, process in self._processes.items():
            if not process.is_alive:
                log = self._folder / f"{name}.log"
                last = "\n  ".join(log.read_text(errors="replace").splitlines()[-5:])
                raise Unavailable(f"{name} ended while the API server started; the end of {log}:\n  {last}")
        return self._plane().is_ready()

    def _plane(self) -> ControlPlane:
        if self._control_plane is None:
            raise RuntimeError("ApiServerAlone serves only while it is entered")
        return self._control_plane

    def _stop_all(self) -> None:
        for name in (CONTROLLER_MANAGER, API_SERVER, ETCD):
            if (process := self._processes.pop(name, None)) is not None:
                process.stop(grace_seconds=_GRACE_SECONDS)
