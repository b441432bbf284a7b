"""Schedules are pure: the same seed, the same faults, in the stated mix."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from .faults import MIX, Kind, Trait
from .schedule import marks_by_progress, marks_by_time, schedule

SEEDS = st.integers(0, 2**32)
MIXES = st.dictionaries(
    st.sampled_from(Kind),
    st.builds(Trait, st.floats(0.5, 50), st.tuples(st.floats(0, 5), st.floats(5, 20))),
    min_size=1,
)
MARKS = st.lists(st.floats(0, 1e6), max_size=30).map(sorted)

WORKER_LOSSES = {
    Kind.WORKER_KILLED,
    Kind.WORKERS_KILLED,
    Kind.SUPERVISOR_KILLED,
    Kind.WORKER_HUNG,
    Kind.WORKERS_HUNG,
    Kind.WORKER_NOTICED,
    Kind.WORKERS_NOTICED,
}


@given(SEEDS, MIXES, MARKS)
def test_a_schedule_is_what_its_seed_says(seed: int, mix: dict[Kind, Trait], marks: list[float]) -> None:
    faults = schedule(seed, mix, marks)
    assert faults == schedule(seed, mix, marks)
    at_its_own_mark = [mark for fault, mark in zip(faults, marks, strict=True) if not fault.overlaps]
    assert [fault.mark for fault in faults if not fault.overlaps] == at_its_own_mark
    assert all(after.mark == before.mark for before, after in pairwise(faults) if after.overlaps)
    assert [fault.number for fault in faults] == list(range(len(marks)))
    assert not any(fault.overlaps for fault in faults[:1])
    for fault in faults:
        shortest, longest = mix[fault.kind].lasts_seconds
        assert shortest <= fault.lasts_seconds <= longest
        assert 0 <= fault.delay_seconds <= (3 if fault.overlaps else 0.5)
        assert 0 <= fault.pick < 1


@given(SEEDS, MARKS)
def test_more_marks_leave_the_faults_before_them_as_they_are(seed: int, marks: list[float]) -> None:
    assert schedule(seed, MIX, [*marks, 2e6])[: len(marks)] == schedule(seed, MIX, marks)


@given(SEEDS, st.integers(0, 200), st.floats(0, 1000), st.floats(1000, 1e6))
def test_marks_of_progress_are_spread_over_the_whole_run(
    seed: int, count: int, first: float, last: float
) -> None:
    marks = marks_by_progress(seed, count, first, last)
    assert len(marks) == count
    assert marks == sorted(marks)
    width = (last - first) / max(1, count)
    for part, mark in enumerate(marks):
        assert first + part * width <= mark <= (first + (part + 1) * width) * (1 + 1e-9)


@given(SEEDS)
def test_arrivals_keep_their_mean(seed: int) -> None:
    marks = marks_by_time(seed, 10, 10_000)
    assert marks == sorted(marks)
    assert 800 < len(marks) < 1200
    assert all(0 < mark < 10_000 for mark in marks)


def test_the_stated_mix_names_every_kind_and_is_mostly_losses_of_workers() -> None:
    assert set(MIX) == set(Kind)
    total = sum(trait.weight for trait in MIX.values())
    assert sum(MIX[kind].weight for kind in WORKER_LOSSES) > 0.6 * total
    drawn = Counter(fault.kind for fault in schedule(3, MIX, [0.0] * 20_000))
    for kind, trait in MIX.items():
        assert abs(drawn[kind] / 20_000 - trait.weight / total) < 0.01
