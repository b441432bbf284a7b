"""From a checked run to its end: what `synthray train` and the head of a cluster's attempt have in common.

Shows what is known, sees whether anything is left to do, and drives the segments on a platform, ready for
signals. No torch here.
"""

import logging
import threading
from dataclasses import replace
from pathlib import Path

from synthray import __version__
from synthray.checkpoints.manifest import Manifest
from synthray.checkpoints.names import state_directory
from synthray.signals import hear_signals
from synthray.telemetry.exporter import build_exporter
from synthray.telemetry.report import LastCheckpoint, RunSnapshot
from synthray.training.decisions import Verdict
from synthray.training.driver import Driver, DriverOptions, RunEnd, WantedWorkers
from synthray.training.ledger import Ledger, build_lifetime
from synthray.training.live_gallery import keep_gallery
from synthray.training.preflight import Preflight, is_complete, observe_resume_point
from synthray.training.run_log.sources import keep_driver_log
from synthray.training.scratch import open_scratch, prune_worker_logs
from synthray.training.settings import RunSettings
from synthray.training.watch import RunWatch

_INTENTION = "saving, then stopping"

_log = logging.getLogger(__name__)


def drive(
    settings: RunSettings,
    preflight: Preflight,
    options: DriverOptions,
    *,
    metrics_host: str,
    metrics_port: int,
) -> RunEnd:
    """Train on this machine until the run is complete, is stopped by a signal, or fails.

    Raises InvalidInput if the port of the exporter is taken.
    """
    resume_point = observe_resume_point(preflight, frozenset())
    watch = RunWatch(build_first_snapshot(settings, preflight, options, resume_point))
    wanted = WantedWorkers(options.num_workers, preflight.plan.num_micro_batches)
    with build_exporter(watch.snapshot, host=metrics_host, port=metrics_port, scale=wanted):
        if is_complete(settings, preflight, resume_point):
            _log.info("%s is complete already; raise spec.optimization.epochs to train on", settings.run)
            return finish_complete(watch, options)
        return conduct(settings, preflight, options, watch=watch, wanted=wanted, stopping=threading.Event())


def finish_complete(watch: RunWatch, options: DriverOptions) -> RunEnd:
    """The end of a run to which nothing is left to do."""
    watch.set_state("Complete")
    options.show(watch.snapshot())
    return RunEnd(Verdict.COMPLETE, watch.snapshot())


def conduct(
    settings: RunSettings,
    preflight: Preflight,
    options: DriverOptions,
    *,
    watch: RunWatch,
    wanted: WantedWorkers,
    stopping: threading.Event,
) -> RunEnd:
    """Open the platform and drive segments on it; from here on SIGINT and SIGTERM set `stopping`."""
    logs = Path(settings.storage.cache_directory) / "logs" / settings.run
    prune_worker_logs(logs)
    with (
        hear_signals(stopping, _INTENTION),
        open_scratch(settings.run) as directory,
        options.open_platform(directory, logs) as platform,
        # Once more, since starting Ray sets a handler of its own.
        hear_signals(stopping, _INTENTION),
        keep_driver_log(settings.storage) as log,
        keep_gallery(settings, watch),
    ):
        end = Driver(
            settings,
            preflight,
            options,
            watch=watch,
            wanted=wanted,
            platform=platform,
            stopping=stopping,
            log=log,
        ).run()
        log.end(_describe_end(end))
        return end


def _describe_end(end: RunEnd) -> str:
    """The log's last line."""
    why = f" ({end.failure.reason}): {end.failure.message}" if end.failure else ""
    return f"the driver ends: {end.snapshot.state}{why}"


def build_first_snapshot(
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
        max_work_at_risk_seconds=settings.max_work_at_risk_seconds,
    )
    if resume_point is None:
        return snapshot
    ledger = Ledger.from_json(resume_point.ledger)
    return replace(
        snapshot,
        lifetime=build_lifetime(ledger, resume_point.images_seen),
        resumed_from=str(resume_point.name),
        last_checkpoint=LastCheckpoint(
            name=str(resume_point.name),
            epoch=resume_point.epoch,
            images_seen=resume_point.images_seen,
            uri=f"{preflight.store.uri}/{state_directory(resume_point.name).rstrip('/')}",
            time=ledger.saved,
        ),
    )
