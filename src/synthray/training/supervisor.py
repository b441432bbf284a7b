"""The one who looks after a worker process: starts it, passes word, and says how it ended.

One supervisor per rank: a Ray Train worker, or a thread of the driver where there is no Ray. It outlives its
worker processes, so that a lost one costs a fork and not a new actor. No torch and no Ray here.
"""

import os
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from synthray.errors import Unavailable
from synthray.training.board import Board, Note, Orders, Seat
from synthray.training.worker_launch import StandbyAddress, WorkerProcess
from synthray.training.worker_task import Beat, Ending, Wishes, WorkerTask

_EXCHANGE_SECONDS = 0.1


class Supervisor:
    """Follows the orders on the board until it is dismissed; `host` is where other nodes find this one."""

    def __init__(
        self,
        seat: Seat,
        board: Board,
        standby: StandbyAddress,
        *,
        logs: Path,
        host: str,
        place: str = "",
        actor: Any = None,
    ) -> None:
        self._seat = seat
        self._board = board
        self._standby = standby
        self._logs = logs
        self._host = host
        self._process: WorkerProcess | None = None
        self._wishes = Wishes()
        self._note = Note(node=os.environ.get("NODE_NAME") or socket.gethostname(), place=place, actor=actor)

    def run(self) -> None:
        """Start, watch and end worker processes as the orders say."""
        try:
            while True:
                orders, address = self._board.exchange(self._seat, self._note)
                if orders.dismissed:
                    return
                self._follow(orders, address)
                self._listen()
        finally:
            self._drop_process()

    def _follow(self, orders: Orders, address: str) -> None:
        attempt = orders.attempt.number if orders.attempt else 0
        if attempt > max(self._note.attempt, orders.aborted):
            self._drop_process()
            meets_here = self._seat.rank == 0 and self._seat.size > 1
            self._note = Note(
                node=self._note.node,
                place=self._note.place,
                actor=self._note.actor,
                attempt=attempt,
                address=_offer_address(self._host) if meets_here else "",
            )
            address = self._note.address
        if self._process is None and self._note.ending is None and self._note.attempt == attempt > 0:
            if address or self._seat.size == 1:
                self._start_process(orders, address)
            return
        if self._process is None or self._note.ending is not None:
            return
        if orders.aborted >= self._note.attempt:
            self._process.kill()
        if orders.wishes != self._wishes:
            self._wishes = orders.wishes
            self._process.send(self._wishes)
        if orders.stacks_of == self._note.attempt and not self._note.stacks:
            self._note = replace(self._note, stacks=self._process.dump_stacks())

    def _start_process(self, orders: Orders, address: str) -> None:
        if orders.settings is None or orders.attempt is None:
            raise ValueError("an attempt was ordered without its settings")
        task = WorkerTask(orders.settings, orders.attempt, self._seat.rank, self._seat.size, address)
        log = self._logs / f"attempt-{orders.attempt.number:06d}-rank-{self._seat.rank}.log"
        self._wishes = Wishes()
        try:
            self._process = WorkerProcess(self._standby, task, log=log, environment=os.environ)
        except (EOFError, OSError, Unavailable) as error:
            self._note = replace(self._note, ending=Ending(crash=f"no worker process came up: {error}"))
            return
        self._note = replace(self._note, process_id=self._process.process_id)

    def _listen(self) -> None:
        if self._process is None or self._note.ending is not None:
            time.sleep(_EXCHANGE_SECONDS)
            return
        try:
            for message in self._process.receive(_EXCHANGE_SECONDS):
                if isinstance(message, Beat):
                    self._note = replace(self._note, beat=message)
                elif isinstance(message, Ending):
                    self._note = replace(self._note, ending=message)
        except EOFError:
            end = self._process.describe_end()
            self._note = replace(self._note, ending=Ending(crash=f"the worker process {end}"))

    def _drop_process(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None


def _offer_address(host: str) -> str:
    """A free port of this node, as torch's rendezvous wants it."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"tcp://{host}:{probe.getsockname()[1]}"
