"""From noise to an image, one denoising step at a time, with the state kept per image.

diffusers' schedulers hold one state for a whole batch; here each image has its own, so images at different
timesteps, of different samplers and with different numbers of steps share one batch of the network, and
nothing of an image depends on its neighbours. Each step is linear but for one clipping, so a sampler is a
table of coefficients, computed once in float64. Checked step by step against diffusers' own schedulers.

Notation, at timestep t: a = alphas_cumprod, alpha = sqrt(a), sigma = sqrt(1 - a).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from synthray.diffusion.rng import Shape, image_noise
from synthray.diffusion.schedule import Float64s, NoiseSchedule, require_defined
from synthray.errors import InvalidInput

SAMPLERS = ("ddim", "ddpm", "dpmsolver++")

# DPM-Solver++ works with log(alpha), which is infinite at zero SNR: diffusers puts fp16's least number there.
_DPM_AT_ZERO_SNR = 2.0**-24


@dataclass(frozen=True)
class StepCoefficients:
    """One step: x_0 = clip(original_from_sample x + original_from_output f, -1, 1), and the next sample.

    That is the sum of: `sample` x, `output` f, `original` x_0, `previous_original` times the step before's
    x_0, `noise` times fresh noise; x is the sample now, f the network's answer.
    """

    original_from_sample: float
    original_from_output: float
    sample: float
    output: float
    original: float
    previous_original: float
    noise: float


@dataclass(frozen=True)
class SamplerPlan:
    """All steps of one sampler; `timesteps` fall, the first is the noisiest."""

    sampler: str
    timesteps: tuple[int, ...]
    steps: tuple[StepCoefficients, ...]


@dataclass(frozen=True, eq=False)
class ImageState:
    """One image on its way: `step` steps are done; `sample` and `original` are (C, H, W) float32.

    `original` is the last step's prediction of the finished image, zeros at first.
    """

    plan: SamplerPlan
    seed: int
    step: int
    sample: Tensor
    original: Tensor

    @property
    def finished(self) -> bool:
        """Whether `sample` is the image, in -1 to 1."""
        return self.step == len(self.plan.timesteps)

    @property
    def timestep(self) -> int:
        """What to tell the network with `sample`; only while not finished."""
        return self.plan.timesteps[self.step]


def plan_sampling(
    sampler: str, schedule: NoiseSchedule, prediction_type: str, num_steps: int, *, eta: float = 0.0
) -> SamplerPlan:
    """The steps of a sampler; `eta` (0 to 1) is DDIM's share of fresh noise and nothing to the others.

    Raises InvalidInput for an unknown sampler, a number of steps outside 1 to the schedule's timesteps, or a
    prediction that the schedule leaves undefined.
    """
    require_defined(schedule, prediction_type)
    if not 1 <= num_steps <= schedule.num_timesteps:
        raise InvalidInput(
            f"steps={num_steps} is outside 1 to {schedule.num_timesteps}; use a number in that range"
        )
    timesteps = trailing_timesteps(schedule.num_timesteps, num_steps)
    a = schedule.alphas_cumprod[timesteps]
    if sampler == "ddim":
        steps = _ddim(a, prediction_type, eta)
    elif sampler == "ddpm":
        steps = _ddpm(a, prediction_type)
    elif sampler == "dpmsolver++":
        steps = _dpm_solver(a, prediction_type)
    else:
        raise InvalidInput(f"sampler={sampler} is unknown; use one of {', '.join(SAMPLERS)}")
    return SamplerPlan(sampler, tuple(int(t) for t in timesteps), tuple(steps))


def trailing_timesteps(num_timesteps: int, num_steps: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Falling from the last timestep in even strides (Lin et al., 2305.08891, table 2): (num_steps,).

    Only this spacing starts from pure noise.
    """
    stride = num_timesteps / num_steps
    return np.round(num_timesteps - np.arange(num_steps) * stride).astype(np.int64) - 1


def start_image(plan: SamplerPlan, seed: int, shape: Shape, device: torch.device) -> ImageState:
    """Pure noise of that seed."""
    sample = torch.from_numpy(image_noise(seed, 0, shape)).to(device)
    return ImageState(plan, seed, 0, sample, torch.zeros_like(sample))


def advance(state: ImageState, output: Tensor) -> ImageState:
    """The image after one more step, given the network's answer (C, H, W) to (`sample`, `timestep`)."""
    c = state.plan.steps[state.step]
    x, f = state.sample, output.float()
    original = (c.original_from_sample * x + c.original_from_output * f).clamp(-1.0, 1.0)
    sample = c.sample * x + c.output * f
    sample = sample + c.original * original + c.previous_original * state.original
    if c.noise:
        noise = image_noise(state.seed, state.step + 1, (x.shape[0], x.shape[1], x.shape[2]))
        sample = sample + c.noise * torch.from_numpy(noise).to(x.device)
    return replace(state, step=state.step + 1, sample=sample, original=original)


def _original(a: float, prediction_type: str) -> tuple[float, float]:
    """x_0 = first x + second f; see `objective.predicted_original`."""
    alpha, sigma = a**0.5, (1.0 - a) ** 0.5
    if prediction_type == "epsilon":
        return 1.0 / alpha, -sigma / alpha
    return (0.0, 1.0) if prediction_type == "sample" else (alpha, -sigma)


def _epsilon(a: float, prediction_type: str) -> tuple[float, float]:
    """Eps = first x + second f, from the unclipped x_0 (2010.02502, equation 9; 2202.00512, appendix D)."""
    alpha, sigma = a**0.5, (1.0 - a) ** 0.5
    if prediction_type == "epsilon":
        return 0.0, 1.0
    return (1.0 / sigma, -alpha / sigma) if prediction_type == "sample" else (sigma, alpha)


def _ddim(a: Float64s, prediction_type: str, eta: float) -> list[StepCoefficients]:
    """Song et al., 2010.02502, equation 12, with the noise of equation 16."""
    steps = []
    for now, after in _pairs(a):
        variance = (1.0 - after) / (1.0 - now) * (1.0 - now / after)
        noise = eta * variance**0.5
        direction = max(1.0 - after - noise**2, 0.0) ** 0.5
        from_sample, from_output = _epsilon(now, prediction_type)
        steps.append(
            StepCoefficients(
                *_original(now, prediction_type),
                sample=direction * from_sample,
                output=direction * from_output,
                original=after**0.5,
                previous_original=0.0,
                noise=noise,
            )
        )
    return steps


def _ddpm(a: Float64s, prediction_type: str) -> list[StepCoefficients]:
    """Ho et al., 2006.11239, equations 6 and 7 over the chosen timesteps, with the smaller variance."""
    steps = []
    for now, after in _pairs(a):
        ratio = now / after
        steps.append(
            StepCoefficients(
                *_original(now, prediction_type),
                sample=ratio**0.5 * (1.0 - after) / (1.0 - now),
                output=0.0,
                original=after**0.5 * (1.0 - ratio) / (1.0 - now),
                previous_original=0.0,
                noise=((1.0 - after) / (1.0 - now) * (1.0 - ratio)) ** 0.5,
            )
        )
    return steps


def _dpm_solver(a: Float64s, prediction_type: str) -> list[StepCoefficients]:
    """Lu et al., DPM-Solver++ (2211.01095, algorithm 2: 2M, midpoint); first order at both ends.

    With lambda = log(alpha / sigma), h = lambda_next - lambda and r = h_before / h:
    x_next = sigma_next / sigma x + alpha_next (1 - e^-h) ((1 + 1/2r) x_0 - 1/2r x_0_before).
    """
    a = np.where(a == 0.0, _DPM_AT_ZERO_SNR, a)
    steps: list[StepCoefficients] = []
    log_snr_before: float | None = None
    for now, after in _pairs(a):
        log_snr = _half_log_snr(now)
        # 1 - e^-h, written so that the last step (sigma_next = 0, h infinite) needs no infinity.
        gain = 1.0 - (now * (1.0 - after) / ((1.0 - now) * after)) ** 0.5
        weight = 0.0
        if log_snr_before is not None and after < 1.0:
            weight = 0.5 * (_half_log_snr(after) - log_snr) / (log_snr - log_snr_before)
        steps.append(
            StepCoefficients(
                *_original(now, prediction_type),
                sample=((1.0 - after) / (1.0 - now)) ** 0.5,
                output=0.0,
                original=after**0.5 * gain * (1.0 + weight),
                previous_original=-(after**0.5) * gain * weight,
                noise=0.0,
            )
        )
        log_snr_before = log_snr
    return steps


def _half_log_snr(a: float) -> float:
    """Lambda = log(alpha / sigma)."""
    return float(0.5 * np.log(a / (1.0 - a)))


def _pairs(a: Float64s) -> list[tuple[float, float]]:
    """alphas_cumprod of each step and of the one after it; after the last step nothing but signal is left."""
    values = [float(value) for value in a]
    return list(zip(values, [*values[1:], 1.0], strict=True))
