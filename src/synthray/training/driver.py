"""The driver of a run: starts segments, watches them, and decides what follows each.

It trains nothing and holds no tensor: it must not import torch, so that it starts fast and outlives what
happens to workers, and it knows Ray only as one of the platforms that crews stand on.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from synthray.checkpoints.attempts import check_not_fenced
from synthray.errors import Reason, SynthrayError, Unavailable
from synthray.storage import open_store
from synthray.telemetry.report import RunSnapshot
from synthray.training.attempt_history import has_ended, write_ending
from synthray.training.crew import Crew, Platform
from synthray.training.decisions import (
    Decision,
    History,
    SegmentEnd,
    Verdict,
    decide_after_segment,
    plan_workers,
)
from synthray.training.preflight import Preflight, observe_resume_point, start_attempt
from synthray.training.roster import Roster
from synthray.training.run_log.sources import DriverLog
from synthray.training.settings import AttemptSettings, RunSettings
from synthray.training.shift import Shift
from synthray.training.watch import RunWatch

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 60.0
_STORAGE_PAUSE_SECONDS = 5.0
_LAST_WORD_SECONDS = 5.0

OpenPlatform = Callable[[Path, Path], AbstractContextManager[Platform]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DriverOptions:
    """What the command line adds to the run: how many workers, on what, and who is shown progress.

    A segment in which nothing moves for `quiet_limit_seconds` (and five median steps) hangs.
    `open_platform` takes a folder for the platform's own files and one for logs.
    """

    namespace: str
    num_workers: int
    min_workers: int
    backoff_limit: int
    quiet_limit_seconds: float
    show: Callable[[RunSnapshot], None]
    open_platform: OpenPlatform


@dataclass(frozen=True)
class RunEnd:
    """How the driver's work ended."""

    verdict: Verdict
    snapshot: RunSnapshot
    failure: SynthrayError | None = None


class WantedWorkers:
    """How many workers are wanted now; another thread may change its mind."""

    def __init__(self, count: int, limit: int) -> None:
        self.count = count
        self.limit = limit

    def change(self, count: int) -> None:
        """Want another number, from 1 to the limit; the exporter has checked it."""
        _log.info("%d workers are wanted now, not %d", count, self.count)
        self.count = count


class Driver:
    """One run's segments, one after the other."""

    def __init__(
        self,
        settings: RunSettings,
        preflight: Preflight,
        options: DriverOptions,
        *,
        watch: RunWatch,
        wanted: WantedWorkers,
        platform: Platform,
        stopping: threading.Event,
        log: DriverLog,
    ) -> None:
        self._settings = settings
        self._preflight = preflight
        self._options = options
        self._watch = watch
        self._wanted = wanted
        self._platform = platform
        self._stopping = stopping
        self._log = log
        self._roster = Roster(platform)
        self._history = History()
        self._last_attempt: int | None = None
        self._fault_is_untold = False
        self._excluded: frozenset[str] = frozenset()

    def run(self) -> RunEnd:
        """Segments until a verdict that ends the run."""
        cause: Decision | None = None
        try:
            while True:
                crew = self._wait_for_crew()
                attempt = self._start_attempt(cause) if crew is not None else None
                if crew is None or attempt is None:
                    return self._finish(Decision(Verdict.STOPPED))
                end = self._run_segment(crew, attempt)
                called_off = self._stopping.is_set() and end.images_reached is None
                self._fault_is_untold = end.outcome is None and not called_off
                cause = decide_after_segment(end, self._history, backoff_limit=self._options.backoff_limit)
                if self._stopping.is_set() and cause.verdict is not Verdict.COMPLETE and end.failure is None:
                    cause = Decision(Verdict.STOPPED)
                if cause.verdict is not Verdict.AGAIN:
                    return self._finish(cause)
                self._note(attempt, end, cause)
        except SynthrayError as error:
            return self._finish(Decision(Verdict.FAILED, error.reason, error.message, error))
        finally:
            self._roster.close()

    def _plan_workers(self) -> int:
        """Workers that can train now; none where fewer than the minimum could."""
        count = plan_workers(self._wanted.count, self._platform.places(), self._wanted.limit)
        minimum = min(self._options.min_workers, self._wanted.count)
        self._watch.set_desired(max(count, minimum))
        return count if count >= minimum else 0

    def _wait_for_crew(self) -> Crew | None:
        """The crew for the next segment, as soon as it is there; None if asked to stop meanwhile."""
        while not self._stopping.is_set():
            num_workers = self._plan_workers()
            self._roster.change(num_workers)
            if (crew := self._roster.staff(num_workers)) is not None:
                return crew
            self._watch.set_state("WaitingForWorkers")
            self._show()
            self._stopping.wait(_POLL_SECONDS)
        return None

    def _start_attempt(self, cause: Decision | None) -> AttemptSettings | None:
        """The next attempt, as soon as storage answers; None if the driver is asked to stop meanwhile.

        Raises RunFailed(FENCED) if another driver has gone on with the run since this one's last attempt:
        who was paused must stop, not take the run back.
        """
        checked = self._last_attempt is None
        while not self._stopping.is_set():
            try:
                if self._last_attempt is not None and not checked:
                    # Only before the first try: a try that lost its answer may have claimed a number itself.
                    check_not_fenced(self._preflight.store, self._last_attempt)
                    checked = True
                resume_point = observe_resume_point(self._preflight, self._excluded)
                attempt = start_attempt(
                    self._preflight, resume_point, images_reached=self._watch.images_reached, cause=cause
                )
            except Unavailable as error:
                _log.warning("waiting for storage: %s", error.message)
                self._watch.set_state("WaitingForStorage", str(error.reason), error.message)
                self._show()
                self._stopping.wait(_STORAGE_PAUSE_SECONDS)
            else:
                self._last_attempt, self._fault_is_untold = attempt.number, False
                return attempt
        return None

    def _run_segment(self, crew: Crew, attempt: AttemptSettings) -> SegmentEnd:
        """One segment, watched until it is over."""
        self._log.begin_attempt(attempt.number, crew.size)
        self._watch.begin_segment(attempt.number, resumed_from=attempt.resumes_from, now=time.time())
        shift = Shift(
            self._platform.board,
            crew,
            self._settings,
            attempt,
            quiet_limit_seconds=self._options.quiet_limit_seconds,
        )
        while True:
            posting, end = shift.look()
            self._watch.observe(posting, attempt.number)
            self._show()
            if end is not None:
                return replace(end, committed=self._watch.has_committed(attempt.number))
            if self._stopping.is_set():
                shift.ask_to_stop(patient=False)
            # What storage does not take now, the next crew would compute again.
            elif self._is_change_due() and not shift.storage_is_away:
                shift.ask_to_stop(patient=True)
            # Before its first step a segment has nothing to save; later it has time as long as it gets on.
            if self._stopping.is_set() and shift.images_reached is None:
                shift.abort()
            elif self._stopping.is_set() and shift.quiet_seconds > _GRACE_SECONDS and not shift.aborted:
                _log.error(
                    "nothing moved for %.0f s: stopping without a save; the next start goes on from the last",
                    _GRACE_SECONDS,
                )
                shift.abort()
            time.sleep(_POLL_SECONDS)

    def _is_change_due(self) -> bool:
        """Whether others are to go on with the work."""
        num_workers = self._plan_workers()
        self._roster.staff(num_workers)
        return self._roster.is_change_due(num_workers)

    def _note(self, attempt: AttemptSettings, end: SegmentEnd, cause: Decision) -> None:
        """Remember what this segment taught, and wait as decided."""
        self._history = self._history.after(end)
        if end.outcome is None:
            _log.warning(
                "%s; going on from the newest state (logs: %s)", cause.message, self._platform.logs()
            )
            self._watch.set_state("WaitingForWorkers", str(cause.reason or ""), cause.message)
        if cause.reason is Reason.CHECKPOINT_CORRUPT and end.images_reached is None and attempt.resumes_from:
            self._excluded |= {attempt.resumes_from}
        self._show()
        self._stopping.wait(cause.wait_seconds)

    def _show(self) -> None:
        self._options.show(self._watch.snapshot())

    def _finish(self, decision: Decision) -> RunEnd:
        self._watch.set_state(_name_end(decision), str(decision.reason or ""), decision.message)
        self._show()
        self._leave_word(decision)
        return RunEnd(decision.verdict, self._watch.snapshot(), decision.failure)

    def _leave_word(self, decision: Decision) -> None:
        """Say in the store that the last attempt's end was meant, where its workers could not.

        Nothing is said of one that ended by a fault: the next driver tells of it.
        """
        number = self._last_attempt
        if number is None or decision.verdict is Verdict.FAILED or self._fault_is_untold:
            return
        places = self._settings.storage
        settings = replace(places.s3, deadline_seconds=_LAST_WORD_SECONDS)
        try:
            store = open_store(places.checkpoints_uri, settings)
            if not has_ended(store, number):
                images_seen = self._watch.snapshot().lifetime.images_seen
                write_ending(store, number, words=decision.verdict.value, images_seen=images_seen)
        except SynthrayError as error:
            _log.warning("the attempt's end is not noted: %s", error.message)


def _name_end(decision: Decision) -> str:
    if decision.reason is Reason.FENCED:
        return "Fenced"
    return {Verdict.COMPLETE: "Complete", Verdict.STOPPED: "Stopped"}.get(decision.verdict, "Failed")
