"""How much noise each timestep has.

A schedule is one array: alphas_cumprod[t], the share of an image's variance that is left at timestep t
(alpha-bar of DDPM, 2006.11239, equation 4), in float64. Everything else follows from it. Written here rather
than taken from diffusers, because its float32 products lose digits exactly where the signal ends; the two are
compared in the tests. This module must not import torch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthray.errors import InvalidInput, Reason

Float64s = NDArray[np.float64]

SCHEDULES = ("linear", "cosine", "shifted_cosine")
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")

# Linear schedule of DDPM (2006.11239, section 4).
_BETA_START, _BETA_END = 1e-4, 0.02
# Cosine schedule of improved DDPM (2102.09672, equation 17): offset and largest beta.
_COSINE_OFFSET, _MAX_BETA = 0.008, 0.999
# The resolution at which the shifted cosine schedule is the plain one (simple diffusion, 2301.11093).
_REFERENCE_PX = 64


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """`alphas_cumprod` is float64 of shape (num_timesteps,), falling; the last is exactly 0 at zero SNR."""

    name: str
    zero_terminal_snr: bool
    alphas_cumprod: Float64s

    @property
    def num_timesteps(self) -> int:
        """How many timesteps there are; timestep 0 has the least noise."""
        return len(self.alphas_cumprod)

    @property
    def betas(self) -> Float64s:
        """The variance that each timestep adds: 1 - alphas_cumprod[t] / alphas_cumprod[t - 1]."""
        previous = np.concatenate([np.ones(1), self.alphas_cumprod[:-1]])
        betas: Float64s = 1.0 - self.alphas_cumprod / previous
        return betas


def build_schedule(
    name: str, resolution_px: int, zero_terminal_snr: bool, num_timesteps: int = 1000
) -> NoiseSchedule:
    """The schedule of that name; only `shifted_cosine` looks at the resolution.

    Raises InvalidInput for an unknown name.
    """
    if name == "linear":
        alphas_cumprod = _product(np.linspace(_BETA_START, _BETA_END, num_timesteps))
    elif name == "cosine":
        alphas_cumprod = _cosine(num_timesteps)
    elif name == "shifted_cosine":
        alphas_cumprod = shift_to_resolution(_cosine(num_timesteps), resolution_px)
    else:
        nearest = get_close_matches(name, SCHEDULES, n=1, cutoff=0.0)[0]
        raise InvalidInput(
            f"spec.diffusion.schedule={name} is unknown; use one of {_listed(SCHEDULES)} (nearest: {nearest})"
        )
    if zero_terminal_snr:
        alphas_cumprod = rescale_to_zero_terminal_snr(alphas_cumprod)
    return _schedule(name, zero_terminal_snr, alphas_cumprod)


def shift_to_resolution(alphas_cumprod: Float64s, resolution_px: int) -> Float64s:
    """The same schedule with its SNR times (64 / resolution)^2.

    Simple diffusion (2301.11093, section 3.1): log SNR + 2 log(64 / d). Neighbouring pixels of a larger image
    are more alike, so the same noise per pixel hides less of it (2301.10972 finds the same).
    """
    factor = (_REFERENCE_PX / resolution_px) ** 2
    shifted: Float64s = factor * alphas_cumprod / (factor * alphas_cumprod + (1.0 - alphas_cumprod))
    return shifted


def rescale_to_zero_terminal_snr(alphas_cumprod: Float64s) -> Float64s:
    """The schedule whose last timestep is pure noise and whose first is unchanged.

    Lin et al., "Common diffusion noise schedules and sample steps are flawed" (2305.08891, algorithm 1).
    """
    root = np.sqrt(alphas_cumprod)
    rescaled: Float64s = ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2
    return rescaled


def require_defined(schedule: NoiseSchedule, prediction_type: str) -> None:
    """Refuse what has no meaning: noise alone says nothing of an image, so epsilon needs some signal.

    Raises InvalidInput for an unknown prediction type and for epsilon at zero terminal SNR.
    """
    if prediction_type not in PREDICTION_TYPES:
        raise InvalidInput(
            f"spec.diffusion.predictionType={prediction_type} is unknown; use one of "
            f"{_listed(PREDICTION_TYPES)}"
        )
    if prediction_type == "epsilon" and schedule.zero_terminal_snr:
        raise InvalidInput(
            "spec.diffusion.predictionType=epsilon is undefined with zeroTerminalSNR=true, for the last "
            "timestep is pure noise; use v_prediction, or zeroTerminalSNR=false"
        )


def scheduler_config(schedule: NoiseSchedule, prediction_type: str) -> dict[str, Any]:
    """The `scheduler_config.json` with which diffusers' DDPM and DDIM pipelines sample as synthray does.

    Trailing spacing starts at the last timestep (2305.08891, section 3.3). `rescale_betas_zero_snr` changes
    nothing in betas that are already rescaled, and DPM-Solver needs it to avoid an infinite sigma; that one
    also needs `thresholding=True` in place of `clip_sample`, which it lacks.
    """
    require_defined(schedule, prediction_type)
    diffusers_name = {"linear": "linear", "cosine": "squaredcos_cap_v2"}.get(schedule.name)
    return {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": version("diffusers"),
        "num_train_timesteps": schedule.num_timesteps,
        "beta_start": _BETA_START,
        "beta_end": _BETA_END,
        "beta_schedule": diffusers_name or "linear",
        "trained_betas": None if diffusers_name else schedule.betas.tolist(),
        "variance_type": "fixed_small",
        "clip_sample": True,
        "clip_sample_range": 1.0,
        "thresholding": False,
        "dynamic_thresholding_ratio": 0.995,
        "sample_max_value": 1.0,
        "prediction_type": prediction_type,
        "timestep_spacing": "trailing",
        "steps_offset": 0,
        "rescale_betas_zero_snr": schedule.zero_terminal_snr,
    }


def read_scheduler_config(config: Mapping[str, Any]) -> tuple[NoiseSchedule, str]:
    """The schedule and prediction type of a diffusers `scheduler_config.json`, also one not of ours.

    Raises InvalidInput (ModelInvalid) for beta schedules that synthray does not know.
    """
    zero_terminal_snr = bool(config.get("rescale_betas_zero_snr", False))
    num_timesteps = int(config.get("num_train_timesteps", 1000))
    beta_schedule = config.get("beta_schedule", "linear")
    limits = float(config.get("beta_start", _BETA_START)), float(config.get("beta_end", _BETA_END))
    if config.get("trained_betas") is not None:
        name = "trained_betas"
        alphas_cumprod = _product(np.asarray(config["trained_betas"], np.float64))
    elif beta_schedule == "linear":
        name = "linear" if limits == (_BETA_START, _BETA_END) else "trained_betas"
        alphas_cumprod = _product(np.linspace(*limits, num_timesteps))
    elif beta_schedule == "squaredcos_cap_v2":
        name, alphas_cumprod = "cosine", _cosine(num_timesteps)
    else:
        raise InvalidInput(
            f"scheduler_config.json: beta_schedule={beta_schedule} is not supported; use a model with "
            "linear, squaredcos_cap_v2 or trained_betas",
            reason=Reason.MODEL_INVALID,
        )
    if zero_terminal_snr:
        alphas_cumprod = rescale_to_zero_terminal_snr(alphas_cumprod)
    schedule = _schedule(name, zero_terminal_snr or alphas_cumprod[-1] == 0.0, alphas_cumprod)
    prediction_type = str(config.get("prediction_type", "epsilon"))
    require_defined(schedule, prediction_type)
    return schedule, prediction_type


def _cosine(num_timesteps: int) -> Float64s:
    """Alpha-bar(t) = cos^2((t / T + s) / (1 + s) x pi / 2) (2102.09672, equation 17), betas at most 0.999."""
    time = np.arange(num_timesteps + 1) / num_timesteps
    alpha_bar = np.cos((time + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * (math.pi / 2)) ** 2
    betas = np.minimum(1.0 - alpha_bar[1:] / alpha_bar[:-1], _MAX_BETA)
    return _product(betas)


def _product(betas: Float64s) -> Float64s:
    """Alpha-bar_t = (1 - beta_0) ... (1 - beta_t) (2006.11239, section 2)."""
    return np.cumprod(np.subtract(1.0, betas), dtype=np.float64)


def _schedule(name: str, zero_terminal_snr: bool, alphas_cumprod: Float64s) -> NoiseSchedule:
    alphas_cumprod.setflags(write=False)
    return NoiseSchedule(name, zero_terminal_snr, alphas_cumprod)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
