"""The loop without Ray: `python -m synthray.training.standalone RUN.yaml`, or the same under torchrun.

For machines without Ray, for measurements, and as the proof that the loop needs no platform. It walks one
segment; who wants restarts starts it again.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from synthray.api.loading import load_training_run
from synthray.errors import SynthrayError
from synthray.telemetry.report import SegmentReport
from synthray.training.loop import run_segment
from synthray.training.preflight import check_run, observe_resume_point, start_attempt
from synthray.training.resolution import observe_compute_capability, resolve_run
from synthray.training.segment import open_segment
from synthray.training.settings import AttemptSettings, RunSettings
from synthray.training.world import World, join_world_of_torchrun, leave_world, pick_device

_log = logging.getLogger(__name__)


class LoggingControl:
    """A platform that never asks for anything and logs what it hears."""

    def stop_requested(self) -> bool:
        """Nobody asks."""
        return False

    def save_requested(self) -> bool:
        """Nobody asks."""
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


def begin(settings: RunSettings, world: World) -> AttemptSettings:
    """The first worker checks the run and creates the attempt; all get it."""
    attempt = None
    if world.rank == 0:
        preflight = check_run(settings, adopt=False)
        resume_point = observe_resume_point(preflight, frozenset())
        attempt = start_attempt(preflight, resume_point, images_reached=0, cause=None)
    attempt = world.gather_objects(attempt)[0]
    assert attempt is not None  # noqa: S101 the first worker made it or has raised
    return attempt


def main() -> int:
    """Train RUN.yaml to its end."""
    parser = argparse.ArgumentParser(prog="synthray.training.standalone", description=__doc__)
    parser.add_argument("run_file", type=Path, metavar="RUN.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", dest="changes")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/synthray").expanduser())
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        settings = resolve_run(
            load_training_run(options.run_file, options.changes),
            os.environ,
            cache_directory=options.cache,
            compute_capability=observe_compute_capability(),
        ).settings
        world = join_world_of_torchrun(pick_device(settings.device))
        with open_segment(settings, begin(settings, world), world) as segment:
            run_segment(segment, LoggingControl())
        leave_world(world)
    except SynthrayError as error:
        print(f"synthray: {error.message}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
