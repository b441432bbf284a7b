"""The loss scale as a pure state, and the precision that each device gets."""

import pytest

from synthray.training.precision import (
    GROWTH_INTERVAL_STEPS,
    INITIAL_SCALE,
    after_good_step,
    after_overflow,
    initial_loss_scale,
    resolve_precision,
)


def test_an_overflow_halves_the_scale_down_to_one() -> None:
    state = initial_loss_scale("fp16")
    assert after_overflow(state).scale == INITIAL_SCALE / 2
    for _ in range(40):
        state = after_overflow(state)
    assert state.scale == 1.0
    assert state.exhausted


def test_good_steps_in_a_row_double_the_scale_and_an_overflow_starts_the_count_anew() -> None:
    state = initial_loss_scale("fp16")
    for _ in range(GROWTH_INTERVAL_STEPS - 1):
        state = after_good_step(state)
    assert state.scale == INITIAL_SCALE
    assert after_good_step(state).scale == 2 * INITIAL_SCALE
    assert after_overflow(state).good_steps == 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_half_precision_there_is_no_scale_to_change(precision: str) -> None:
    state = initial_loss_scale(precision)  # type: ignore[arg-type]
    assert state.scale == 1.0
    assert state.exhausted
    assert after_good_step(state) == state


@pytest.mark.parametrize(
    ("requested", "capability", "expected"),
    [
        ("auto", None, "fp32"),
        ("auto", (7, 5), "fp16"),
        ("auto", (8, 0), "bf16"),
        ("auto", (9, 0), "bf16"),
        ("fp32", (9, 0), "fp32"),
        ("fp16", (9, 0), "fp16"),
        ("bf16", None, "bf16"),
    ],
)
def test_auto_is_what_the_device_does_best(
    requested: str, capability: tuple[int, int] | None, expected: str
) -> None:
    assert resolve_precision(requested, capability) == expected
