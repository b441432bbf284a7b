import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from synthray.data.order import SampleOrder, epoch_permutation
from synthray.errors import InvalidInput

seeds = st.integers(0, 2**64 - 1)


@given(seed=seeds, num_samples=st.integers(1, 300), epoch=st.integers(0, 1000))
def test_an_epoch_contains_every_sample_once(seed: int, num_samples: int, epoch: int) -> None:
    order = SampleOrder(seed, num_samples)
    first = epoch * num_samples
    refs = [order.at(position) for position in range(first, first + num_samples)]
    assert sorted(ref.sample for ref in refs) == list(range(num_samples))
    assert {ref.epoch for ref in refs} == {epoch}
    assert [ref.index_in_epoch for ref in refs] == list(range(num_samples))


def test_the_order_never_changes_between_releases() -> None:
    assert epoch_permutation(0, 8, 0).tolist() == [5, 4, 7, 2, 0, 1, 3, 6]
    assert epoch_permutation(42, 8, 3).tolist() == [6, 2, 7, 1, 5, 4, 3, 0]


def test_seeds_and_epochs_give_different_orders() -> None:
    orders = {
        tuple(epoch_permutation(seed, 50, epoch).tolist()) for seed in (0, 1, 2**63) for epoch in (0, 1, 2)
    }
    assert len(orders) == 9


@given(seed=seeds, num_samples=st.integers(1, 40), position=st.integers(0, 1000))
def test_replacements_are_the_other_samples_starting_with_the_next_one(
    seed: int, num_samples: int, position: int
) -> None:
    order = SampleOrder(seed, num_samples)
    ref = order.at(position)
    replacements = list(order.replacements(ref))
    assert sorted([ref.sample, *replacements]) == list(range(num_samples))
    if ref.index_in_epoch + 1 < num_samples:
        assert replacements[0] == order.at(position + 1).sample


def test_a_permutation_cannot_be_changed_by_a_caller() -> None:
    with pytest.raises(ValueError, match="read-only"):
        epoch_permutation(0, 4, 0)[0] = np.int64(1)


def test_an_empty_dataset_and_a_seed_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no training samples"):
        SampleOrder(0, 0)
    with pytest.raises(InvalidInput, match="seed=-1 is outside 0 to"):
        SampleOrder(-1, 10)
