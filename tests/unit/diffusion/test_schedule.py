import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synthray.diffusion.schedule import (
    SCHEDULES,
    build_schedule,
    read_scheduler_config,
    require_defined,
    scheduler_config,
    shift_to_resolution,
)
from synthray.errors import InvalidInput, Reason

NAMES = st.sampled_from(SCHEDULES)
RESOLUTIONS = st.integers(2, 64).map(lambda n: 16 * n)


@given(NAMES, RESOLUTIONS, st.booleans(), st.integers(10, 1000))
def test_the_signal_only_falls(name: str, resolution_px: int, zero: bool, num_timesteps: int) -> None:
    schedule = build_schedule(name, resolution_px, zero, num_timesteps)
    assert schedule.num_timesteps == num_timesteps
    assert np.all(np.diff(schedule.alphas_cumprod) < 0)
    assert 0 < schedule.alphas_cumprod[0] < 1
    assert (schedule.alphas_cumprod[-1] == 0) == zero


@given(RESOLUTIONS)
def test_a_larger_image_gets_less_signal_by_the_square_of_its_side(resolution_px: int) -> None:
    plain = build_schedule("cosine", resolution_px, zero_terminal_snr=False).alphas_cumprod
    shifted = shift_to_resolution(torch.tensor(plain), resolution_px).numpy()
    log_ratio = np.log(shifted / (1 - shifted)) - np.log(plain / (1 - plain))
    assert np.allclose(log_ratio, 2 * np.log(64 / resolution_px), atol=1e-9)
    built = build_schedule("shifted_cosine", resolution_px, zero_terminal_snr=False).alphas_cumprod
    assert np.allclose(built, shifted, rtol=1e-3, atol=1e-6)


@given(NAMES, RESOLUTIONS)
def test_zero_terminal_snr_leaves_the_first_timestep_alone(name: str, resolution_px: int) -> None:
    plain = build_schedule(name, resolution_px, zero_terminal_snr=False)
    zero = build_schedule(name, resolution_px, zero_terminal_snr=True)
    assert zero.alphas_cumprod[0] == pytest.approx(plain.alphas_cumprod[0], abs=2e-7)


def test_a_schedule_cannot_be_changed_by_its_readers() -> None:
    schedule = build_schedule("cosine", 64, zero_terminal_snr=True)
    with pytest.raises(ValueError, match="read-only"):
        schedule.alphas_cumprod[0] = 0.5


@given(NAMES, RESOLUTIONS, st.booleans())
def test_an_exported_schedule_is_read_back(name: str, resolution_px: int, zero: bool) -> None:
    schedule = build_schedule(name, resolution_px, zero)
    text = json.dumps(scheduler_config(schedule, "v_prediction"), allow_nan=False)
    read, prediction_type = read_scheduler_config(json.loads(text))
    assert prediction_type == "v_prediction"
    assert read.zero_terminal_snr == zero
    assert np.array_equal(read.alphas_cumprod, schedule.alphas_cumprod)


def test_a_config_that_leaves_things_out_means_the_defaults_of_diffusers() -> None:
    schedule, prediction_type = read_scheduler_config({})
    assert prediction_type == "epsilon"
    assert np.array_equal(schedule.alphas_cumprod, build_schedule("linear", 64, False).alphas_cumprod)


def test_an_unknown_schedule_names_the_nearest() -> None:
    with pytest.raises(InvalidInput) as refusal:
        build_schedule("cosin", 64, zero_terminal_snr=True)
    assert refusal.value.message == (
        "spec.diffusion.schedule=cosin is unknown; use one of linear, cosine, shifted_cosine "
        "(nearest: cosine)"
    )


def test_epsilon_is_refused_where_nothing_but_noise_is_left() -> None:
    with pytest.raises(InvalidInput) as refusal:
        require_defined(build_schedule("cosine", 64, zero_terminal_snr=True), "epsilon")
    assert refusal.value.message == (
        "spec.diffusion.predictionType=epsilon is undefined with zeroTerminalSNR=true, for the last timestep "
        "is pure noise; use v_prediction, or zeroTerminalSNR=false"
    )
    require_defined(build_schedule("cosine", 64, zero_terminal_snr=False), "epsilon")


def test_an_unknown_prediction_is_refused() -> None:
    with pytest.raises(InvalidInput) as refusal:
        require_defined(build_schedule("cosine", 64, zero_terminal_snr=False), "velocity")
    assert refusal.value.message == (
        "spec.diffusion.predictionType=velocity is unknown; use one of epsilon, v_prediction, sample"
    )


def test_a_foreign_schedule_that_is_not_known_is_refused() -> None:
    with pytest.raises(InvalidInput) as refusal:
        read_scheduler_config({"beta_schedule": "laplace"})
    assert refusal.value.reason is Reason.MODEL_INVALID
    assert refusal.value.message == (
        "scheduler_config.json: beta_schedule=laplace is not supported; use a model with linear, "
        "squaredcos_cap_v2 or trained_betas"
    )
