"""The goodput model against runs that are played by its own rules."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .goodput import (
    mean_cost_seconds,
    predict_goodput,
    redone_seconds,
)

COSTS = {"killed": 4.0, "hung": 40.0, "noticed": 1.0}
WEIGHTS = {"killed": 6.0, "hung": 1.0, "noticed": 3.0, "never seen": 100.0}


def test_the_mean_cost_is_weighed_by_the_mix_of_what_was_measured() -> None:
    assert mean_cost_seconds(COSTS, WEIGHTS) == pytest.approx((6 * 4 + 40 + 3) / 10)
    assert mean_cost_seconds({}, WEIGHTS) == 0.0


@pytest.mark.parametrize("seconds_between_faults", [600.0, 1800.0])
def test_the_prediction_agrees_with_a_run_of_random_faults(seconds_between_faults: float) -> None:
    """Saves every 30 s, of 1 s; a fault costs 5 s and what was not saved."""
    stream, interval, save, restart = random.Random(0), 30.0, 1.0, 5.0  # noqa: S311
    useful, elapsed = 0.0, 0.0
    for _ in range(20_000):
        span = stream.expovariate(1 / seconds_between_faults)
        useful += (span // (interval + save)) * interval
        elapsed += span + restart
    cost = restart + redone_seconds(interval + save)
    predicted = predict_goodput(
        unbroken_ratio=interval / (interval + save),
        cost_seconds=cost,
        seconds_between_faults=seconds_between_faults + restart,
    )
    assert predicted == pytest.approx(useful / elapsed, abs=0.005)


@given(st.floats(0.5, 1), st.floats(0, 1e4), st.floats(1, 1e6))
def test_goodput_is_a_share_and_falls_with_the_rate_of_faults(
    unbroken: float, cost: float, between: float
) -> None:
    rare, often = (
        predict_goodput(unbroken_ratio=unbroken, cost_seconds=cost, seconds_between_faults=seconds)
        for seconds in (between * 2, between)
    )
    assert 0 <= often <= rare <= unbroken
