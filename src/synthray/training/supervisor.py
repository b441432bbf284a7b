"""The one who looks after a worker process: starts it, passes word, and says how it ended.

One supervisor per rank: a Ray Train worker, or a thread of the driver where there is no Ray. It outlives its
worker processes, so that a lost one costs a fork and not a new actor. It never waits for long, since who says
nothing is taken for lost. It also ships what they write, with no part of theirs in it. No torch and no Ray
here.
"""

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from synthray.errors import Unavailable
from synthray.training.board import Board, Note, Orders, Seat
from synthray.training.run_log.shipper import LogShipper
from synthray.training.run_log.sources import ship_worker_log
from synthray.training.standby_client import StandbyClient
from synthray.training.worker_launch import WorkerProcess, WorkerStart
from synthray.training.worker_task import Beat, Ending, Wishes, WorkerTask

_EXCHANGE_SECONDS = 0.1
_DEATH_SECONDS = 10.0
_LAST_LINES_SECONDS = 2.0


class Supervisor:
    """Follows the orders on the board until it is dismissed; `host` is where other nodes find this one."""

    def __init__(
        self,
        seat: Seat,
        board: Board,
        standby: StandbyClient,
        *,
        logs: Path,
        host: str,
        environment: Mapping[str, str],
        place: str = "",
        actor: Any = None,
    ) -> None:
        self._seat = seat
        self._board = board
        self._standby = standby
        self._logs = logs
        self._host = host
        self._environment = environment
        self._start: WorkerStart | None = None
        self._process: WorkerProcess | None = None
        self._shipper: LogShipper | None = None
        self._killed_at: float | None = None
        self._wishes = Wishes()
        self._note = Note(node=os.environ.get("NODE_NAME") or socket.gethostname(), place=place, actor=actor)

    def run(self) -> None:
        """Start, watch and end worker processes as the orders say."""
        try:
            while True:
                self._note = replace(self._note, is_warm=self._standby.is_warm())
                orders, address = self._board.exchange(self._seat, self._note)
                if orders.dismissed:
                    return
                self._take_attempt(orders)
                if self._note.ending is None and self._note.attempt > 0:
                    self._follow(orders, address or self._note.address)
                self._listen()
        finally:
            self._drop_process(last_lines_seconds=_LAST_LINES_SECONDS)

    def _take_attempt(self, orders: Orders) -> None:
        """Let go of an older attempt for the one that is ordered now."""
        attempt = orders.attempt.number if orders.attempt else 0
        if attempt <= self._note.attempt:
            return
        self._drop_process()
        meets_here = self._seat.rank == 0 and self._seat.size > 1
        self._note = Note(
            node=self._note.node,
            place=self._note.place,
            actor=self._note.actor,
            attempt=attempt,
            address=_offer_address(self._host) if meets_here else "",
        )

    def _follow(self, orders: Orders, address: str) -> None:
        if orders.aborted >= self._note.attempt:
            self._end_process()
        elif self._process is None:
            if address or self._seat.size == 1:
                self._go_on_starting(orders, address)
        else:
            self._pass_word(self._process, orders)

    def _end_process(self) -> None:
        """Kill the worker; who never began, or does not die, has ended as well."""
        if self._process is None:
            self._note = replace(self._note, ending=Ending(crash="it was called off before it began"))
            return
        if self._killed_at is None:
            self._process.kill()
            self._killed_at = time.monotonic()
        elif time.monotonic() - self._killed_at > _DEATH_SECONDS:
            # It sits in the kernel (a dead network file system); what it still writes is fenced off.
            self._note = replace(self._note, ending=Ending(crash="the worker process could not be killed"))

    def _go_on_starting(self, orders: Orders, address: str) -> None:
        if orders.settings is None or orders.attempt is None:
            raise ValueError("an attempt was ordered without its settings")
        if self._start is None:
            number, rank, size = orders.attempt.number, self._seat.rank, self._seat.size
            log = self._logs / f"attempt-{number:06d}-rank-{rank}.log"
            self._shipper = ship_worker_log(orders.settings.storage, number, rank, size, log)
            self._start = WorkerStart(
                self._standby,
                WorkerTask(orders.settings, orders.attempt, rank, size, address),
                log=log,
                environment=self._environment,
            )
        try:
            self._process = self._start.poll()
        except (OSError, Unavailable) as error:
            self._start = None
            self._note = replace(self._note, ending=Ending(crash=f"no worker process came up: {error}"))
            return
        if self._process is not None:
            self._start = None
            self._note = replace(self._note, process_id=self._process.process_id)

    def _pass_word(self, process: WorkerProcess, orders: Orders) -> None:
        if orders.wishes != self._wishes:
            self._wishes = orders.wishes
            process.send(self._wishes)
        if orders.stacks_episode > self._note.stacks_episode:
            stacks = process.dump_stacks()
            self._note = replace(self._note, stacks=stacks, stacks_episode=orders.stacks_episode)

    def _listen(self) -> None:
        if self._process is None or self._note.ending is not None:
            time.sleep(_EXCHANGE_SECONDS)
            return
        try:
            for message in self._process.receive(_EXCHANGE_SECONDS):
                if isinstance(message, Beat):
                    self._note = replace(self._note, beat=message)
                elif isinstance(message, Ending):
                    self._note_ending(message)
        except EOFError:
            end = self._process.describe_end()
            self._note_ending(Ending(crash=f"the worker process {end}"))

    def _note_ending(self, ending: Ending) -> None:
        self._note = replace(self._note, ending=ending)
        if self._shipper is not None:
            self._shipper.hurry()

    def _drop_process(self, *, last_lines_seconds: float = 0.0) -> None:
        if self._start is not None:
            self._start.cancel()
        if self._process is not None:
            self._process.close()
        if self._shipper is not None:
            self._shipper.close(last_lines_seconds)
        self._start, self._process, self._shipper, self._killed_at = None, None, None, None
        self._wishes = Wishes()


def _offer_address(host: str) -> str:
    """A free port of this node, as torch's rendezvous wants it."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"tcp://{host}:{probe.getsockname()[1]}"
