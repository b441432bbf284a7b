"""The training loop of one worker, in plain torch.

It runs alone in one process, under torchrun and under Ray, and knows none of them: it takes a world, a
`RunControl` and settings, and walks the run's path from where the state stands. Every decision that all
workers must share (stop, save, repeat, fail) comes out of the step's reduction, so no two workers part ways.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

from synthray.data.order import SampleOrder
from synthray.data.stream import stream_micro_batches
from synthray.training.batches import TrainingBatch, make_training_batch, plan_worker_micro_batches
from synthray.training.bookkeeping import SegmentBooks
from synthray.training.control import RunControl
from synthray.training.evaluation import plan_validation, validation_loss
from synthray.training.ledger import FaultRecord, StepTimes, after_epoch, after_stall, after_step, with_fault
from synthray.training.plan import plan_micro_batches, plan_share
from synthray.training.previews import draw_previews
from synthray.training.saving import SaveDesk
from synthray.training.segment import Segment
from synthray.training.step import StepResult
from synthray.training.tally import Votes

COMPLETE, STOPPED = "complete", "stopped"
_PREFETCHED_MICRO_BATCHES = 4
_LOADER_THREADS = 1


@dataclass(frozen=True)
class _StepShare:
    """This worker's micro-batches of one step, and how long it waited for them."""

    batches: list[TrainingBatch]
    wait_seconds: float


def run_segment(segment: Segment, control: RunControl) -> str:
    """Train to the run's end, or until somebody asks to stop: `complete` or `stopped`.

    Raises RunFailed (non-finite loss), VerificationFailed (a corrupt state), InvalidInput, Unavailable.
    """
    loop = _Loop(segment, control)
    try:
        return loop.run()
    finally:
        loop.close()


class _Loop:
    """The walk from the state's step to the last; holds only what one step leaves for the next."""

    def __init__(self, segment: Segment, control: RunControl) -> None:
        self._segment = segment
        self._control = control
        self._plan = segment.plan
        self._state = segment.state
        self._books = SegmentBooks(segment.world.rank, segment.attempt.number, segment.plan)
        history = segment.state.ledger.history
        self._books.validation_loss = history[-1].validation_loss if history else None
        self._desk = SaveDesk(segment, self._wait_for_storage) if segment.world.rank == 0 else None

    def run(self) -> str:
        """Walk until the end or until asked to stop."""
        self._report("Running")
        with closing(self._stream()) as stream:
            while self._state.step < self._plan.num_steps:
                stop = self._take_step(stream).stop
                # A stop at the last step is the end: the run's model is still to be saved.
                if stop and self._state.step < self._plan.num_steps:
                    self._save(model=False, final=True)
                    return STOPPED
        self._save(model=True, final=True)
        self._report("Complete")
        return COMPLETE

    def close(self) -> None:
        """Let go of the uploader."""
        if self._desk is not None:
            self._desk.close()

    def _wait_for_storage(self) -> None:
        self._report("WaitingForStorage")

    def _stream(self) -> Generator[TrainingBatch]:
        segment = self._segment
        work = plan_worker_micro_batches(
            self._plan,
            segment.order,
            first_step=self._state.step,
            rank=segment.world.rank,
            size=segment.world.size,
        )
        return stream_micro_batches(
            segment.reader,
            work,
            order=segment.order,
            prefetch=_PREFETCHED_MICRO_BATCHES,
            threads=_LOADER_THREADS,
            transform=lambda micro_batch: make_training_batch(micro_batch, segment.noise_source),
        )

    def _take_step(self, stream: Iterator[TrainingBatch]) -> StepResult:
        """Compute one step, book it, and do what its end calls for."""
        started = time.perf_counter()
        step = self._state.step
        share = self._fetch(stream, step)
        result = self._segment.engine.run(share.batches, self._votes(share))
        elapsed = time.perf_counter() - started
        self._book(step, result, elapsed)
        if result.skipped_samples:
            self._note_bad_samples(share)
        if self._plan.ends_epoch(step):
            self._end_epoch()
        elif self._plan.precedes_short_batch(step):
            self._save(model=False, final=False)
        elif result.save and not result.stop and self._desk is not None:
            started = time.perf_counter()
            self._desk.save_if_free(self._state)
            self._book_stall(time.perf_counter() - started)
        self._collect_saves()
        self._report("Running")
        return result

    def _fetch(self, stream: Iterator[TrainingBatch], step: int) -> _StepShare:
        world = self._segment.world
        micro_batches = plan_micro_batches(self._plan.positions(step), self._plan.micro_batch_size)
        started = time.perf_counter()
        batches = [next(stream) for _ in plan_share(len(micro_batches), world.size, world.rank)]
        return _StepShare(batches, time.perf_counter() - started)

    def _votes(self, share: _StepShare) -> Votes:
        overdue = self._desk is not None and self._desk.overdue(time.time())
        return Votes(
            stop=self._control.stop_requested(),
            save=overdue or self._control.save_requested(),
            skipped_samples=sum(len(batch.bad_samples) for batch in share.batches),
            data_wait_seconds=share.wait_seconds,
        )

    def _book(self, step: int, result: StepResult, elapsed: float) -> None:
        useful = max(0.0, elapsed - result.data_wait_seconds)
        times = StepTimes(useful, min(elapsed, result.data_wait_seconds))
        state = self._state
        state.ledger = after_step(
            state.ledger,
            times,
            loss=result.loss,
            nonfinite=result.recomputed,
            skipped=result.skipped_samples,
        )
        if result.hardware_fault:
            self._note_fault(
                "HardwareFault", f"step {step} was not finite once and finite when computed again"
            )
        self._books.book_step(state, result, times, len(self._plan.positions(step)))

    def _note_bad_samples(self, share: _StepShare) -> None:
        """Remember, in the state and on every worker, which samples were replaced by rule."""
        mine = [sample for batch in share.batches for sample in batch.bad_samples]
        found = {sample for samples in self._segment.world.gather_objects(mine) for sample in samples}
        new = sorted(found - set(self._state.bad_samples))
        if new:
            self._state.bad_samples = tuple(sorted({*self._state.bad_samples, *new}))
            self._note_fault(
                "BadSample", f"training samples {new} can't be read intact and are replaced by rule"
            )

    def _note_fault(self, kind: str, message: str) -> None:
        fault = FaultRecord(self._state.images_seen, kind, message, time.time())
        self._state.ledger = with_fault(self._state.ledger, fault)

    def _end_epoch(self) -> None:
        """Validate, write the epoch into the ledger, save its model and state, draw its previews."""
        state, segment = self._state, self._segment
        validation = self._validate()
        epoch = self._plan.epochs_done(state.images_seen)
        state.ledger = after_epoch(
            state.ledger, epoch=epoch, images_seen=state.images_seen, validation_loss=validation
        )
        self._books.validation_loss = validation
        if state.step < self._plan.num_steps:
            self._save(model=True, final=False)
        draw_previews(segment, epoch)

    def _validate(self) -> float | None:
        """Loss of the moving average on the held-out samples."""
        segment = self._segment
        if len(segment.dataset.holdout) == 0:
            return None
        work = plan_validation(len(segment.dataset.holdout), self._plan.micro_batch_size, segment.world)
        batches = stream_micro_batches(
            segment.holdout_reader,
            work,
            order=SampleOrder(segment.settings.seed, len(segment.dataset.holdout)),
            prefetch=_PREFETCHED_MICRO_BATCHES,
            threads=_LOADER_THREADS,
            transform=lambda micro_batch: make_training_batch(micro_batch, segment.validation_source),
        )
        with closing(batches), segment.showing_average():
            return validation_loss(
                batches,
                segment.engine.losses,
                num_timesteps=segment.schedule.num_timesteps,
                world=segment.world,
            )

    def _save(self, *, model: bool, final: bool) -> None:
        """Save now, waiting for an earlier save; a final one waits for its own commit too."""
        if self._desk is None:
            return
        started = time.perf_counter()
        self._report("Saving")
        self._desk.save(self._state, model=model)
        if final:
            self._desk.finish()
        self._book_stall(time.perf_counter() - started)
        self._collect_saves()

    def _book_stall(self, seconds: float) -> None:
        self._state.ledger = after_stall(self._state.ledger, seconds)
        self._books.book_stall(seconds)

    def _collect_saves(self) -> None:
        if self._desk is not None:
            for result in self._desk.collect():
                self._books.book_save(result, self._segment.settings.storage.checkpoints_uri)

    def _report(self, name: str) -> None:
        self._control.report(self._books.report(name, self._state.ledger, self._state.images_seen))
