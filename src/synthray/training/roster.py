"""The crew at work and the one that is to relieve it.

A change of the number of workers, or of the nodes that they are on, is prepared beside training: the new crew
comes up while the old one goes on, and only when it is there does training stop, at a step's end, for as long
as a fork and a state take.
"""

import time

from synthray.training.crew import Crew, Platform
from synthray.training.observation import is_ready

_LEAVING_SECONDS = 30.0
_REOPEN_SECONDS = 5.0


class Roster:
    """Opens and closes crews; at most one works and one is on its way."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._last_number = 0
        self._opened_at = self._rests_until = 0.0
        self._working: Crew | None = None
        self._relief: Crew | None = None

    def staff(self, size: int) -> Crew | None:
        """Bring up what is wanted; the crew that can begin a segment now, None while there is none.

        While the wanted crew is not there yet, an older one goes on. A size of 0 brings up nothing.
        """
        if self._working is not None and not self._working.is_alive():
            self._dismiss_working()
            self._rests_until = self._opened_at + _REOPEN_SECONDS
        if self._working is None and time.monotonic() < self._rests_until:
            return None  # one that died at once would do so again
        if size == 0:
            self._dismiss_relief()
        elif self._working is None:
            self._working, self._relief = self._relief or self._open(size), None
        elif self._is_right(self._working, size) or not self._platform.has_room_for_relief():
            self._dismiss_relief()
        elif self._relief is None or not self._relief.is_alive() or not self._is_right(self._relief, size):
            self._dismiss_relief()
            self._relief = self._open(size)
        return self._working if self._working is not None and self._is_ready(self._working) else None

    def is_change_due(self, size: int) -> bool:
        """Whether the working crew should stop: its relief is ready, or it can't wait for one."""
        if self._working is None:
            return False
        leaving_seconds = self._leaving_seconds(self._working)
        if leaving_seconds is not None and leaving_seconds < _LEAVING_SECONDS:
            return True
        if size == 0 or self._is_right(self._working, size):
            return False
        if self._relief is None:
            return not self._platform.has_room_for_relief()
        return self._is_ready(self._relief)

    def change(self, size: int) -> None:
        """Let the relief take over if the change is due; for between two segments."""
        if self.is_change_due(size):
            self._dismiss_working()
            self._working, self._relief = self._relief, None

    def close(self) -> None:
        """Dismiss everybody."""
        self._dismiss_relief()
        self._dismiss_working()

    def _open(self, size: int) -> Crew:
        self._last_number += 1
        self._opened_at = time.monotonic()
        return self._platform.open_crew(self._last_number, size)

    def _is_ready(self, crew: Crew) -> bool:
        return crew.is_alive() and is_ready(self._platform.board.posting(crew.number), crew.size)

    def _is_right(self, crew: Crew, size: int) -> bool:
        return crew.size == size and self._leaving_seconds(crew) is None

    def _leaving_seconds(self, crew: Crew) -> float | None:
        members = self._platform.board.posting(crew.number).members.values()
        return self._platform.leaving_seconds({member.note.place for member in members})

    def _dismiss_working(self) -> None:
        if self._working is not None:
            self._working.close()
            self._working = None

    def _dismiss_relief(self) -> None:
        if self._relief is not None:
            self._relief.close()
            self._relief = None
