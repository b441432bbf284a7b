"""How much noise each timestep has.

A schedule is one array: alphas_cumprod[t], the share of an image's variance that is left at timestep t
(alpha-bar of DDPM, 2006.11239, equation 4). Everything else follows from it. Its values are diffusers' own,
bit for bit, float32 rounding included, so that an exported model is sampled with the noise it was trained on.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthray.errors import InvalidInput, Reason

Float32s = NDArray[np.float32]
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
    """`betas`, (T,) float32, are what diffusers is told; `alphas_cumprod`, (T,) float64, what they amount to.

    With `rescaled` the betas are those before the rescaling to zero terminal SNR.
    """

    name: str
    betas: Float32s
    rescaled: bool
    alphas_cumprod: Float64s

    @property
    def num_timesteps(self) -> int:
        """How many timesteps there are; timestep 0 has the least noise."""
        return len(self.alphas_cumprod)

    @property
    def zero_terminal_snr(self) -> bool:
        """Whether the last timestep is pure noise."""
        return bool(self.alphas_cumprod[-1] == 0.0)


def build_schedule(
    name: str, resolution_px: int, zero_terminal_snr: bool, num_timesteps: int = 1000
) -> NoiseSchedule:
    """The schedule of that name; only `shifted_cosine` looks at the resolution.

    Raises InvalidInput for an unknown name.
    """
    if name == "linear":
        betas = torch.linspace(_BETA_START, _BETA_END, num_timesteps)
    elif name == "cosine":
        betas = _cosine_betas(num_timesteps)
    elif name == "shifted_cosine":
        alphas_cumprod = (1.0 - _cosine_betas(num_timesteps)).cumprod(0)
        betas = _betas_of(shift_to_resolution(alphas_cumprod, resolution_px))
    else:
        nearest = get_close_matches(name, SCHEDULES, n=1, cutoff=0.0)[0]
        raise InvalidInput(
            f"spec.diffusion.schedule={name} is unknown; use one of {_listed(SCHEDULES)} (nearest: {nearest})"
        )
    return _schedule(name, betas, rescaled=zero_terminal_snr)


def shift_to_resolution(alphas_cumprod: Tensor, resolution_px: int) -> Tensor:
    """The same schedule with its SNR times (64 / resolution)^2.

    Simple diffusion (2301.11093, section 3.1): log SNR + 2 log(64 / d). Neighbouring pixels of a larger image
    are more alike, so the same noise per pixel hides less of it (2301.10972 finds the same).
    """
    factor = (_REFERENCE_PX / resolution_px) ** 2
    return factor * alphas_cumprod / (factor * alphas_cumprod + (1.0 - alphas_cumprod))


def rescale_to_zero_terminal_snr(betas: Tensor) -> Tensor:
    """Betas whose last timestep is pure noise and whose first is unchanged.

    Lin et al., "Common diffusion noise schedules and sample steps are flawed" (2305.08891, algorithm 1).
    """
    root = (1.0 - betas).cumprod(0).sqrt()
    first, last = root[0].clone(), root[-1].clone()
    root -= last
    root *= first / (first - last)
    return _betas_of(root**2)


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
    beta_schedule = {"linear": "linear", "cosine": "squaredcos_cap_v2"}.get(schedule.name)
    return {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": version("diffusers"),
        "num_train_timesteps": schedule.num_timesteps,
        "beta_start": _BETA_START,
        "beta_end": _BETA_END,
        "beta_schedule": beta_schedule or "linear",
        "trained_betas": None if beta_schedule else schedule.betas.tolist(),
        "variance_type": "fixed_small",
        "clip_sample": True,
        "clip_sample_range": 1.0,
        "thresholding": False,
        "dynamic_thresholding_ratio": 0.995,
        "sample_max_value": 1.0,
        "prediction_type": prediction_type,
        "timestep_spacing": "trailing",
        "steps_offset": 0,
        "rescale_betas_zero_snr": schedule.rescaled,
    }


def read_scheduler_config(config: Mapping[str, Any]) -> tuple[NoiseSchedule, str]:
    """The schedule and prediction type of a diffusers `scheduler_config.json`, also one not of ours.

    Raises InvalidInput (ModelInvalid) for beta schedules that synthray does not know.
    """
    num_timesteps = int(config.get("num_train_timesteps", 1000))
    beta_schedule = config.get("beta_schedule", "linear")
    limits = float(config.get("beta_start", _BETA_START)), float(config.get("beta_end", _BETA_END))
    name = "trained_betas"
    if config.get("trained_betas") is not None:
        betas = torch.tensor(config["trained_betas"], dtype=torch.float32)
    elif beta_schedule == "linear":
        name = "linear" if limits == (_BETA_START, _BETA_END) else name
        betas = torch.linspace(*limits, num_timesteps)
    elif beta_schedule == "squaredcos_cap_v2":
        name, betas = "cosine", _cosine_betas(num_timesteps)
    else:
        raise InvalidInput(
            f"scheduler_config.json: beta_schedule={beta_schedule} is not supported; use a model with "
            "linear, squaredcos_cap_v2 or trained_betas",
            reason=Reason.MODEL_INVALID,
        )
    schedule = _schedule(name, betas, rescaled=bool(config.get("rescale_betas_zero_snr", False)))
    prediction_type = str(config.get("prediction_type", "epsilon"))
    require_defined(schedule, prediction_type)
    return schedule, prediction_type


def _cosine_betas(num_timesteps: int) -> Tensor:
    """Betas of alpha-bar(t) = cos^2((t / T + s) / (1 + s) pi / 2), (T,) float64 (2102.09672, eq. 17).

    A beta is at most 0.999, as there.
    """
    alpha_bar = [
        math.cos((t / num_timesteps + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * math.pi / 2) ** 2
        for t in range(num_timesteps + 1)
    ]
    betas = [min(1 - after / now, _MAX_BETA) for now, after in pairwise(alpha_bar)]
    return torch.tensor(betas, dtype=torch.float64)


def _betas_of(alphas_cumprod: Tensor) -> Tensor:
    """The variance that each timestep adds: 1 - alphas_cumprod[t] / alphas_cumprod[t - 1]."""
    return 1.0 - torch.cat([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])


def _schedule(name: str, betas: Tensor, *, rescaled: bool) -> NoiseSchedule:
    """Round to float32 where diffusers does."""
    rounded = betas.float()
    final = rescale_to_zero_terminal_snr(rounded) if rescaled else rounded
    alphas_cumprod = (1.0 - final).cumprod(0).double()
    schedule = NoiseSchedule(name, rounded.numpy(), rescaled, alphas_cumprod.numpy())
    schedule.betas.setflags(write=False)
    schedule.alphas_cumprod.setflags(write=False)
    return schedule


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
