"""What a step counts: the same for any sharing of the samples."""

import math

import torch

from synthray.training.tally import NUM_BUCKETS, StepTally


def test_losses_add_up_to_the_same_bits_however_they_are_shared() -> None:
    generator = torch.Generator().manual_seed(1)
    losses, timesteps = (
        torch.rand(32, generator=generator),
        torch.randint(0, 1000, (32,), generator=generator),
    )
    ones = torch.ones(32)
    alone, left, right = StepTally(), StepTally(), StepTally()
    alone.add_losses(losses, ones, timesteps, 1000)
    left.add_losses(losses[:5], ones[:5], timesteps[:5], 1000)
    right.add_losses(losses[5:], ones[5:], timesteps[5:], 1000)
    left.vector += right.vector
    assert torch.equal(alone.vector, left.vector)
    assert alone.num_images == 32
    assert math.isclose(alone.loss, losses.double().mean().item(), rel_tol=1e-8)


def test_padding_counts_for_nothing() -> None:
    tally = StepTally()
    tally.add_losses(torch.tensor([1.0, math.nan]), torch.tensor([1.0, 0.0]), torch.tensor([0, 5]), 10)
    assert tally.num_images == 1
    assert tally.loss == 1.0
    assert not tally.nonfinite


def test_a_loss_that_is_not_finite_is_seen_by_all() -> None:
    tally = StepTally()
    tally.add_losses(torch.tensor([math.inf]), torch.ones(1), torch.tensor([0]), 10)
    assert tally.nonfinite


def test_timesteps_fall_into_tenths() -> None:
    tally = StepTally()
    tally.add_losses(torch.tensor([1.0, 3.0]), torch.ones(2), torch.tensor([0, 999]), 1000)
    assert tally.loss_by_bucket[0] == 1.0
    assert tally.loss_by_bucket[NUM_BUCKETS - 1] == 3.0
    assert math.isnan(tally.loss_by_bucket[4])
