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
from tempfile import TemporaryDirectory

from synthray import __version__
from synthray.checkpoints.attempts import check_not_fenced
from synthray.checkpoints.manifest import Manifest
from synthray.checkpoints.names import state_directory
from synthray.errors import Reason, SynthrayError, Unavailable
from synthray.telemetry.exporter import Exporter
from synthray.telemetry.report import LastCheckpoint, RunSnapshot
from synthray.training.crew import Crew, Platform
from synthray.training.decisions import (
    Decision,
    History,
    SegmentEnd,
    Verdict,
    decide_after_segment,
    plan_workers,
)
from synthray.training.ledger import Ledger, build_lifetime
from synthray.training.preflight import Preflight, is_complete, observe_resume_point, start_attempt
from synthray.training.roster import Roster
from synthray.training.settings import AttemptSettings, RunSettings
from synthray.training.shift import Shift
from synthray.training.signals import hear_signals
from synthray.training.watch import RunWatch

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 60.0
_STORAGE_PAUSE_SECONDS = 5.0

OpenPlatform = Callable[[Path, Path], AbstractContextManager[Platform]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DriverOptions:
    """What the command line adds to the run: how many workers here, on what, and where to show progress.

    A segment in which nothing moves for `quiet_limit_seconds` (and five median steps) hangs.
    `open_platform` takes a folder for the platform's own files and one for logs.
    """

    namespace: str
    num_workers: int
    min_workers: int
    backoff_limit: int
    quiet_limit_seconds: float
    metrics_host: str
    metrics_port: int
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


def drive(settings: RunSettings, preflight: Preflight, options: DriverOptions) -> RunEnd:
    """Train until the run is complete, is stopped by a signal, or fails.

    Raises InvalidInput if the port of the exporter is taken.
    """
    resume_point = observe_resume_point(preflight, frozenset())
    watch = RunWatch(_first_snapshot(settings, preflight, options, resume_point))
    wanted = WantedWorkers(options.num_workers, preflight.plan.num_micro_batches)
    with Exporter(watch.snapshot, host=options.metrics_host, port=options.metrics_port, scale=wanted):
        if is_complete(settings, preflight, resume_point):
            _log.info("%s is complete already; raise spec.optimization.epochs to train on", settings.run)
            watch.set_state("Complete")
            options.show(watch.snapshot())
            return RunEnd(Verdict.COMPLETE, watch.snapshot())
        stopping = threading.Event()
        logs = Path(settings.storage.cache_directory) / "logs" / settings.run
        with (
            hear_signals(stopping),
            TemporaryDirectory(prefix=f"synthray-{settings.run}-") as directory,
            options.open_platform(Path(directory), logs) as platform,
            # Once more, since starting Ray sets a handler of its own.
            hear_signals(stopping),
        ):
            return Driver(
                settings, preflight, options, watch=watch, wanted=wanted, platform=platform, stopping=stopping
            ).run()


def _first_snapshot(
    settings: RunSettings, preflight: Preflight, options: DriverOptions, resume_point: Manifest | None
) -> RunSnapshot:
    """What is known before any worker has spoken."""
    snapshot = RunSnapshot(
        namespace=options.namespace,
        run=settings.run,
        model=f"unet-{settings.architecture.resolution_px}",
        version=__version__,
        epochs=settings.epochs,
        images_total=preflight.plan.images_total,
        workers_desired=options.num_workers,
    )
    if resume_point is None:
        return snapshot
    ledger = Ledger.from_json(resume_point.ledger)
    return replace(
        snapshot,
        lifetime=build_lifetime(ledger, resume_point.images_seen),
        last_checkpoint=LastCheckpoint(
            name=str(resume_point.name),
            epoch=resume_point.epoch,
            images_seen=resume_point.images_seen,
            uri=f"{preflight.store.uri}/{state_directory(resume_point.name).rstrip('/')}",
            time=ledger.saved,
        ),
    )


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
    ) -> None:
        self._settings = settings
        self._preflight = preflight
        self._options = options
        self._watch = watch
        self._wanted = wanted
        self._platform = platform
        self._stopping = stopping
        self._roster = Roster(platform)
        self._history = History()
        self._last_attempt: int | None = None
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
        return count if count >= min(self._options.min_workers, self._wanted.count) else 0

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
                self._watch.set_state("WaitingForStorage", str(error.reason))
                self._show()
                self._stopping.wait(_STORAGE_PAUSE_SECONDS)
            else:
                self._last_attempt = attempt.number
                return attempt
        return None

    def _run_segment(self, crew: Crew, attempt: AttemptSettings) -> SegmentEnd:
        """One segment, watched until it is over."""
        self._watch.begin_segment(attempt.number, self._wanted.count)
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
            if self._is_change_due():
                shift.ask_to_stop()
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
        """Whether the segment should end: somebody says so, or others are to go on with the work."""
        num_workers = self._plan_workers()
        self._roster.staff(num_workers)
        return self._stopping.is_set() or self._roster.is_change_due(num_workers)

    def _note(self, attempt: AttemptSettings, end: SegmentEnd, cause: Decision) -> None:
        """Remember what this segment taught, and wait as decided."""
        self._history = self._history.after(end)
        if end.outcome is None:
            _log.warning(
                "%s; going on from the newest state (logs: %s)", cause.message, self._platform.logs()
            )
            self._watch.set_state("WaitingForWorkers", str(cause.reason or ""))
        if cause.reason is Reason.CHECKPOINT_CORRUPT and end.images_reached is None and attempt.resumes_from:
            self._excluded |= {attempt.resumes_from}
        self._show()
        self._stopping.wait(cause.wait_seconds)

    def _show(self) -> None:
        self._options.show(self._watch.snapshot())

    def _finish(self, decision: Decision) -> RunEnd:
        names = {Verdict.COMPLETE: "Complete", Verdict.STOPPED: "Stopped", Verdict.FAILED: "Failed"}
        self._watch.set_state(names[decision.verdict], str(decision.reason or ""))
        self._show()
        return RunEnd(decision.verdict, self._watch.snapshot(), decision.failure)
