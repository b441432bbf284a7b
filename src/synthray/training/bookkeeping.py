"""One worker's running figures of a segment, turned into the reports that it sends.

It counts; it decides nothing and talks to nobody.
"""

import os
import socket
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from synthray.checkpoints.saver import SaveResult
from synthray.telemetry.report import (
    UNREADABLE,
    LastCheckpoint,
    SegmentReport,
    SegmentTotals,
    StepFigures,
    WorkerPlace,
)
from synthray.telemetry.storage_counters import STORAGE_COUNTERS, StorageCounts
from synthray.training.ledger import Ledger, StepTimes, build_lifetime
from synthray.training.plan import BatchPlan
from synthray.training.state import TrainingState
from synthray.training.step import StepResult

_RATE_STEPS = 16


def observe_place(rank: int) -> WorkerPlace:
    """This process, as the one that computes `rank`."""
    return WorkerPlace(rank, os.environ.get("NODE_NAME") or socket.gethostname(), os.getpid())


def build_first_report(
    rank: int, attempt: int, state_name: str, *, storage_wait_seconds: float
) -> SegmentReport:
    """What a worker can say before it knows where its run stands; all wait together, so the first counts."""
    totals = SegmentTotals(storage_wait_seconds=0.0 if rank else storage_wait_seconds)
    return SegmentReport(rank, attempt, state_name, observe_place(rank), totals)


class SegmentBooks:
    """Totals since the segment began, and the figures of the newest step."""

    def __init__(self, rank: int, attempt: int, plan: BatchPlan) -> None:
        self._place = observe_place(rank)
        self._attempt = attempt
        self._plan = plan
        self._recent: deque[tuple[int, float]] = deque(maxlen=_RATE_STEPS)
        self.totals = SegmentTotals()
        self.figures: StepFigures | None = None
        self.validation_loss: float | None = None
        self.last_checkpoint: LastCheckpoint | None = None
        self.uploader_storage = StorageCounts()

    def book_step(
        self,
        state: TrainingState,
        result: StepResult,
        times: StepTimes,
        *,
        num_images: int,
        num_replaced: int,
    ) -> None:
        """Count one accepted step of the whole global batch; `num_replaced` samples stand in for bad ones."""
        seconds = times.useful_seconds + times.data_wait_seconds
        self._recent.append((num_images, seconds))
        self.totals = replace(
            self.totals,
            images=self.totals.images + num_images,
            steps=self.totals.steps + 1,
            nonfinite_steps=self.totals.nonfinite_steps + result.recomputed,
            skipped_samples=_count_skipped(self.totals.skipped_samples, num_replaced),
            data_wait_seconds=self.totals.data_wait_seconds + times.data_wait_seconds,
            step_seconds=self.totals.step_seconds.observe(seconds),
        )
        self.figures = StepFigures(
            epoch=self._plan.epochs_done(state.images_seen),
            images_seen=state.images_seen,
            step=state.step,
            loss=result.loss,
            loss_by_bucket=result.loss_by_bucket,
            gradient_norm=result.gradient_norm,
            learning_rate=result.learning_rate,
            loss_scale=state.loss_scale.scale,
            images_per_second=self._images_per_second(),
            validation_loss=self.validation_loss,
        )

    def _images_per_second(self) -> float:
        return sum(images for images, _ in self._recent) / sum(seconds for _, seconds in self._recent)

    def book_storage_wait(self, seconds: float) -> None:
        """Say how long training has stood still because storage was away."""
        self.totals = replace(self.totals, storage_wait_seconds=seconds)

    def book_stall(self, seconds: float) -> None:
        """Count time that training stood still for a save."""
        stall = self.totals.checkpoint_stall_seconds + seconds
        self.totals = replace(self.totals, checkpoint_stall_seconds=stall)

    def book_save(self, result: SaveResult, checkpoints_uri: str) -> None:
        """Count what became of a save."""
        self.uploader_storage += result.storage
        if result.error is not None:
            failures = {**self.totals.checkpoint_failures}
            failures[result.error.reason] = failures.get(result.error.reason, 0) + 1
            self.totals = replace(self.totals, checkpoint_failures=failures)
        if result.state is None:
            return
        self.totals = replace(
            self.totals,
            checkpoint_bytes=self.totals.checkpoint_bytes + result.uploaded_bytes,
            commit_seconds=self.totals.commit_seconds.observe(
                result.hash_seconds + result.upload_seconds + result.commit_seconds
            ),
        )
        self.last_checkpoint = LastCheckpoint(
            name=result.state,
            epoch=result.request.epoch,
            images_seen=result.request.images_seen,
            uri=f"{checkpoints_uri}/states/{result.state}",
            time=time.time(),
        )

    def report(self, state_name: str, ledger: Ledger, images_seen: int) -> SegmentReport:
        """What the driver should know now; figures of the whole run come from the first worker alone."""
        totals = replace(self.totals, storage=STORAGE_COUNTERS.snapshot() + self.uploader_storage)
        report = SegmentReport(self._place.rank, self._attempt, state_name, self._place, totals)
        if self._place.rank > 0:
            return replace(report, totals=SegmentTotals(storage=totals.storage))
        figures = self.figures and replace(self.figures, validation_loss=self.validation_loss)
        return replace(
            report,
            figures=figures,
            lifetime=build_lifetime(replace(ledger, saved=time.time()), images_seen),
            last_checkpoint=self.last_checkpoint,
        )


def _count_skipped(counts: Mapping[str, int], num_samples: int) -> dict[str, int]:
    if not num_samples:
        return dict(counts)
    return {**counts, UNREADABLE: counts.get(UNREADABLE, 0) + num_samples}
