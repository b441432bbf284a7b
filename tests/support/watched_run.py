"""A tiny run whose books are kept as a driver keeps them, at the pace of whoever scrapes them."""

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress

from tiny_run import CPU, Control, TinyRun, run_workers

from synthray.telemetry.report import RunSnapshot, SegmentReport
from synthray.training.board import Member, Note, Posting
from synthray.training.decisions import Decision
from synthray.training.driver import DriverOptions
from synthray.training.loop import train_segment
from synthray.training.preflight import check_run, observe_resume_point, start_attempt
from synthray.training.session import build_first_snapshot
from synthray.training.watch import RunWatch
from synthray.training.worker_task import Beat
from synthray.training.world import World

_SCRAPE_SECONDS = 5.0


class Killed(Exception):
    """In place of a SIGKILL: nothing is saved, nothing is said."""


class WatchedRun:
    """Segments one after the other, shown by `snapshot`; each step waits until it has been scraped."""

    def __init__(self, run: TinyRun, namespace: str, *changes: str) -> None:
        self._settings = run.settings(*changes)
        self._preflight = check_run(self._settings, adopt=False)
        options = DriverOptions(
            namespace=namespace,
            num_workers=2,
            min_workers=1,
            backoff_limit=6,
            quiet_limit_seconds=60.0,
            show=lambda _: None,
            open_platform=lambda _directory, _logs: nullcontext(),  # type: ignore[arg-type,return-value]
        )
        self._watch = RunWatch(build_first_snapshot(self._settings, self._preflight, options, None))
        self._scraped = threading.Condition()
        self._num_scrapes = 0

    def snapshot(self) -> RunSnapshot:
        """What the exporter shows; counts who looks."""
        with self._scraped:
            self._num_scrapes += 1
            self._scraped.notify_all()
        return self._watch.snapshot()

    def train(
        self,
        *,
        num_workers: int,
        stop_after_steps: int | None = None,
        dies_after_steps: int | None = None,
        cause: Decision | None = None,
    ) -> None:
        """One attempt, from the newest state until it is stopped, dies or is complete."""
        point = observe_resume_point(self._preflight, frozenset())
        reached = self._watch.images_reached
        attempt = start_attempt(self._preflight, point, images_reached=reached, cause=cause)
        self._watch.begin_segment(attempt.number, resumed_from=attempt.resumes_from, now=time.time())
        self._watch.set_desired(num_workers)
        first = _Scraped(self._show, stop_after_steps, dies_after_steps)

        def work(world: World) -> str:
            return train_segment(self._settings, attempt, world, Control() if world.rank else first)

        with suppress(Killed):
            run_workers(num_workers, work, device=CPU)

    def _show(self, report: SegmentReport) -> None:
        note = Note(node="here", attempt=report.attempt, beat=Beat(1, report))
        self._watch.observe(Posting("only", {report.rank: Member(note, 0.0, 0.0)}), report.attempt)
        with self._scraped:
            # The scrape that is under way now may have seen the step before.
            seen = self._num_scrapes + 2
            assert self._scraped.wait_for(lambda: self._num_scrapes >= seen, _SCRAPE_SECONDS), "no scrapes"


class _Scraped(Control):
    """The first worker's platform: shows each of its reports and goes on once they were scraped."""

    def __init__(
        self,
        show: Callable[[SegmentReport], None],
        stop_after_steps: int | None,
        dies_after_steps: int | None,
    ) -> None:
        super().__init__(stop_after_steps)
        self._show = show
        self._dies_after_steps = dies_after_steps

    def report(self, report: SegmentReport) -> None:
        super().report(report)
        self._show(report)
        if self._dies_after_steps is not None and report.totals.steps >= self._dies_after_steps:
            raise Killed
