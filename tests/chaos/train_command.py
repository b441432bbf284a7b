"""One `synthray train` as a process: started, looked at, signalled, and ended without remains."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from marked_processes import is_marked, mark_environment, marked_processes

from synthray.storage.ports import choose_free_ports

SYNTHRAY = str(Path(sys.executable).with_name("synthray"))
_LOOK_SECONDS = 0.5
_TAIL_LINES = 25
Progress = Mapping[str, Any]


class TrainCommand:
    """A running `synthray train`; `mark` is common to all commands of one run."""

    def __init__(
        self,
        run_file: Path,
        arguments: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        mark: str,
    ) -> None:
        (self.port,) = choose_free_ports(1)
        self.log = log
        self.mark = mark
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [SYNTHRAY, "train", str(run_file), *arguments, "--metrics-port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment, **mark_environment(mark)},
                start_new_session=True,
            )
        self.progress: Progress | None = None

    @property
    def pid(self) -> int:
        """The driver's process."""
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.process.poll()

    def look(self) -> Progress | None:
        """What it tells now; None if it says nothing."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/progress", timeout=_LOOK_SECONDS
            ) as answer:
                document: dict[str, Any] = json.load(answer)
        except (OSError, ValueError):
            return None
        self.progress = document
        return document

    def workers(self) -> list[int]:
        """The processes that train, by rank, as it told last; those that are gone left out."""
        ranks = self.progress["workers"]["ranks"] if self.progress else []
        return [rank["process_id"] for rank in ranks if is_marked(rank["process_id"])]

    def kill(self) -> None:
        """SIGKILL the driver alone."""
        self.process.kill()
        self.process.wait()

    def kill_everything(self) -> None:
        """SIGKILL the driver and all that it started, whoever their parents are by now."""
        everything = everything_of(self.mark)
        self.kill()
        signal_all(everything, signal.SIGKILL)

    def tail(self) -> str:
        """The end of what it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])


def signal_all(pids: Sequence[int], number: signal.Signals) -> int:
    """Signal processes; how many were there to hear it."""
    heard = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            heard += 1
    return heard


def everything_of(mark: str) -> list[int]:
    """All living processes of a run, whoever their parent is."""
    return [process.pid for process in marked_processes(mark)]
