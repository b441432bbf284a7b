"""The exact sum: independent of order and grouping, honest about what it can't hold."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from synthray.training.reduction import ExactSum, StatisticalSum
from synthray.training.world import World

CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)


def exact_sum(num_elements: int, max_micro_batches: int) -> ExactSum:
    return ExactSum(num_elements, CPU, max_micro_batches)


def mean_of(exact: ExactSum, num_images: int) -> Tensor:
    out = torch.empty(len(exact.total))
    exact.mean_over_workers(ALONE, out, num_images)
    return out


def total_of(gradients: list[Tensor], groups: list[int], size: int) -> Tensor:
    """The sum as several workers would compute it, each its group, then all together."""
    workers = [exact_sum(size, max_micro_batches=len(gradients)) for _ in range(max(groups) + 1)]
    for gradient, group in zip(gradients, groups, strict=True):
        workers[group].add(gradient.clone(), 1.0)
    first = workers[0]
    for other in workers[1:]:
        first.total += other.total
    return mean_of(first, 7)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 3), min_size=2, max_size=8), st.randoms())
def test_any_grouping_in_any_order_gives_the_same_bits(seed: int, groups: list[int], random: object) -> None:
    generator = torch.Generator().manual_seed(seed)
    scales = [10.0 ** float(torch.randint(-8, 3, (), generator=generator)) for _ in groups]
    gradients = [torch.randn(64, generator=generator) * scale for scale in scales]
    expected = total_of(gradients, [0] * len(groups), 64)
    shuffled = list(zip(gradients, groups, strict=True))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    found = total_of([gradient for gradient, _ in shuffled], [group for _, group in shuffled], 64)
    assert torch.equal(found, expected)


def test_the_mean_is_that_of_fp64_to_a_single_rounding() -> None:
    gradients = [torch.randn(1000, generator=torch.Generator().manual_seed(i)) for i in range(16)]
    exact = exact_sum(1000, 16)
    for gradient in gradients:
        exact.add(gradient.clone(), 1.0)
    reference = np.sum([gradient.double().numpy() for gradient in gradients], axis=0) / 64
    np.testing.assert_allclose(mean_of(exact, 64).numpy(), reference, rtol=2e-7, atol=16 * 2.0**-41 / 64)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30])
def test_what_int64_cannot_hold_is_flagged_and_never_silently_cast(bad: float) -> None:
    exact = exact_sum(8, max_micro_batches=4)
    gradient = torch.ones(8)
    gradient[3] = bad
    exact.add(gradient, 1.0)
    assert bool(exact.out_of_range)
    exact.reset()
    exact.add(torch.ones(8), 1.0)
    assert not bool(exact.out_of_range)


def test_the_largest_gradients_in_range_cannot_wrap_the_sum() -> None:
    exact = exact_sum(1, max_micro_batches=64)
    largest = 2.0 ** (62 - 6 - 40) * (1 - 2.0**-23)
    for _ in range(64):
        exact.add(torch.full((1,), largest), 1.0)
    assert not bool(exact.out_of_range)
    assert float(mean_of(exact, 64)) == pytest.approx(largest)


def test_a_loss_scale_is_divided_out_exactly() -> None:
    gradient = torch.randn(100, generator=torch.Generator().manual_seed(0))
    plain, scaled = exact_sum(100, 1), exact_sum(100, 1)
    plain.add(gradient.clone(), 1.0)
    scaled.add(gradient * 1024, 1024.0)
    assert torch.equal(plain.total, scaled.total)


def test_the_statistical_sum_flags_what_is_not_finite() -> None:
    statistical = StatisticalSum(4, CPU)
    statistical.add(torch.tensor([1.0, 2.0, float("nan"), 0.0]), 1.0)
    assert bool(statistical.out_of_range)
