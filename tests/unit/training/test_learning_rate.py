"""The learning rate: a function of images seen alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthray.training.learning_rate import LearningRateSchedule


def test_warm_up_rises_to_the_peak_and_then_stays() -> None:
    schedule = LearningRateSchedule(1e-3, warmup_images=99, decay="constant", decay_images=1)
    assert schedule.at(0) == pytest.approx(1e-5)
    assert schedule.at(49) == pytest.approx(5e-4)
    assert schedule.at(99) == schedule.at(10**6) == 1e-3


def test_inverse_square_root_halves_at_four_times_its_length() -> None:
    schedule = LearningRateSchedule(1e-3, warmup_images=0, decay="inverse_square_root", decay_images=1000)
    assert schedule.at(1000) == pytest.approx(1e-3)
    assert schedule.at(4000) == pytest.approx(5e-4)


def test_linear_decay_ends_at_zero_after_its_own_length() -> None:
    schedule = LearningRateSchedule(1e-3, warmup_images=100, decay="linear", decay_images=1000)
    assert schedule.at(600) == pytest.approx(5e-4)
    assert schedule.at(1100) == schedule.at(5000) == 0.0


@given(st.integers(0, 10**7), st.sampled_from(["constant", "inverse_square_root", "linear"]))
def test_the_rate_never_exceeds_the_peak(images_seen: int, decay: str) -> None:
    schedule = LearningRateSchedule(1e-3, 500, decay, 20_000)  # type: ignore[arg-type]
    assert 0.0 <= schedule.at(images_seen) <= 1e-3
