"""The driver of a run: starts segments, watches them, and decides what follows each.

A segment is one Ray Train `fit()` with a fixed number of workers. The driver itself trains nothing and holds
no tensor: it must not import torch, so that it starts fast and outlives what happens to workers.
"""

import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType

import ray
from ray.train import TrainingFailedError

from synthray import __version__
from synthray.checkpoints.manifest import Manifest
from synthray.checkpoints.names import state_directory
from synthray.errors import Reason, SynthrayError, Unavailable
from synthray.telemetry.exporter import Exporter
from synthray.telemetry.report import LastCheckpoint, RunSnapshot
from synthray.training.board import Posting, RunBoard, Wishes
from synthray.training.decisions import Decision, SegmentEnd, Verdict, decide_after_segment
from synthray.training.ledger import Ledger, build_lifetime
from synthray.training.preflight import Preflight, observe_resume_point, start_attempt
from synthray.training.ray_worker import RaySegment, fit_segment
from synthray.training.settings import AttemptSettings, RunSettings
from synthray.training.watch import RunWatch

_POLL_SECONDS = 0.25
_GRACE_SECONDS = 60.0
_STORAGE_PAUSE_SECONDS = 5.0
_RAY_START_ATTEMPTS = 3
_OBJECT_STORE_BYTES = 128 * 1024 * 1024

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DriverOptions:
    """What the command line adds to the run: how many workers here, and where to show progress."""

    namespace: str
    num_workers: int
    metrics_host: str
    metrics_port: int
    show: Callable[[RunSnapshot], None]


@dataclass(frozen=True)
class RunEnd:
    """How the driver's work ended."""

    verdict: Verdict
    snapshot: RunSnapshot
    failure: SynthrayError | None = None


def drive(settings: RunSettings, preflight: Preflight, options: DriverOptions) -> RunEnd:
    """Train until the run is complete, is stopped by a signal, or fails.

    Raises InvalidInput if the port of the exporter is taken.
    """
    resume_point = observe_resume_point(preflight, frozenset())
    watch = RunWatch(_first_snapshot(settings, preflight, options, resume_point))
    with Exporter(watch.snapshot, host=options.metrics_host, port=options.metrics_port):
        if resume_point is not None and resume_point.images_seen >= preflight.plan.images_total:
            _log.info("%s is complete already; raise spec.optimization.epochs to train on", settings.run)
            watch.set_state("Complete")
            options.show(watch.snapshot())
            return RunEnd(Verdict.COMPLETE, watch.snapshot())
        with _local_ray(settings, options.num_workers) as scratch_directory, _stop_on_signals() as stopping:
            return Driver(
                settings,
                preflight,
                options,
                watch=watch,
                stopping=stopping,
                scratch_directory=scratch_directory,
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


@contextmanager
def _local_ray(settings: RunSettings, num_workers: int) -> Iterator[str]:
    """A Ray of this machine for the time of the run; yields a folder for what Ray Train writes."""
    os.environ.update(
        {
            # Where images of patients are near, nothing reports home.
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
            "RAY_TRAIN_METRICS_ENABLED": "0",
            "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
            "RAY_CHDIR_TO_TRIAL_DIR": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            # cuBLAS repeats its results only with a workspace of fixed size.
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        }
    )
    with tempfile.TemporaryDirectory(prefix=f"synthray-{settings.run}-") as scratch_directory:
        try:
            _start_ray(num_workers)
            yield scratch_directory
        finally:
            ray.shutdown()


def _start_ray(num_workers: int) -> None:
    """Start Ray; on a busy machine it may miss its own deadline of 30 seconds, so it gets more than one."""
    for attempts_left in reversed(range(_RAY_START_ATTEMPTS)):
        try:
            ray.init(
                num_cpus=num_workers + 1,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=_OBJECT_STORE_BYTES,
            )
        except Exception as error:
            ray.shutdown()
            if attempts_left:
                _log.info("Ray did not start in time; once more")
                continue
            raise Unavailable(
                f"Ray did not start on this machine ({error}); its logs are in /tmp/ray/session_latest/logs. "
                "The same command may succeed when the machine is less busy",
                reason=Reason.RAY_UNAVAILABLE,
            ) from error
        return


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM ask for a save and an end; a second one ends at once.

    To be entered after `ray.init`, which sets a SIGTERM handler of its own.
    """
    stopping = threading.Event()

    def stop(signal_number: int, _: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        _log.warning("%s: saving, then stopping; once more stops at once", signal.Signals(signal_number).name)
        stopping.set()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Driver:
    """One run's segments, one after the other."""

    def __init__(
        self,
        settings: RunSettings,
        preflight: Preflight,
        options: DriverOptions,
        *,
        watch: RunWatch,
        stopping: threading.Event,
        scratch_directory: str,
    ) -> None:
        self._settings = settings
        self._preflight = preflight
        self._options = options
        self._watch = watch
        self._stopping = stopping
        self._scratch_directory = scratch_directory
        self._board = ray.remote(num_cpus=0)(RunBoard).remote()
        self._deaths: tuple[int, ...] = ()
        self._idle_starts = 0
        self._excluded: frozenset[str] = frozenset()

    def run(self) -> RunEnd:
        """Segments until a verdict that ends the run."""
        cause: Decision | None = None
        while True:
            attempt = self._start_attempt(cause)
            if attempt is None:
                return self._finish(Decision(Verdict.STOPPED))
            end = self._run_segment(attempt)
            cause = decide_after_segment(end, self._deaths, self._idle_starts)
            if self._stopping.is_set() and (cause.verdict is Verdict.AGAIN or end.failure is None):
                cause = cause if cause.verdict is Verdict.COMPLETE else Decision(Verdict.STOPPED)
            if cause.verdict is not Verdict.AGAIN:
                return self._finish(cause)
            self._note(attempt, end, cause)

    def _start_attempt(self, cause: Decision | None) -> AttemptSettings | None:
        """The next attempt, as soon as storage answers; None if the driver is asked to stop meanwhile."""
        while not self._stopping.is_set():
            try:
                resume_point = observe_resume_point(self._preflight, self._excluded)
                return start_attempt(
                    self._preflight, resume_point, images_reached=self._watch.images_reached, cause=cause
                )
            except Unavailable as error:
                _log.warning("waiting for storage: %s", error.message)
                self._watch.set_state("WaitingForStorage", str(error.reason))
                self._options.show(self._watch.snapshot())
                self._stopping.wait(_STORAGE_PAUSE_SECONDS)
        return None

    def _note(self, attempt: AttemptSettings, end: SegmentEnd, cause: Decision) -> None:
        """Remember what this segment taught, and wait as decided."""
        _log.warning("%s; going on from the newest state", cause.message)
        if end.failure is None and end.images_reached is not None:
            self._deaths = (*self._deaths, end.images_reached)
        if cause.reason is Reason.CHECKPOINT_CORRUPT and end.images_reached is None and attempt.resumes_from:
            self._excluded |= {attempt.resumes_from}
        self._idle_starts = self._idle_starts + 1 if end.images_reached is None else 0
        self._watch.set_state("WaitingForWorkers", str(cause.reason or ""))
        self._options.show(self._watch.snapshot())
        self._stopping.wait(cause.wait_seconds)

    def _finish(self, decision: Decision) -> RunEnd:
        names = {Verdict.COMPLETE: "Complete", Verdict.STOPPED: "Stopped", Verdict.FAILED: "Failed"}
        self._watch.set_state(names[decision.verdict], str(decision.reason or ""))
        snapshot = self._watch.snapshot()
        self._options.show(snapshot)
        return RunEnd(decision.verdict, snapshot, decision.failure)

    def _run_segment(self, attempt: AttemptSettings) -> SegmentEnd:
        """One `fit()`, watched from here while Ray runs it in a thread of its own."""
        self._watch.begin_segment(attempt.number, self._options.num_workers)
        ray.get(self._board.open_segment.remote(attempt.number))
        thread = threading.Thread(target=self._fit, args=(attempt,), name="fit", daemon=True)
        thread.start()
        asked_at: float | None = None
        while thread.is_alive():
            thread.join(_POLL_SECONDS)
            self._observe()
            if self._stopping.is_set() and asked_at is None:
                asked_at = time.monotonic()
                ray.get(self._board.ask.remote(Wishes(stop=True)))
                if self._watch.snapshot().workers_ready == 0:
                    break  # nothing was computed yet, so nothing is lost
            if asked_at is not None and time.monotonic() - asked_at > _GRACE_SECONDS:
                _log.error("the workers did not stop within %.0f s", _GRACE_SECONDS)
                break
        posting = self._observe()
        return SegmentEnd(posting.outcome, posting.failure, self._watch.images_reached)

    def _observe(self) -> Posting:
        posting: Posting = ray.get(self._board.posting.remote())
        self._watch.observe(posting)
        self._options.show(self._watch.snapshot())
        return posting

    def _fit(self, attempt: AttemptSettings) -> None:
        segment = RaySegment(self._settings, attempt, self._board)
        try:
            fit_segment(segment, self._options.num_workers, scratch_directory=self._scratch_directory)
        except TrainingFailedError as error:
            for rank, failure in sorted(getattr(error, "worker_failures", {}).items()):
                _log.info("worker %d: %s", rank, str(failure).strip().partition("\n")[0])
        except Exception:  # noqa: BLE001 Ray raises many things; all of them end the segment, and the driver decides
            _log.warning(
                "Ray Train ended segment %d unexpectedly",
                attempt.number,
                exc_info=not self._stopping.is_set(),
            )
