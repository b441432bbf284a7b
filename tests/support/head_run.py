"""A real `synthray driver` in a process of its own, as in a head's pod, and the Ray nodes that join it."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self
from uuid import uuid4

import psutil
from marked_processes import mark_environment, marked_processes
from ray_run import DEADLINE_SECONDS, SYNTHRAY, Training
from tiny_run import TinyRun

from synthray.storage.ports import choose_free_ports

RAY = str(Path(sys.executable).with_name("ray"))
DRAIN_SECONDS = 60


class HeadRun(Training):
    """`synthray driver` of a tiny run; `ray_command` is what KubeRay would hand it."""

    def __init__(self, run: TinyRun, *, ray_command: str, environment: Mapping[str, str]) -> None:
        (self._port,) = choose_free_ports(1)
        self._mark = uuid4().hex
        self._log = run.file.with_suffix(".head.log")
        command = [SYNTHRAY, "driver", str(run.file), "--cache", str(run.cache)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--metrics-port", str(self._port)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    **environment,
                    **mark_environment(self._mark),
                    "KUBERAY_GEN_RAY_START_CMD": ray_command,
                },
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def terminate(self) -> int:
        """What the kubelet does: SIGTERM to this process alone; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()


class RayPods:
    """What KubeRay would run in pods, here as processes: the head's command, and workers that join."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._mark = uuid4().hex
        self._workers: list[subprocess.Popen[bytes]] = []
        (port,) = choose_free_ports(1)
        self._address = f"127.0.0.1:{port}"
        self.command = (
            f"ulimit -c 0; {RAY} start --head --block --num-cpus=0 --port={port} --include-dashboard=false"
        )
        self.environment = {
            "RAY_ADDRESS": self._address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        left = marked_processes(self._mark)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=60)
        for worker in self._workers:
            worker.wait()

    def add_worker(self) -> int:
        """A node with room for one worker; its number. One that comes up too late is started again."""
        number = len(self._workers)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            log = self._logs / f"worker-{number}.log"
            worker = self._start_worker(log)
            while worker.poll() is None:
                if b"Ray runtime started" in log.read_bytes():
                    self._workers.append(worker)
                    return number
                time.sleep(0.1)
        raise AssertionError(f"no node came up:\n{log.read_text()}")

    def _start_worker(self, log_file: Path) -> "subprocess.Popen[bytes]":
        with log_file.open("wb") as log:
            return subprocess.Popen(
                [RAY, "start", f"--address={self._address}", "--block", "--num-cpus=1"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    **self.environment,
                    **mark_environment(self._mark),
                    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(DRAIN_SECONDS),
                },
                start_new_session=True,
            )

    def terminate_worker(self, number: int) -> None:
        """SIGTERM: the node says that it goes, and waits until its work has left."""
        self._workers[number].send_signal(signal.SIGTERM)

    def wait_worker(self, number: int) -> None:
        """Until a node that was to go has gone."""
        self._workers[number].wait(DEADLINE_SECONDS)
