"""A real `synthray train` in a process of its own, and ways to kill parts of it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
from marked_processes import mark_environment, marked_processes, wait_until_gone
from tiny_run import TinyRun

SYNTHRAY = str(Path(sys.executable).with_name("synthray"))
# For failures alone: a machine that is busy with other things may be ten times as slow.
DEADLINE_SECONDS = 600.0


class Training:
    """`synthray train` of a tiny run; use as a context manager, so that nothing outlives a test."""

    def __init__(self, run: TinyRun, *arguments: str, port: int, environment: Mapping[str, str]) -> None:
        self._port = port
        self._mark = uuid4().hex
        self._log = run.file.with_suffix(f".{time.monotonic_ns()}.log")
        command = [SYNTHRAY, "train", str(run.file), "--cache", str(run.cache), "--metrics-port", str(port)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    **environment,
                    **mark_environment(self._mark),
                    "PYTHONFAULTHANDLER": "1",
                },
                start_new_session=True,
            )

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_everything()

    @property
    def log(self) -> str:
        """What the command printed."""
        return self._log.read_text()

    def progress(self) -> dict[str, Any] | None:
        """`/progress`, once somebody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/progress", timeout=5) as answer:
                document: dict[str, Any] = json.load(answer)
                return document
        except (urllib.error.URLError, OSError, ValueError):
            return None

    def wait_for(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first progress that fulfils `condition`."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            progress = self.progress()
            if progress is not None and condition(progress):
                return progress
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log}"
            time.sleep(0.1)
        raise AssertionError(f"not within {DEADLINE_SECONDS:.0f} s: {self.progress()}\n{self.log}")

    def wait(self) -> int:
        """The exit code; one that does not end tells where each of its threads is."""
        try:
            return self.process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            progress = self.progress()
            running = [" ".join(process.cmdline()) for process in self.processes()]
            self.process.send_signal(signal.SIGABRT)  # faulthandler writes the stacks into the log
            self.process.wait(DEADLINE_SECONDS)
            told = "\n".join(running)
            raise AssertionError(
                f"runs on after {DEADLINE_SECONDS:.0f} s: {progress}\n{told}\n{self.log}"
            ) from None

    def kill_worker(self, rank: int) -> None:
        """SIGKILL one worker."""
        progress = self.wait_for(lambda progress: len(progress["workers"]["ranks"]) > rank)
        os.kill(progress["workers"]["ranks"][rank]["process_id"], signal.SIGKILL)

    def kill_driver(self) -> None:
        """SIGKILL the command alone; what it started must end by itself."""
        self.process.kill()
        self.process.wait()
        # Workers and raylet end within seconds; two of Ray's agents look after their parent once a minute.
        assert self.left_after(120) == []

    def kill_everything(self) -> None:
        """SIGKILL the command and all that it started."""
        everything = self.processes()
        self.process.kill()
        self.process.wait()
        for process in everything:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(everything, timeout=60)

    def processes(self) -> list[psutil.Process]:
        """The command and all that it started, whoever their parents are by now."""
        return marked_processes(self._mark)

    def left_after(self, seconds: float) -> list[str]:
        """The command lines of what still runs after the time."""
        return wait_until_gone(self._mark, seconds)
