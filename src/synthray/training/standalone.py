"""The loop without Ray: `python -m synthray.training.standalone RUN.yaml`, or the same under torchrun.

For machines without Ray, for measurements, and as the proof that the loop needs no platform. It walks one
segment; who wants restarts starts it again. SIGINT and SIGTERM finish the step, save and end with 130.
"""

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from synthray.api.loading import load_training_run
from synthray.errors import SynthrayError
from synthray.telemetry.report import SegmentReport
from synthray.training.loop import COMPLETE, train_segment
from synthray.training.preflight import check_run, is_complete, observe_resume_point, start_attempt
from synthray.training.resolution import observe_compute_capability, resolve_run
from synthray.training.settings import AttemptSettings, RunSettings
from synthray.training.world import World, join_world_of_torchrun, leave_world, pick_device

_EXIT_INTERRUPTED = 130

_log = logging.getLogger(__name__)


class SignalControl:
    """A platform that asks to stop at SIGINT and SIGTERM; a second one ends at once. Logs what it hears."""

    def __init__(self) -> None:
        self._stopping = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._hear)

    def stop_requested(self) -> bool:
        """Whether a signal has come."""
        return self._stopping

    def stop_is_patient(self) -> bool:
        """Who sends a signal wants the process to end."""
        return False

    def report(self, report: SegmentReport) -> None:
        """Log where the first worker stands."""
        if report.figures is not None:
            _log.info(
                "%s: step %d, %d images, loss %.4f, %.1f images/s",
                report.state,
                report.figures.step,
                report.figures.images_seen,
                report.figures.loss,
                report.figures.images_per_second,
            )

    def _hear(self, number: int, _: FrameType | None) -> None:
        self._stopping = True
        signal.signal(number, signal.SIG_DFL)


def begin(settings: RunSettings, world: World) -> AttemptSettings | None:
    """The first worker checks the run and creates the attempt, for all; None if the run is complete."""
    attempt = None
    if world.rank == 0:
        preflight = check_run(settings, adopt=False)
        resume_point = observe_resume_point(preflight, frozenset())
        if not is_complete(settings, preflight, resume_point):
            attempt = start_attempt(preflight, resume_point, images_reached=None, cause=None)
    return world.gather_objects(attempt)[0]


def main() -> int:
    """Train RUN.yaml to its end."""
    parser = argparse.ArgumentParser(prog="synthray.training.standalone", description=__doc__)
    parser.add_argument("run_file", type=Path, metavar="RUN.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", dest="changes")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/synthray").expanduser())
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    control = SignalControl()
    try:
        settings = resolve_run(
            load_training_run(options.run_file, options.changes),
            os.environ,
            cache_directory=options.cache,
            compute_capability=observe_compute_capability(),
        ).settings
        world = join_world_of_torchrun(pick_device(settings.device))
        attempt = begin(settings, world)
        if attempt is None:
            _log.info("%s is complete; raise spec.optimization.epochs to train on", settings.run)
        outcome = train_segment(settings, attempt, world, control) if attempt else COMPLETE
        leave_world(world)
    except SynthrayError as error:
        print(f"synthray: {error.message}", file=sys.stderr)
        return error.exit_code
    return 0 if outcome == COMPLETE else _EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
