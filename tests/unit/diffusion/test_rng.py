import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthray.diffusion.rng import (
    image_noise,
    initial_weights_seed,
    sample_flip,
    sample_noise,
    sample_timestep,
)
from synthray.errors import InvalidInput

SEEDS = st.integers(0, 2**64 - 1)
COUNTERS = st.integers(0, 2**41)
SHAPE = (1, 2, 3)


def test_draws_are_what_they_were_in_every_release() -> None:
    expected = [
        [-0.38981765508651733, -0.5910624265670776, -0.07281232625246048],
        [0.36693480610847473, 2.15578293800354, -0.09046453982591629],
    ]
    assert sample_noise(1, 2, 3, SHAPE).tolist() == [expected]
    assert image_noise(42, 0, (1, 1, 2)).tolist() == [[[-0.5661954879760742, 0.32246387004852295]]]
    assert [sample_timestep(0, 0, i, 1000) for i in range(8)] == [386, 231, 35, 291, 882, 120, 214, 937]
    flips = [sample_flip(0, 0, i) for i in range(8)]
    assert flips == [True, False, True, True, False, False, False, False]
    assert initial_weights_seed(0) == 3536411167


@given(SEEDS, COUNTERS, COUNTERS)
def test_a_draw_depends_on_nothing_that_was_drawn_before(seed: int, epoch: int, index: int) -> None:
    first = sample_noise(seed, epoch, index, SHAPE)
    sample_noise(seed, epoch, index + 1, (3, 7, 5))
    np.random.default_rng().standard_normal(3)
    assert np.array_equal(first, sample_noise(seed, epoch, index, SHAPE))


@given(st.lists(st.tuples(SEEDS, COUNTERS, COUNTERS), min_size=2, max_size=6, unique=True))
def test_no_two_samples_share_noise(keys: list[tuple[int, int, int]]) -> None:
    noises = {sample_noise(*key, SHAPE).tobytes() for key in keys}
    assert len(noises) == len(keys)


@given(SEEDS, COUNTERS)
def test_uses_of_a_seed_are_unrelated(seed: int, index: int) -> None:
    assert not np.array_equal(sample_noise(seed, 0, index, SHAPE), image_noise(seed, index, SHAPE))


@given(SEEDS, COUNTERS, COUNTERS, st.integers(1, 4000))
def test_a_timestep_is_one_of_the_schedule(seed: int, epoch: int, index: int, num_timesteps: int) -> None:
    assert 0 <= sample_timestep(seed, epoch, index, num_timesteps) < num_timesteps


def test_timesteps_and_flips_are_uniform_over_samples() -> None:
    counts = np.bincount([sample_timestep(5, 1, i, 10) for i in range(10_000)], minlength=10)
    chi_square = float(((counts - 1000) ** 2 / 1000).sum())
    assert chi_square < 27.9  # 99.9 % of fair draws with 9 degrees of freedom
    assert abs(sum(sample_flip(5, 1, i) for i in range(10_000)) - 5000) < 165


def test_noise_is_standard_normal_and_neighbours_are_uncorrelated() -> None:
    noises = np.stack([sample_noise(7, 0, i, (1, 128, 128)) for i in range(4)]).reshape(4, -1)
    assert noises.dtype == np.float32
    assert np.abs(noises.mean(1)).max() < 0.03
    assert np.abs(noises.std(1) - 1).max() < 0.03
    assert np.abs(np.corrcoef(noises) - np.eye(4)).max() < 0.03


def test_each_step_of_an_image_has_its_own_noise() -> None:
    assert len({image_noise(42, step, SHAPE).tobytes() for step in range(50)}) == 50


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(InvalidInput) as refusal:
        image_noise(seed, 0, SHAPE)
    assert refusal.value.message == f"seed={seed} is outside 0 to 2^64 - 1; use a number in that range"
