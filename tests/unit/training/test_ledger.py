"""The ledger says what an independent count says, whatever segments and restarts a run consists of."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthray.training import ledger as ledger_module
from synthray.training.attempt_history import Losses
from synthray.training.ledger import (
    AttemptStart,
    Ledger,
    Planned,
    RunEvent,
    StepTimes,
    after_epoch,
    after_stall,
    after_start,
    after_step,
    with_events,
)

BATCH = 10
BEGAN = 1000.0


@dataclass(frozen=True)
class Step:
    """One step: its seconds, and whether its state is saved, in so many seconds of stall."""

    useful: float
    wait: float
    saved: bool
    stall: float


@dataclass(frozen=True)
class Attempt:
    """Steps after an opening; then it is lost, or stopped with a save of its own."""

    gap: float
    workers: int
    steps: Sequence[Step]
    stopped: bool


seconds = st.integers(0, 50).map(float)
steps = st.lists(
    st.builds(Step, useful=seconds, wait=seconds, saved=st.booleans(), stall=seconds), max_size=6
)
attempts = st.lists(
    st.builds(Attempt, gap=seconds, workers=st.integers(1, 3), steps=steps, stopped=st.booleans()), max_size=8
)


class Run:
    """A run as it is driven: attempts one after the other, each from the newest saved ledger."""

    def __init__(self) -> None:
        self.now = BEGAN
        self.losses = Losses()
        self.images, self.source, self.reached = 0, 0, 0
        self.ledger = Ledger(BEGAN, BEGAN)

    def take(self, number: int, attempt: Attempt) -> None:
        self.now += attempt.gap
        self.losses.note_end(images_reached=self.reached, resumed_images=self.images)
        self.losses.note_start(number)
        first = max(2, self.source + 1)
        faults = [RunEvent(self.images, "WorkerLost", "", self.now) for _ in range(first, number + 1)]
        start = AttemptStart(self.now, number, attempt.workers, self.losses.since(self.source), tuple(faults))
        ledger, images = after_start(self.ledger, self.images, start), self.images
        for step in attempt.steps:
            self.now += step.useful + step.wait
            ledger = after_step(ledger, StepTimes(step.useful, step.wait), loss=1.0, nonfinite=0, skipped=0)
            images += BATCH
            if step.saved:
                self._save(number, ledger, images)
                self.now += step.stall
                ledger = after_stall(ledger, step.stall)
        self.reached = images
        if attempt.stopped:
            self._save(number, ledger, images)

    def _save(self, number: int, ledger: Ledger, images: int) -> None:
        self.images, self.source = images, number
        self.ledger = replace(ledger, saved=self.now)


def num_kept(attempt: Attempt) -> int:
    """Steps before the attempt's last save."""
    if attempt.stopped:
        return len(attempt.steps)
    return max((index + 1 for index, step in enumerate(attempt.steps) if step.saved), default=0)


@given(attempts)
def test_a_ledger_equals_an_independent_count(taken: list[Attempt]) -> None:
    run = Run()
    kept_steps: list[Step] = []
    kept_workers: list[int] = []
    computed_images = 0
    redone_before = {0: 0}
    for number, attempt in enumerate(taken, start=1):
        redone_before[number] = computed_images - run.images
        run.take(number, attempt)
        computed_images += len(attempt.steps) * BATCH
        kept_steps += attempt.steps[: num_kept(attempt)]
        kept_workers += [attempt.workers] if attempt.stopped or num_kept(attempt) else []
        ledger = run.ledger
        assert Ledger.from_json(json.loads(json.dumps(ledger.to_json()))) == ledger
        assert run.images == len(kept_steps) * BATCH
        assert ledger.useful_seconds == sum(step.useful for step in kept_steps)
        assert ledger.data_wait_seconds == sum(step.wait for step in kept_steps)
        assert ledger.redone_images == redone_before[run.source]
        assert ledger.attempts == run.source
        assert ledger.num_faults == len(ledger.faults) == max(0, run.source - 1)
        assert ledger.event_counts.get("Started", 0) == len(kept_workers)
        resizes = sum(before != after for before, after in pairwise(kept_workers))
        assert ledger.event_counts.get("Resized", 0) == resizes
        assert ledger.saved - ledger.started == (
            ledger.useful_seconds
            + ledger.data_wait_seconds
            + ledger.checkpoint_stall_seconds
            + ledger.restart_seconds
        )


def test_a_resize_tells_from_what_to_what() -> None:
    ledger = after_start(Ledger(0.0, 0.0), 0, AttemptStart(1.0, 1, 2, 0, ()))
    ledger = after_start(ledger, 50, AttemptStart(2.0, 2, 4, 0, ()))
    assert [(event.kind, event.message, event.images_seen) for event in ledger.events] == [
        ("Started", "attempt 1 with 2 workers", 0),
        ("Resized", "from 2 to 4 workers", 50),
        ("Started", "attempt 2 with 4 workers", 50),
    ]


def test_old_events_are_only_counted_and_faults_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "MAX_EVENTS", 3)
    saves = [RunEvent(images, str(Planned.SAVED), "", 0.0) for images in range(10)]
    faults = [RunEvent(images, "WorkerLost", "", 0.0) for images in range(5)]
    ledger = with_events(with_events(Ledger(0.0, 0.0), faults), saves)
    assert list(ledger.events) == saves[-3:]
    assert list(ledger.faults) == faults[-3:]
    assert ledger.event_counts == {"Saved": 10, "WorkerLost": 5}
    assert ledger.num_faults == 5


def test_an_epoch_has_the_mean_loss_of_its_steps() -> None:
    ledger = Ledger(0.0, 0.0)
    for loss in (1.0, 3.0):
        ledger = after_step(ledger, StepTimes(1.0, 0.0), loss=loss, nonfinite=0, skipped=0)
    ledger = after_epoch(ledger, epoch=1, images_seen=20, validation_loss=0.5)
    [epoch] = ledger.history
    assert (epoch.epoch, epoch.images_seen, epoch.loss, epoch.validation_loss) == (1, 20, 2.0, 0.5)
    assert (ledger.epoch_loss_sum, ledger.epoch_steps) == (0.0, 0)
