"""The training loop of one worker, in plain torch.

It runs alone in one process, under torchrun and under Ray, and knows none of them: it takes a world, a
`RunControl` and settings, and walks the run's path from where the state stands. Every decision that all
workers must share (stop, repeat, replace, fail) comes out of a reduction, so no two workers part ways.
"""

import logging
import time
from dataclasses import replace

from synthray.errors import SynthrayError
from synthray.training.attempt_history import write_ending
from synthray.training.bookkeeping import SegmentBooks
from synthray.training.control import RunControl
from synthray.training.evaluation import validate
from synthray.training.feed import StepFeed, StepShare
from synthray.training.ledger import (
    Planned,
    RunEvent,
    StepTimes,
    after_epoch,
    after_stall,
    after_step,
    with_events,
)
from synthray.training.previews import draw_missing_previews, draw_previews
from synthray.training.sample_audit import open_audit
from synthray.training.saving import SaveDesk
from synthray.training.segment import Segment, open_segment
from synthray.training.settings import AttemptSettings, RunSettings
from synthray.training.step import StepResult
from synthray.training.waiting import ROUND_SECONDS, SharedWait, StopAsked
from synthray.training.world import World

COMPLETE, STOPPED = "complete", "stopped"

_log = logging.getLogger(__name__)


def train_segment(settings: RunSettings, attempt: AttemptSettings, world: World, control: RunControl) -> str:
    """One worker's whole segment, from opening to end: `complete` or `stopped`; raises as `run_segment`."""
    try:
        with open_segment(settings, attempt, world, control) as segment:
            return run_segment(segment, control)
    except StopAsked:
        return STOPPED


def run_segment(segment: Segment, control: RunControl) -> str:
    """Train to the run's end, or until somebody asks to stop: `complete` or `stopped`.

    The first worker's word counts: it alone stays until the last save is committed. Raises RunFailed
    (non-finite loss, fenced), VerificationFailed (a corrupt state, a lost dataset), InvalidInput.
    """
    loop = _Loop(segment, control)
    try:
        outcome = loop.run()
        loop.leave_word(outcome)
    except SynthrayError as error:
        loop.leave_word(str(error.reason))
        raise
    finally:
        loop.close()
    return outcome


class _Loop:
    """The walk from the state's step to the last; holds only what one step leaves for the next.

    Its methods answer whether to go on; False means that all have agreed to stop.
    """

    def __init__(self, segment: Segment, control: RunControl) -> None:
        self._segment = segment
        self._control = control
        self._plan = segment.plan
        self._state = segment.state
        self._books = SegmentBooks(segment.world.rank, segment.attempt.number, segment.plan)
        history = segment.state.ledger.history
        self._books.validation_loss = history[-1].validation_loss if history else None
        self._wait = SharedWait(segment.world, control, self._report)
        self._wait.storage_wait_seconds = segment.storage_wait_seconds
        self._desk = SaveDesk(segment) if segment.world.rank == 0 else None
        self._audit = open_audit(
            segment.settings.storage.audit_directory, segment.attempt.number, segment.world
        )

    def run(self) -> str:
        """Walk until the end or until asked to stop."""
        self._report("Running")
        complete = self._catch_up() and self._walk()
        if not complete:
            self._note(Planned.STOPPED, f"attempt {self._segment.attempt.number} was asked to stop")
            self._save(model=self._segment.epoch_is_booked)
        done = self._settle() and complete
        # The last word tells of the last save, too.
        self._report("Complete" if done else "Saving")
        return COMPLETE if done else STOPPED

    def leave_word(self, words: str) -> None:
        """Let the first worker say in the store how the attempt ends, if the store is there."""
        if self._desk is None or self._desk.storage_is_away:
            return
        segment = self._segment
        try:
            write_ending(
                segment.store, segment.attempt.number, words=words, images_seen=self._state.images_seen
            )
        except SynthrayError as error:
            _log.warning("the attempt's end is not noted: %s", error.message)

    def close(self) -> None:
        """Let go of the uploader and of the audit's file."""
        if self._desk is not None:
            self._desk.close()
        if self._audit is not None:
            self._audit.close()

    def _catch_up(self) -> bool:
        """Do what an earlier attempt left undone at the point where the state stands."""
        step = self._state.step
        if step and self._plan.ends_epoch(step - 1) and not self._segment.epoch_is_booked:
            return self._end_epoch()
        return draw_missing_previews(self._segment, self._wait)

    def _walk(self) -> bool:
        with StepFeed(self._segment, self._wait) as feed:
            while self._state.step < self._plan.num_steps:
                if not self._take_step(feed):
                    return False
        return True

    def _take_step(self, feed: StepFeed) -> bool:
        """Compute one step, book it, and do what its end calls for."""
        started = time.perf_counter()
        step = self._state.step
        share = feed.take(step)
        if share is None:
            return False
        result = self._segment.engine.run(share.batches)
        if self._audit is not None:
            self._audit.record(step, share.batches, images_seen=self._state.images_seen)
        self._book(step, share, result, time.perf_counter() - started)
        if self._plan.ends_epoch(step):
            going_on = self._end_epoch()
        elif self._plan.precedes_short_batch(step):
            going_on = self._save(model=False)
        else:
            going_on = True
            self._save_if_due()
        self._report("Running")
        return going_on

    def _book(self, step: int, share: StepShare, result: StepResult, elapsed: float) -> None:
        wait_seconds = min(elapsed, share.mean_wait_seconds)
        times = StepTimes(elapsed - wait_seconds, wait_seconds)
        state = self._state
        state.ledger = after_step(
            state.ledger,
            times,
            loss=result.loss,
            nonfinite=result.recomputed,
            skipped=share.num_replaced,
        )
        if result.hardware_fault:
            self._note("HardwareFault", f"step {step} was not finite once and finite when computed again")
        if share.new_bad_samples:
            self._note(
                "BadSample",
                f"training samples {list(share.new_bad_samples)} can't be read intact and are replaced by "
                f"rule from step {step} on",
            )
        self._books.book_step(
            state,
            result,
            times,
            num_images=len(self._plan.positions(step)),
            num_replaced=share.num_replaced,
        )

    def _note(self, kind: str, message: str) -> None:
        event = RunEvent(self._state.images_seen, str(kind), message, time.time())
        self._state.ledger = with_events(self._state.ledger, [event])

    def _end_epoch(self) -> bool:
        """Validate, write the epoch into the ledger, save its model and state, draw its previews.

        Stopped before the epoch is written, the next attempt does all of it.
        """
        validation = validate(self._segment, self._wait)
        if validation is None:
            return False
        state = self._state
        epoch = self._plan.epochs_done(state.images_seen)
        state.ledger = after_epoch(
            state.ledger, epoch=epoch, images_seen=state.images_seen, validation_loss=validation.loss
        )
        self._books.validation_loss = validation.loss
        return self._save(model=True) and draw_previews(self._segment, self._wait, epoch)

    def _save_if_due(self) -> None:
        desk = self._desk
        if desk is not None and desk.is_due:
            started = time.perf_counter()
            desk.save_if_free(self._state)
            self._book_stall(time.perf_counter() - started)

    def _save(self, *, model: bool) -> bool:
        """Save once an earlier save lets go of the buffer; False if storage is away and all are to stop."""
        desk, started = self._desk, time.perf_counter()
        self._report("Saving")
        agreed = self._wait.until(
            lambda seconds: desk is None or desk.save_within(self._state, seconds, model=model),
            doing="Saving",
            away=lambda: desk is not None and desk.storage_is_away,
            insists=lambda: desk is not None and not self._gives_up(desk),
        )
        self._book_stall(time.perf_counter() - started)
        self._collect_saves()
        return agreed.ready

    def _settle(self) -> bool:
        """On the first worker wait until everything is committed; False if that was given up."""
        desk, started = self._desk, time.perf_counter()
        if desk is None:
            return True
        while not (settled := desk.settle_within(ROUND_SECONDS)) and not self._gives_up(desk):
            if desk.storage_is_away:
                self._wait.storage_wait_seconds += ROUND_SECONDS
            self._report("WaitingForStorage" if desk.storage_is_away else "Saving")
        self._book_stall(time.perf_counter() - started)
        self._collect_saves()
        return settled

    def _gives_up(self, desk: SaveDesk) -> bool:
        """Whether to stop without a save that storage would not take."""
        return self._wait.is_out_of_patience() and desk.storage_is_away

    def _book_stall(self, seconds: float) -> None:
        self._state.ledger = after_stall(self._state.ledger, seconds)
        self._books.book_stall(seconds)

    def _collect_saves(self) -> None:
        if self._desk is not None:
            for result in self._desk.collect():
                self._books.book_save(result, self._segment.settings.storage.checkpoints_uri)
                if result.state is not None:
                    self._note(Planned.SAVED, f"state {result.state}")

    def _report(self, name: str) -> None:
        # Whoever looks on must hear of saves that fail while training stands and waits for one.
        self._collect_saves()
        self._books.book_storage_wait(self._wait.storage_wait_seconds)
        report = self._books.report(name, self._state.ledger, self._state.images_seen)
        away = self._desk is not None and self._desk.storage_is_away
        self._control.report(replace(report, storage_is_away=away))
