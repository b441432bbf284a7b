"""One segment on a crew, from its orders to its end.

The driver's hand on the board: it orders the attempt, looks at what is posted, and makes the segment end when
it is wanted, when a worker's part has failed, or when nothing moves any more.
"""

import logging
import statistics
import time
from collections import deque
from dataclasses import replace

from synthray.errors import Reason
from synthray.training.board import Board, Orders, Posting
from synthray.training.crew import Crew
from synthray.training.decisions import SegmentEnd
from synthray.training.observation import SegmentView, describe_stuck, find_stuck, view_segment
from synthray.training.settings import AttemptSettings, RunSettings
from synthray.training.worker_task import Wishes

_GATHER_SECONDS = 0.5
_STACKS_SECONDS = 3.0
_MEASURED_STEPS = 64

_log = logging.getLogger(__name__)


class Shift:
    """A segment that runs; look at it again and again until it is over."""

    def __init__(
        self,
        board: Board,
        crew: Crew,
        settings: RunSettings,
        attempt: AttemptSettings,
        *,
        quiet_limit_seconds: float,
    ) -> None:
        self._board = board
        self._crew = crew
        self._attempt = attempt.number
        self._quiet_limit_seconds = quiet_limit_seconds
        self._group = board.posting(crew.number).group
        self._orders = Orders(settings, attempt)
        self._doom: SegmentView | None = None
        self._doomed_at = 0.0
        self._stuck_at: float | None = None
        self._hang = ""
        self._pace = _Pace()
        self.images_reached: int | None = None
        self.storage_is_away = False
        """Whether a save waits for storage."""
        self.quiet_seconds = 0.0
        """For how long no worker has got on."""
        board.direct(crew.number, self._orders)

    @property
    def aborted(self) -> bool:
        """Whether its workers were told to be killed."""
        return self._orders.aborted >= self._attempt

    def look(self) -> tuple[Posting, SegmentEnd | None]:
        """What is posted now, and how the segment ended if it has."""
        posting = self._board.posting(self._crew.number)
        view = view_segment(posting, self._group, self._attempt, self._crew.size)
        if posting.group == self._group:
            self._note_progress(posting)
        self.quiet_seconds = min((one.quiet_seconds for one in posting.members.values()), default=0.0)
        if view.over or not self._crew.is_alive():
            # Left on the board, so that no supervisor that comes late takes this attempt for a new one.
            self.abort()
            return posting, self._end(self._doom or view)
        now = time.monotonic()
        if view.doomed and self._doom is None:
            self._doom, self._doomed_at = view, now
        if self._doom is not None:
            self._end_doomed(posting, view, now)
        else:
            self._watch_for_hang(posting, now)
        return posting, None

    def ask_to_stop(self, *, patient: bool) -> None:
        """Let the workers finish their step, save and end; a patient stop waits for storage that is away."""
        self._order(replace(self._orders, wishes=Wishes(stop=True, patient=patient)))

    def abort(self) -> None:
        """Kill the workers; what they have not saved is lost."""
        self._order(replace(self._orders, aborted=self._attempt))

    def _order(self, orders: Orders) -> None:
        if orders != self._orders:
            self._orders = orders
            self._board.direct(self._crew.number, orders)

    def _note_progress(self, posting: Posting) -> None:
        first = posting.members.get(0)
        if first is None or first.note.attempt != self._attempt or first.report is None:
            return
        self.storage_is_away = first.report.storage_is_away
        if first.report.figures is not None:
            self.images_reached = first.report.figures.images_seen
            self._pace.note(first.report.figures.step, time.monotonic())

    def _end_doomed(self, posting: Posting, view: SegmentView, now: float) -> None:
        """Give the failing workers a moment to say why, then end the rest."""
        if self._doom is not None and now - self._doomed_at < _GATHER_SECONDS:
            self._doom = view
            return
        self.abort()
        for rank in view.silent:
            self._crew.end_silent(posting.members[rank].note)

    def _watch_for_hang(self, posting: Posting, now: float) -> None:
        if not find_stuck(
            posting,
            median_step_seconds=self._pace.median_seconds,
            quiet_limit_seconds=self._quiet_limit_seconds,
        ):
            self._stuck_at = None
            return
        if self._stuck_at is None:
            self._stuck_at = now
            episode = self._orders.stacks_episode + 1
            self._order(replace(self._orders, stacks_episode=episode))
        elif self._hang:
            return
        elif now - self._stuck_at > _STACKS_SECONDS:
            self._hang = (
                f"no progress for {self._quiet_limit_seconds:.0f} s and five steps (--hang-after): "
                f"{describe_stuck(posting)}"
            )
            _log.error("%s", self._hang)
            self.abort()

    def _end(self, view: SegmentView) -> SegmentEnd:
        if self._hang:
            return SegmentEnd(None, None, self.images_reached, self._hang, Reason.WORKER_HUNG)
        loss = view.loss if view.end.outcome is None else "a worker was lost"
        return SegmentEnd(view.end.outcome, view.end.failure, self.images_reached, loss)


class _Pace:
    """The median time of a step, from the steps seen on the board."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_MEASURED_STEPS)
        self._last: tuple[int, float] | None = None

    @property
    def median_seconds(self) -> float | None:
        """None before the first steps are measured."""
        return statistics.median(self._seconds) if self._seconds else None

    def note(self, step: int, now: float) -> None:
        """Take notice of the newest step."""
        if self._last is not None and step > self._last[0]:
            self._seconds.append((now - self._last[1]) / (step - self._last[0]))
        if self._last is None or step > self._last[0]:
            self._last = (step, now)
