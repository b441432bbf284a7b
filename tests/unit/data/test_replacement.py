"""Which sample stands at a position: equal for all workers, for any sharing and from any resume point."""

from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthray.data.order import SampleOrder
from synthray.data.replacement import NONE_BAD, BadSamples, Finding, choose_sample
from synthray.errors import VerificationFailed

NUM_SAMPLES, BATCH, NUM_STEPS = 12, 6, 6
Shares = Sequence[Sequence[int]]
Reads = Callable[[int, int, int], bool]
"""Whether worker `rank` can read `sample` in step `step`."""

findings = st.lists(
    st.builds(Finding, sample=st.integers(0, NUM_SAMPLES - 1), position=st.integers(0, 40)), max_size=8
)
unreadable = st.sets(st.integers(0, NUM_SAMPLES - 1), max_size=NUM_SAMPLES - 1)


def share_out(positions: Sequence[int], owners: Sequence[int]) -> Shares:
    """Positions by worker."""
    num_workers = max(owners) + 1
    return [
        [p for p, owner in zip(positions, owners, strict=True) if owner == rank]
        for rank in range(num_workers)
    ]


def walk(
    order: SampleOrder,
    owners: Sequence[int],
    reads: Reads,
    *,
    first_step: int = 0,
    bad: BadSamples = NONE_BAD,
) -> tuple[dict[int, int], list[BadSamples]]:
    """Samples by position, and what was known to be bad before each step, as a run's workers come to it.

    In rounds: all read what the rule names, tell what they can't have, and go on with the rule of then.
    """
    chosen: dict[int, int] = {}
    known = []
    for step in range(first_step, NUM_STEPS):
        known.append(bad)
        shares = share_out(range(step * BATCH, (step + 1) * BATCH), owners)
        while True:
            found = []
            for rank, positions in enumerate(shares):
                for position in positions:
                    chosen[position] = choose_sample(order, order.at(position), bad)
                    if not reads(rank, chosen[position], step):
                        found.append(Finding(chosen[position], position))
            if not found:
                break
            bad = bad.with_findings(found)
    return chosen, known


@given(findings, st.randoms())
def test_the_order_of_findings_does_not_matter(found: list[Finding], randomness) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(found)
    randomness.shuffle(shuffled)
    half = len(found) // 2
    assert NONE_BAD.with_findings(shuffled) == NONE_BAD.with_findings(found)
    assert NONE_BAD.with_findings(found[half:]).with_findings(found[:half]) == NONE_BAD.with_findings(found)


@given(findings)
def test_a_sample_is_bad_from_the_first_position_at_which_it_was_found_so(found: list[Finding]) -> None:
    bad = NONE_BAD.with_findings(found)
    for sample in range(NUM_SAMPLES):
        positions = [one.position for one in found if one.sample == sample]
        for position in range(45):
            assert bad.includes(sample, position) == any(first <= position for first in positions)


@given(findings)
def test_a_state_keeps_all_of_it(found: list[Finding]) -> None:
    bad = NONE_BAD.with_findings(found)
    assert BadSamples.from_json(bad.to_json()) == bad


@given(st.integers(0, 5), unreadable, st.integers(0, 40))
def test_the_next_good_sample_of_the_epoch_takes_the_place(
    seed: int, lost: Iterable[int], position: int
) -> None:
    order = SampleOrder(seed, NUM_SAMPLES)
    ref = order.at(position)
    bad = BadSamples(dict.fromkeys(lost, 0))
    followers = [ref.sample, *order.replacements(ref)]
    assert choose_sample(order, ref, bad) == next(sample for sample in followers if sample not in bad.since)


def test_nothing_can_take_the_place_where_all_are_bad() -> None:
    order = SampleOrder(0, 2)
    with pytest.raises(VerificationFailed, match="no sample of the dataset can be read intact"):
        choose_sample(order, order.at(0), BadSamples({0: 0, 1: 0}))


owners = st.lists(st.integers(0, 3), min_size=BATCH, max_size=BATCH)


failures = st.sets(
    st.tuples(st.integers(0, NUM_SAMPLES - 1), st.integers(0, NUM_STEPS - 1)), max_size=NUM_SAMPLES - 2
)


@given(st.integers(0, 3), failures, owners, owners, st.integers(0, NUM_STEPS - 1))
def test_any_sharing_and_any_resume_point_come_to_the_same_samples(
    seed: int, failed: set[tuple[int, int]], some: list[int], others: list[int], resumed_at: int
) -> None:
    """Samples fail in some steps and read well in others, before and after: storage comes and goes."""
    order = SampleOrder(seed, NUM_SAMPLES)

    def reads(_rank: int, sample: int, step: int) -> bool:
        return (sample, step) not in failed

    alone, known = walk(order, [0] * BATCH, reads)
    assert walk(order, some, reads)[0] == alone
    resumed, _ = walk(order, others, reads, first_step=resumed_at, bad=known[resumed_at])
    assert all(alone[position] == sample for position, sample in resumed.items())


@given(st.integers(0, 3), st.sets(st.tuples(st.integers(0, 3), st.integers(0, NUM_SAMPLES - 2))), owners)
def test_what_one_worker_alone_can_not_read_is_replaced_on_all(
    seed: int, failed: set[tuple[int, int]], shares: list[int]
) -> None:
    order = SampleOrder(seed, NUM_SAMPLES)
    chosen, known = walk(order, shares, lambda rank, sample, _: (rank, sample) not in failed)
    for step in range(NUM_STEPS - 1):
        for position in range(step * BATCH, (step + 1) * BATCH):
            assert chosen[position] == choose_sample(order, order.at(position), known[step + 1])
