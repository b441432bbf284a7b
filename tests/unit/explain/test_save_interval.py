"""Young's and Daly's intervals against the model that they approximate, and against simulated faults."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthray.training.save_interval import daly_interval, lost_ratio, young_interval

saves = st.floats(0.01, 100.0)
faults = st.floats(60.0, 1e6)


def test_youngs_own_figures() -> None:
    assert young_interval(3.0, 600.0) == 60.0
    assert daly_interval(3.0, 600.0) == pytest.approx(60 * (1 + 0.05 / 3 + 0.0025 / 9) - 3)


def test_saves_that_take_longer_than_faults_let_live_are_as_rare_as_faults() -> None:
    assert daly_interval(200.0, 100.0) == 100.0


@given(saves, faults)
def test_no_interval_loses_noticeably_less_than_dalys(save_seconds: float, fault_seconds: float) -> None:
    if save_seconds > fault_seconds / 2:
        return
    best = lost_ratio(daly_interval(save_seconds, fault_seconds), save_seconds, fault_seconds)
    others = [
        lost_ratio(young_interval(save_seconds, fault_seconds) * 1.05**power, save_seconds, fault_seconds)
        for power in range(-60, 61)
    ]
    assert best <= min(others) * 1.002


@given(saves, faults, st.floats(1.0, 1e7))
def test_a_share_lies_between_nothing_and_all(
    save_seconds: float, fault_seconds: float, interval: float
) -> None:
    assert 0 <= lost_ratio(interval, save_seconds, fault_seconds) <= 1


def test_the_model_is_what_random_faults_do() -> None:
    interval, save_seconds, fault_seconds, num_intervals = 50.0, 5.0, 100.0, 20_000
    chance = random.Random(0)  # noqa: S311 the same faults in each run of the test
    elapsed = 0.0
    for _ in range(num_intervals):
        while (fault := chance.expovariate(1 / fault_seconds)) < interval + save_seconds:
            elapsed += fault
        elapsed += interval + save_seconds
    simulated = 1 - num_intervals * interval / elapsed
    assert lost_ratio(interval, save_seconds, fault_seconds) == pytest.approx(simulated, rel=0.02)
