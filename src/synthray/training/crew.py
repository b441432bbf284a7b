"""Crews: groups of supervisors of one size, and the platforms that they stand on.

A crew lives as long as its size is wanted: worker processes come and go with attempts, the crew stays. This
file holds what the driver needs of any platform, and the platform that needs nothing but processes.
"""

import os
import threading
import uuid
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from synthray.training.board import Board, Note, Orders, RunBoard, Seat
from synthray.training.standby_client import StandbyClient
from synthray.training.supervisor import Supervisor

_LOOPBACK = "127.0.0.1"
_FAREWELL_SECONDS = 15.0


class Crew(Protocol):
    """Supervisors of `size` workers that follow the board's page `number`."""

    @property
    def number(self) -> int:
        """Its page on the board."""

    @property
    def size(self) -> int:
        """How many workers it looks after."""

    def is_alive(self) -> bool:
        """Whether it is there or still on its way; a crew that is not is to be replaced."""

    def end_silent(self, note: Note) -> None:
        """End a supervisor of which nothing is heard any more, by what it last told."""

    def close(self) -> None:
        """Let it go; worker processes that still run are killed."""


class Platform(Protocol):
    """Where crews stand."""

    @property
    def board(self) -> Board:
        """Where its crews and the driver leave each other word."""

    def open_crew(self, number: int, size: int) -> Crew:
        """Begin to bring up a crew; it is there when its members stand on the board."""

    def places(self) -> int | None:
        """How many workers there is room for now; None where only the wish counts."""

    def leaving_seconds(self, places: Set[str]) -> float | None:
        """Seconds until the first of these places is gone; None while none of them is given up."""

    def has_room_for_relief(self) -> bool:
        """Whether a crew can come up while another one works."""

    def logs(self) -> str:
        """Where the workers' logs are, for people."""


@contextmanager
def process_platform(directory: Path, logs: Path, *, use_gpu: bool) -> Iterator["ProcessPlatform"]:
    """Workers as processes of this machine, as many as wanted."""
    StandbyClient(directory / "standby", os.getpid()).start()
    yield ProcessPlatform(directory / "standby", logs, use_gpu=use_gpu)


class ProcessPlatform:
    """Workers as plain processes of this machine, supervised by threads of this process."""

    def __init__(self, standby_directory: Path, logs: Path, *, use_gpu: bool) -> None:
        self.board = RunBoard()
        self._standby_directory = standby_directory
        self._logs = logs
        self._use_gpu = use_gpu

    def open_crew(self, number: int, size: int) -> "ThreadCrew":
        """A crew of threads."""
        group = uuid.uuid4().hex
        return ThreadCrew(
            self.board,
            [
                Supervisor(
                    Seat(number, group, rank, size),
                    self.board,
                    StandbyClient(self._standby_directory, os.getpid()),
                    logs=self._logs,
                    host=_LOOPBACK,
                    environment={
                        **os.environ,
                        **({"CUDA_VISIBLE_DEVICES": str(rank)} if self._use_gpu else {}),
                    },
                )
                for rank in range(size)
            ],
            number=number,
        )

    def places(self) -> int | None:
        """As many as wanted."""
        return None

    def leaving_seconds(self, places: Set[str]) -> float | None:  # noqa: ARG002 there is one place
        """This machine is never given up."""
        return None

    def has_room_for_relief(self) -> bool:
        """Processes find room side by side; a GPU belongs to one worker."""
        return not self._use_gpu

    def logs(self) -> str:
        """The folder of the workers' logs."""
        return str(self._logs)


class ThreadCrew:
    """Supervisors that are threads of this process."""

    def __init__(self, board: RunBoard, supervisors: Sequence[Supervisor], *, number: int) -> None:
        self.number = number
        self.size = len(supervisors)
        self._board = board
        self._threads = [
            threading.Thread(target=supervisor.run, name=f"supervisor-{rank}", daemon=True)
            for rank, supervisor in enumerate(supervisors)
        ]
        for thread in self._threads:
            thread.start()

    def is_alive(self) -> bool:
        """Whether all its threads run."""
        return all(thread.is_alive() for thread in self._threads)

    def end_silent(self, note: Note) -> None:
        """Nothing to end: a thread falls silent only with the driver itself."""

    def close(self) -> None:
        """Dismiss the supervisors and wait for them."""
        self._board.direct(self.number, Orders(dismissed=True))
        for thread in self._threads:
            thread.join(_FAREWELL_SECONDS)
