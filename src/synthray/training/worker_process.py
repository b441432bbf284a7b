"""The process that trains: one rank of one attempt, forked from the node's standby.

It takes its task from a pipe, runs the plain loop and says how it ended. It knows no Ray. Its supervisor's
end of the pipe is its lifeline: when that closes, nobody wants its work any more, and it ends at once.
"""

import faulthandler
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import FrameType
from typing import TYPE_CHECKING

from synthray.errors import SynthrayError, Unavailable
from synthray.telemetry.report import SegmentReport
from synthray.training.run_log.lines import build_formatter
from synthray.training.worker_task import Beat, Ending, Wishes, WorkerTask

if TYPE_CHECKING:
    from synthray.training.world import World

_EXCHANGE_SECONDS = 0.1
_EXIT_ABANDONED = 3

_log = logging.getLogger(__name__)


def run_worker(connection: Connection) -> int:
    """Train as the task says; returns the process's exit code."""
    written = logging.StreamHandler(sys.stderr)
    written.setFormatter(build_formatter())
    logging.basicConfig(level=logging.INFO, handlers=[written])
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection.send(os.getpid())
    task: WorkerTask = connection.recv()
    control = PipeControl(connection)
    signal.signal(signal.SIGTERM, control.hear_notice)
    ending = _train(task, control)
    control.close(ending)
    return 0 if ending.outcome is not None else 1


def _train(task: WorkerTask, control: "PipeControl") -> Ending:
    # Loaded by the standby before the fork; imported here so that this file itself stays light.
    from synthray.training.loop import train_segment  # noqa: PLC0415
    from synthray.training.world import join_world, leave_world, pick_device  # noqa: PLC0415

    number, last = task.attempt.number, task.size - 1
    _log.info("attempt %d: worker %d of 0 to %d begins, process %d", number, task.rank, last, os.getpid())
    try:
        device = pick_device(task.settings.device)
        world = join_world(task.rank, task.size, init_method=task.init_method, device=device)
        control.get_on()
        _check_company(task, world)
        outcome = train_segment(task.settings, task.attempt, world, control)
        leave_world(world)
    except SynthrayError as error:
        _log.exception("the worker gives up")
        return Ending(failure=error)
    except Exception:  # noqa: BLE001 the driver hears of it, and the log keeps it
        _log.exception("the worker ends on an error that nobody foresaw")
        return Ending(crash=traceback.format_exc())
    _log.info("attempt %d: worker %d is done: %s", number, task.rank, outcome)
    return Ending(outcome=outcome)


def _check_company(task: WorkerTask, world: "World") -> None:
    """Two runs that drew the same free port could meet each other, and nothing else would notice."""
    if len(set(world.gather_objects(task.attempt.nonce))) > 1:
        raise Unavailable("workers of another run met here at the same port; the next attempt draws another")


class PipeControl:
    """`RunControl` over the pipe: a thread of its own talks, so that the loop never waits."""

    def __init__(self, connection: Connection, abandon: Callable[[], None] | None = None) -> None:
        self._connection = connection
        self._abandon = abandon or (lambda: os._exit(_EXIT_ABANDONED))
        self._wishes = Wishes()
        self._noticed = False
        self._report: SegmentReport | None = None
        self._count = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._exchange, name="supervisor", daemon=True)
        self._thread.start()

    def stop_requested(self) -> bool:
        """Whether the driver wants the segment to end, or this process got notice."""
        return self._noticed or self._wishes.stop

    def stop_is_patient(self) -> bool:
        """Whether only the driver asked, and can wait; notice to this process is for soon."""
        return self._wishes.patient and not self._noticed

    def get_on(self) -> None:
        """Count that something was done."""
        self._count += 1

    def report(self, report: SegmentReport) -> None:
        """Keep the newest report for the next exchange."""
        self._report = report
        self._count += 1

    def hear_notice(self, _: int, __: FrameType | None) -> None:
        """SIGTERM: finish the step, save, stop."""
        self._noticed = True

    def close(self, ending: Ending) -> None:
        """Send the last report and how it ended."""
        self._closing.set()
        self._thread.join()
        try:
            self._connection.send(Beat(self._count, self._report))
            self._connection.send(ending)
        except OSError:
            self._abandon()

    def _exchange(self) -> None:
        sent = -1
        try:
            while not self._closing.is_set():
                if self._connection.poll(_EXCHANGE_SECONDS):
                    self._wishes = self._connection.recv()
                if self._count != sent:
                    sent = self._count
                    self._connection.send(Beat(sent, self._report))
        except (EOFError, OSError):
            self._abandon()
