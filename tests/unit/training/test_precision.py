"""The loss scale as a pure state, and the precision that each device gets."""

import pytest

from synthray.errors import InvalidInput
from synthray.training.precision import (
    GROWTH_INTERVAL_STEPS,
    INITIAL_SCALE,
    Precision,
    after_good_step,
    after_overflow,
    initial_loss_scale,
    keep_precision,
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


@pytest.mark.parametrize(
    ("pinned", "capability"),
    [("fp32", None), ("fp32", (9, 0)), ("fp16", (7, 5)), ("fp16", (9, 0)), ("bf16", (8, 0))],
)
def test_a_run_keeps_what_auto_was_at_first(pinned: Precision, capability: tuple[int, int] | None) -> None:
    assert keep_precision(pinned, capability) == pinned


@pytest.mark.parametrize(
    ("pinned", "capability", "here"),
    [
        ("fp16", None, "this machine has no GPU"),
        ("bf16", None, "this machine has no GPU"),
        ("bf16", (7, 5), "this machine has a GPU of compute capability 7.5"),
    ],
)
def test_a_device_without_it_is_refused_with_the_way_out(
    pinned: Precision, capability: tuple[int, int] | None, here: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        keep_precision(pinned, capability)
    assert refused.value.message == (
        f"spec.optimization.precision=auto is {pinned} in this run, as its first attempt resolved it, and "
        f"{here}, where that is very slow; go on with GPUs like the first ones, insist with "
        f"--set spec.optimization.precision={pinned}, or begin another run with another checkpoints.uri"
    )
