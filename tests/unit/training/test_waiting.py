"""Waiting together: every worker comes to the same end, and who watches sees a hang."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_run import CPU, Control, ThreadWorld, run_workers

from synthray.errors import Unavailable
from synthray.training import waiting
from synthray.training.waiting import STOP_PATIENCE_SECONDS, Agreement, SharedWait, StopAsked
from synthray.training.world import World


class Asked(Control):
    """A platform that asks to stop at the n-th look."""

    def __init__(self, at_look: int | None = None) -> None:
        super().__init__()
        self._looks_left = at_look

    def stop_requested(self) -> bool:
        if self._looks_left is not None:
            self._looks_left -= 1
            return self._looks_left < 0
        return False


def count_down(rounds: int) -> list[int]:
    return [rounds]


def advance(left: list[int]) -> bool:
    left[0] -= 1
    return left[0] < 0


@settings(max_examples=30)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_all_wait_for_the_slowest_and_learn_the_sums_of_the_last_round(rounds: list[int]) -> None:
    reports: list[list[str]] = [[] for _ in rounds]

    def work(world: ThreadWorld) -> Agreement:
        wait = SharedWait(world, Control(), reports[world.rank].append)
        left = count_down(rounds[world.rank])
        return wait.until(lambda _: advance(left), numbers=lambda: (world.rank, max(0, left[0])))

    agreements = run_workers(len(rounds), work)
    assert {(one.ready, one.stop, one.numbers[0]) for one in agreements} == {
        (True, False, sum(range(len(rounds))))
    }
    assert [len(report) for report in reports] == [max(rounds)] * len(rounds)


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(0, 3), st.data())
def test_a_stop_asked_of_any_worker_ends_the_wait_of_all(
    num_workers: int, look: int, data: st.DataObject
) -> None:
    asked = data.draw(st.integers(0, num_workers - 1))

    def work(world: ThreadWorld) -> Agreement:
        control = Asked(look if world.rank == asked else None)
        return SharedWait(world, control, lambda _: None).until(lambda _: False)

    assert [one.stop for one in run_workers(num_workers, work)] == [True] * num_workers


def test_a_worker_that_insists_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "STOP_PATIENCE_SECONDS", 0.0)
    patience = [3]

    def work(world: ThreadWorld) -> Agreement:
        wait = SharedWait(world, Asked(0), lambda _: None)
        return wait.until(lambda _: world.rank > 0, insists=lambda: world.rank == 0 and not advance(patience))

    assert [(one.stop, one.ready) for one in run_workers(2, work)] == [(True, False)] * 2
    assert patience == [-1]


def test_what_stands_still_while_storage_is_there_is_not_reported() -> None:
    reports: list[str] = []
    states = iter([(True, False), (False, False), (False, True), (False, False)])
    now: list[tuple[bool, bool]] = []

    def step(_: float) -> bool:
        now[:] = [next(states, (False, False))]
        return len(reports) == 2 and now == [(False, False)]

    wait = SharedWait(World(0, 1, CPU), Control(), reports.append)
    wait.until(step, moved=lambda: now[0][0], away=lambda: now[0][1])
    assert reports == ["Running", "WaitingForStorage"]
    assert wait.storage_wait_seconds > 0


def test_work_is_tried_again_until_storage_answers_every_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "ROUND_SECONDS", 0.0)
    tries: list[int] = []
    reports: list[str] = []

    def work(world: ThreadWorld) -> str:
        def read() -> str:
            if world.rank == 1:
                tries.append(1)
                if len(tries) < 4:
                    raise Unavailable("the store is away")
            return f"of worker {world.rank}"

        return SharedWait(world, Control(), reports.append).for_storage(read)

    assert run_workers(3, work) == ["of worker 0", "of worker 1", "of worker 2"]
    assert len(tries) == 4
    assert set(reports) == {"WaitingForStorage"}


def test_a_stop_ends_the_wait_for_storage_and_other_errors_pass() -> None:
    def away() -> None:
        raise Unavailable("the store is away")

    wait = SharedWait(World(0, 1, CPU), Asked(0), lambda _: None)
    with pytest.raises(StopAsked):
        wait.for_storage(away)

    def broken() -> None:
        raise threading.BrokenBarrierError

    with pytest.raises(threading.BrokenBarrierError):
        SharedWait(World(0, 1, CPU), Control(), lambda _: None).for_storage(broken)


class Stopping(Control):
    """A platform that has asked to stop; `patient` says whether that may take long."""

    def __init__(self, *, patient: bool) -> None:
        super().__init__()
        self.patient = patient

    def stop_requested(self) -> bool:
        return True

    def stop_is_patient(self) -> bool:
        return self.patient


def test_a_patient_stop_waits_for_storage_until_somebody_is_in_a_hurry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    control = Stopping(patient=True)
    wait = SharedWait(World(0, 1, CPU), control, lambda _: None)
    wait.round(ready=False)
    now[0] += 1e6
    assert not wait.is_out_of_patience()
    control.patient = False
    assert not wait.is_out_of_patience()
    now[0] += STOP_PATIENCE_SECONDS + 1
    assert wait.is_out_of_patience()
