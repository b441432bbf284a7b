"""The crew at work and the one that is to relieve it.

A change of the number of workers is prepared beside training: the new crew comes up while the old one goes
on, and only when it is there does training stop, at a step's end, for as long as a fork and a state take.
"""

from synthray.training.crew import Crew, Platform
from synthray.training.observation import is_ready


class Roster:
    """Opens and closes crews; at most one works and one is on its way."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._last_number = 0
        self._working: Crew | None = None
        self._relief: Crew | None = None

    @property
    def working(self) -> Crew | None:
        """The crew that works or is to work next."""
        return self._working

    def staff(self, size: int) -> Crew | None:
        """Bring up what is wanted; the crew that can begin a segment now, None while there is none.

        While the wanted crew is not there yet, an older one of another size goes on.
        """
        if self._working is not None and not self._working.is_alive():
            self._dismiss_working()
        if self._working is None:
            self._working, self._relief = self._relief or self._open(size), None
        if self._working.size == size:
            self._drop_relief()
        elif self._relief is None or self._relief.size != size or not self._relief.is_alive():
            self._drop_relief()
            self._relief = self._open(size)
        return self._working if self._is_ready(self._working) else None

    def is_relief_ready(self) -> bool:
        """Whether a crew of the wanted size stands ready to take over."""
        return self._relief is not None and self._is_ready(self._relief)

    def relieve(self) -> None:
        """Let the relief take over; for between two segments."""
        if self._relief is not None:
            self._dismiss_working()
            self._working, self._relief = self._relief, None

    def close(self) -> None:
        """Dismiss everybody."""
        self._drop_relief()
        self._dismiss_working()

    def _open(self, size: int) -> Crew:
        self._last_number += 1
        return self._platform.open_crew(self._last_number, size)

    def _is_ready(self, crew: Crew) -> bool:
        return crew.is_alive() and is_ready(self._platform.board.posting(crew.number), crew.size)

    def _dismiss_working(self) -> None:
        if self._working is not None:
            self._working.close()
            self._working = None

    def _drop_relief(self) -> None:
        if self._relief is not None:
            self._relief.close()
            self._relief = None
