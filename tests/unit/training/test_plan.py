"""The path of a run: pure, and the same for every number of workers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthray.errors import InvalidInput
from synthray.training.plan import BatchPlan, plan_micro_batches, plan_share

plans = st.builds(
    lambda num_samples, epochs, micro, count: BatchPlan(num_samples, epochs, micro * count, micro),
    st.integers(1, 300),
    st.integers(1, 5),
    st.integers(1, 8),
    st.integers(1, 8),
)


@given(plans)
def test_steps_cover_every_position_exactly_once(plan: BatchPlan) -> None:
    positions = [p for step in range(plan.num_steps) for p in plan.positions(step)]
    assert positions == list(range(plan.images_total))


@given(plans)
def test_only_the_last_batch_is_short(plan: BatchPlan) -> None:
    assert all(len(plan.positions(step)) == plan.global_batch_size for step in range(plan.num_steps - 1))


@given(plans)
def test_each_epoch_ends_once_at_the_first_boundary_past_it(plan: BatchPlan) -> None:
    ends = [plan.images_after(step) for step in range(plan.num_steps) if plan.ends_epoch(step)]
    expected = {
        min(
            -(-epoch * plan.num_samples // plan.global_batch_size) * plan.global_batch_size, plan.images_total
        )
        for epoch in range(1, plan.epochs + 1)
    }
    assert set(ends) == expected
    assert len(ends) == len(set(ends))


@given(plans, st.integers(1, 12))
def test_workers_share_every_micro_batch_exactly_once_and_evenly(plan: BatchPlan, num_workers: int) -> None:
    micro_batches = plan_micro_batches(plan.positions(0), plan.micro_batch_size)
    shares = [plan_share(len(micro_batches), num_workers, rank) for rank in range(num_workers)]
    assert [index for share in shares for index in share] == list(range(len(micro_batches)))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(plans, st.integers(1, 4))
def test_a_run_with_more_epochs_walks_the_same_steps(plan: BatchPlan, more: int) -> None:
    longer = BatchPlan(plan.num_samples, plan.epochs + more, plan.global_batch_size, plan.micro_batch_size)
    full = [step for step in range(plan.num_steps) if len(plan.positions(step)) == plan.global_batch_size]
    assert all(plan.positions(step) == longer.positions(step) for step in full)


def test_the_state_before_a_short_last_batch_is_kept_so_that_epochs_can_be_raised() -> None:
    plan = BatchPlan(num_samples=10, epochs=1, global_batch_size=4, micro_batch_size=2)
    assert [plan.precedes_short_batch(step) for step in range(3)] == [False, True, False]
    longer = BatchPlan(num_samples=10, epochs=2, global_batch_size=4, micro_batch_size=2)
    assert plan.resumable(10)
    assert not longer.resumable(10)
    assert longer.resumable(8)


def test_a_dataset_without_training_samples_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no training samples; prepare it with more images"):
        BatchPlan(0, 1, 4, 2)
