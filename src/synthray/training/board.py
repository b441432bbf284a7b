"""Where driver and supervisors leave each other word.

A supervisor leaves all that it knows and reads all that the driver wants, in one call, again and again: what
is lost or comes twice changes nothing. Nobody waits for anybody, and nothing here is per step. Under Ray the
board is an actor on the driver's node; without Ray it is an object that threads share.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from synthray.telemetry.report import SegmentReport
from synthray.training.settings import AttemptSettings, RunSettings
from synthray.training.worker_task import Beat, Ending, Wishes


@dataclass(frozen=True)
class Seat:
    """A supervisor's place: its rank among the `size` of a group, which is one life of a crew."""

    crew: int
    group: str
    rank: int
    size: int


@dataclass(frozen=True)
class Orders:
    """All that the driver wants of a crew at the moment."""

    settings: RunSettings | None = None
    attempt: AttemptSettings | None = None
    wishes: Wishes = field(default_factory=Wishes)
    aborted: int = 0
    """Workers of this attempt and of earlier ones are to be killed."""
    stacks_episode: int = 0
    """Which time of being stuck it is that workers are to say what they are doing."""
    dismissed: bool = False


@dataclass(frozen=True)
class Note:
    """All that a supervisor knows at the moment."""

    node: str
    place: str = ""
    """What the platform calls the node."""
    is_warm: bool = False
    """Whether a worker process can be forked here at once."""
    actor: Any = None  # the handle by which Ray ends a supervisor that doesn't answer; Ray publishes no type
    attempt: int = 0
    process_id: int = 0
    address: str = ""
    beat: Beat | None = None
    stacks: str = ""
    stacks_episode: int = 0
    ending: Ending | None = None


@dataclass(frozen=True)
class Member:
    """A supervisor's newest note, how long ago it came, and for how long its worker has not got on."""

    note: Note
    age_seconds: float
    quiet_seconds: float

    @property
    def report(self) -> SegmentReport | None:
        """The worker's newest report."""
        return self.note.beat.report if self.note.beat else None


@dataclass(frozen=True)
class Posting:
    """What the supervisors of a crew left, by rank; all of one group."""

    group: str = ""
    members: Mapping[int, Member] = field(default_factory=dict)


class Board(Protocol):
    """The board, wherever it is."""

    def exchange(self, seat: Seat, note: Note) -> tuple[Orders, str]:
        """Leave a supervisor's note; answer with the orders, and where the workers meet."""

    def direct(self, crew: int, orders: Orders) -> None:
        """Leave the driver's orders for a crew."""

    def posting(self, crew: int) -> Posting:
        """What the supervisors of a crew left."""


@dataclass
class _Entry:
    note: Note
    arrived: float
    moved: float


@dataclass
class _Page:
    orders: Orders = field(default_factory=Orders)
    controller: Any = None
    group: str = ""
    left_groups: set[str] = field(default_factory=set)
    entries: dict[int, _Entry] = field(default_factory=dict)


class RunBoard:
    """The board itself: a page for each crew; every method returns at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: dict[int, _Page] = {}

    def exchange(self, seat: Seat, note: Note) -> tuple[Orders, str]:
        """Leave a note, read the orders; a group that another has replaced is dismissed."""
        with self._lock:
            page = self._pages.setdefault(seat.crew, _Page())
            if seat.group in page.left_groups:
                return Orders(dismissed=True), ""
            if seat.group != page.group:
                page.left_groups.add(page.group)
                page.group, page.entries = seat.group, {}
            now = time.monotonic()
            before = page.entries.get(seat.rank)
            still = before is not None and _stands_where(before.note, note)
            page.entries[seat.rank] = _Entry(note, now, before.moved if before and still else now)
            first = page.entries.get(0)
            meets = first is not None and first.note.attempt == note.attempt
            return page.orders, first.note.address if first is not None and meets else ""

    def direct(self, crew: int, orders: Orders) -> None:
        """Leave orders; they stand until the next ones."""
        with self._lock:
            self._pages.setdefault(crew, _Page()).orders = orders

    def introduce(self, crew: int, controller: Any) -> None:
        """Keep the handle of whoever controls a crew."""
        with self._lock:
            self._pages.setdefault(crew, _Page()).controller = controller

    def controller(self, crew: int) -> Any:
        """The handle of whoever controls a crew; None before the introduction."""
        with self._lock:
            return self._pages.get(crew, _Page()).controller

    def posting(self, crew: int) -> Posting:
        """The newest notes, with their ages by this board's clock."""
        with self._lock:
            page = self._pages.get(crew, _Page())
            now = time.monotonic()
            return Posting(
                page.group,
                {
                    rank: Member(entry.note, now - entry.arrived, now - entry.moved)
                    for rank, entry in sorted(page.entries.items())
                },
            )


def _stands_where(before: Note, after: Note) -> bool:
    """Whether nothing moved between two notes of a supervisor."""
    counts = [note.beat.count if note.beat else 0 for note in (before, after)]
    return before.attempt == after.attempt and counts[0] == counts[1]
