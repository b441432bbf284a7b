"""Waiting together: what one worker waits for, all wait for, in short rounds that hear a stop.

A collective operation that one worker enters long after the others runs into its timeout, and who stands in
one hears nobody. So whatever may take long on some worker (its data, storage, a save, pictures) is done in
rounds of a fraction of a second, and after each round all workers agree whether everyone is through or
somebody was asked to stop. It must not know what is waited for.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from synthray.errors import Unavailable
from synthray.training.control import RunControl
from synthray.training.world import World

T = TypeVar("T")

ROUND_SECONDS = 0.3
STOP_PATIENCE_SECONDS = 20.0
"""How long a stop waits for storage that is away, before it goes without what was to be saved."""


class StopAsked(Exception):
    """Somebody asked to stop while a segment was being opened."""


@dataclass(frozen=True)
class Agreement:
    """What all workers know after a round: sums over them, equal on every one."""

    ready: bool
    stop: bool
    storage_is_away: bool
    moved: bool
    """Whether anything got on somewhere; a wait in which nothing moves and storage is there is a hang."""
    numbers: tuple[int, ...] = ()


class SharedWait:
    """The rounds of one worker; every worker must come to each wait, in the same order."""

    def __init__(self, world: World, control: RunControl, report: Callable[[str], None]) -> None:
        self._world = world
        self._control = control
        self._report = report
        self._stop_asked_at: float | None = None
        self.storage_wait_seconds = 0.0
        """Time in which training stood still because storage was away."""

    def round(
        self,
        *,
        ready: bool,
        away: bool = False,
        insists: bool = False,
        moved: bool = True,
        numbers: Sequence[int] = (),
    ) -> Agreement:
        """Compare notes with all workers; a stop counts only if no worker insists on going on."""
        stop = self._control.stop_requested()
        sums = torch.tensor([not ready, stop, away, insists, moved, *numbers], dtype=torch.int64)
        self._world.add_over_workers(sums)
        num_busy, num_stops, num_away, num_insisting, num_moved, *told = sums.tolist()
        self._note_stop(asked=num_stops > 0)
        return Agreement(
            ready=num_busy == 0,
            stop=num_stops > 0 and num_insisting == 0,
            storage_is_away=num_away > 0,
            moved=num_moved > 0,
            numbers=tuple(told),
        )

    def is_stopped_amid_work(self) -> bool:
        """One round in the middle of something that takes long here: whether to break it off."""
        agreed = self.round(ready=False)
        self._report("Running")
        return agreed.stop

    def is_out_of_patience(self) -> bool:
        """Whether a stop was asked for so long ago that storage that is away should not be waited for."""
        self._note_stop(asked=self._stop_asked_at is None and self._control.stop_requested())
        asked_at = self._stop_asked_at
        return asked_at is not None and time.monotonic() - asked_at > STOP_PATIENCE_SECONDS

    def _note_stop(self, *, asked: bool) -> None:
        """Remember when patience began to run out: with the first stop that is not patient."""
        if self._control.stop_is_patient():
            self._stop_asked_at = None
        elif asked and self._stop_asked_at is None:
            self._stop_asked_at = time.monotonic()

    def until(
        self,
        ready: Callable[[float], bool],
        *,
        doing: str = "Running",
        away: Callable[[], bool] = lambda: False,
        insists: Callable[[], bool] = lambda: False,
        moved: Callable[[], bool] = lambda: True,
        numbers: Callable[[], Sequence[int]] = tuple,
    ) -> Agreement:
        """Call `ready(seconds)`, which may take about so long, until it is true on every worker.

        Ends with `stop` as soon as somebody is asked to stop and no worker insists. All give equally many
        `numbers`.
        After each round but the last the worker reports that it is `doing` that, or waits for storage; it
        keeps silent if nothing moved, so that who watches takes notice.
        """
        while True:
            started = time.monotonic()
            agreed = self.round(
                ready=ready(ROUND_SECONDS),
                away=away(),
                insists=insists(),
                moved=moved(),
                numbers=numbers(),
            )
            if agreed.storage_is_away:
                self.storage_wait_seconds += time.monotonic() - started
            if agreed.ready or agreed.stop:
                return agreed
            if agreed.moved or agreed.storage_is_away:
                self._report("WaitingForStorage" if agreed.storage_is_away else doing)

    def for_storage(self, work: Callable[[], T]) -> T:
        """What `work` returns, on every worker, once storage has answered all of them.

        Raises StopAsked if somebody is asked to stop meanwhile.
        """
        results: list[T] = []

        def attempt(seconds: float) -> bool:
            if not results:
                try:
                    results.append(work())
                except Unavailable:
                    time.sleep(seconds)
            return bool(results)

        agreed = self.until(attempt, away=lambda: not results)
        if not agreed.ready:
            raise StopAsked
        return results[0]
