"""What a run knows of its attempts: their number, what each lost, and what ended it."""

from collections.abc import Callable

import pytest
from tiny_run import CPU, Control, TinyRun, train

from synthray.errors import Reason, Unavailable
from synthray.storage import ObjectStore
from synthray.training import preflight as preflight_module
from synthray.training.decisions import Decision, Verdict
from synthray.training.ledger import Ledger
from synthray.training.loop import train_segment
from synthray.training.preflight import Preflight, check_run, is_complete, observe_resume_point, start_attempt
from synthray.training.settings import AttemptSettings, RunSettings
from synthray.training.world import World

NewRun = Callable[..., TinyRun]
LOST = Decision(Verdict.AGAIN, Reason.WORKER_LOST, "worker 1 on here was killed")


class Killed(Exception):
    """In place of a SIGKILL: nothing is saved, nothing is said."""


class Fatal(Control):
    """A platform on which the worker dies after some steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps = steps

    def report(self, report) -> None:  # type: ignore[no-untyped-def]
        if report.totals.steps >= self._steps:
            raise Killed


class Driver:
    """What a driver does between segments."""

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings
        self._preflight: Preflight = check_run(settings, adopt=False)
        self._reached: int | None = None

    def attempt(self, cause: Decision | None) -> AttemptSettings:
        point = observe_resume_point(self._preflight, frozenset())
        return start_attempt(self._preflight, point, images_reached=self._reached, cause=cause)

    def run(self, control: Control, cause: Decision | None = None) -> str:
        attempt = self.attempt(cause)
        try:
            return train_segment(self._settings, attempt, World(0, 1, CPU), control)
        finally:
            figures = [report.figures for report in control.reports if report.figures]
            self._reached = figures[-1].images_seen if figures else None

    def lose(self, steps: int, cause: Decision | None = None) -> None:
        """A segment that is lost after `steps`, with what it had not saved."""
        with pytest.raises(Killed):
            self.run(Fatal(steps), cause)
        self._reached = steps * 14


def ledger_of(run: TinyRun) -> Ledger:
    return Ledger.from_json(run.checkpoints().list_states()[-1].ledger)


def test_images_lost_by_attempts_that_saved_nothing_add_up(new_run: NewRun) -> None:
    run = new_run("run")
    driver = Driver(run.settings("spec.optimization.epochs=1"))
    driver.lose(1)
    driver.lose(1, LOST)
    assert driver.run(Control(), LOST) == "complete"
    ledger = ledger_of(run)
    assert ledger.redone_images == 28
    assert ledger.attempts == 3
    assert [(fault.kind, fault.message) for fault in ledger.faults] == [
        ("WorkerLost", "attempt 1 ended before it had saved anything"),
        ("WorkerLost", "worker 1 on here was killed"),
    ]
    accounted = ledger.useful_seconds + ledger.data_wait_seconds + ledger.restart_seconds
    assert accounted + ledger.checkpoint_stall_seconds <= ledger.saved - ledger.started


def test_a_driver_that_was_killed_leaves_a_fault_and_one_that_was_stopped_does_not(new_run: NewRun) -> None:
    run = new_run("run")
    settings = run.settings()
    assert Driver(settings).run(Control(stop_after_steps=1)) == "stopped"
    Driver(settings).lose(1)
    assert Driver(settings).run(Control()) == "complete"
    ledger = ledger_of(run)
    assert [(fault.kind, fault.message, fault.images_seen) for fault in ledger.faults] == [
        ("DriverLost", "attempt 2 and its driver ended without a word", 14)
    ]
    planned = [event.kind for event in ledger.events]
    assert planned[:3] == ["Started", "Stopped", "Started"]
    assert planned.count("Saved") >= 1
    assert ledger.attempts == 3


def test_a_resize_is_an_event_of_the_run(new_run: NewRun) -> None:
    run = new_run("run")
    assert train(run, num_workers=3, stop_after_steps=1) == "stopped"
    assert train(run, num_workers=2) == "complete"
    resized = [event for event in ledger_of(run).events if event.kind == "Resized"]
    assert [(event.message, event.images_seen) for event in resized] == [("from 3 to 2 workers", 14)]


def test_a_start_that_storage_broke_off_counts_once(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(new_run("run").settings())
    driver.lose(1)

    def away(*_: object, **__: object) -> None:
        raise Unavailable("the store is away")

    with monkeypatch.context() as patched:
        patched.setattr(preflight_module, "begin_attempt", away)
        with pytest.raises(Unavailable):
            driver.attempt(LOST)
    assert driver.attempt(LOST).redone_images == 14


def test_a_run_is_complete_once_its_last_model_and_pictures_are_there(new_run: NewRun) -> None:
    run = new_run("run")
    settings = run.settings("spec.previews.seeds=[1]", "spec.previews.steps=2")
    preflight = check_run(settings, adopt=False)

    def complete() -> bool:
        return is_complete(settings, preflight, observe_resume_point(preflight, frozenset()))

    assert not complete()
    last_step = preflight.plan.num_steps
    changes = ("spec.previews.seeds=[1]", "spec.previews.steps=2")
    in_validation = Control(stop_once=lambda report: report.totals.steps == last_step)
    assert train(run, *changes, controls={0: in_validation}) in {"stopped", "complete"}
    assert train(run, *changes) == "complete"
    assert complete()
    store: ObjectStore = preflight.store
    store.delete([info.key for info in store.list("previews/") if "/raw/" in info.key])
    assert not complete()
