"""How a worker process ended is known, though it closes its pipe before it is dead."""

import os
import subprocess
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import cast

from synthray.training.standby_client import StandbyClient
from synthray.training.worker_launch import WorkerProcess


class ParentOfWorkers:
    """In a standby's place: asked how a child ended, it answers what is known at that moment."""

    def ask(self, request: dict[str, int]) -> Connection:
        answers, sender = Pipe()
        reaped, status = os.waitpid(request["exit_of"], os.WNOHANG)
        sender.send(os.waitstatus_to_exitcode(status) if reaped else None)
        sender.close()
        return answers


def test_a_worker_that_is_still_dying_is_told_by_its_signal(tmp_path: Path) -> None:
    ours, theirs = Pipe()
    theirs.close()
    standby = cast("StandbyClient", ParentOfWorkers())
    # Until it dies it gives back memory and devices, its pipe closed already.
    with subprocess.Popen(["sh", "-c", "sleep 0.2; kill -KILL $$"]) as worker:
        process = WorkerProcess(standby, ours, worker.pid, log=tmp_path / "log")

        assert process.describe_end() == "was killed by SIGKILL"
