"""What the network is trained for: noising, target and weighted loss.

All of it is float32 whatever precision the network runs in: in half precision the first timesteps would have
no noise at all. Everything is per sample; a sample's loss depends on no other in its batch. Notation:
alpha = sqrt(alphas_cumprod), sigma = sqrt(1 - alphas_cumprod), SNR = alpha^2 / sigma^2.
"""

from functools import lru_cache

import torch
from torch import Tensor

from synthray.diffusion.schedule import NoiseSchedule, require_defined


def add_noise(schedule: NoiseSchedule, images: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """x_t = alpha x_0 + sigma eps (DDPM, 2006.11239, equation 4).

    `images` and `noise` are (N, C, H, W), `timesteps` (N,) int64; the result is float32.
    """
    alpha, sigma = _alpha_sigma(schedule, timesteps)
    return alpha * images.float() + sigma * noise.float()


def training_target(
    schedule: NoiseSchedule, prediction_type: str, images: Tensor, noise: Tensor, timesteps: Tensor
) -> Tensor:
    """What the network should answer, (N, C, H, W) float32.

    The noise eps (2006.11239, equation 14), the image x_0, or v = alpha eps - sigma x_0 (progressive
    distillation, 2202.00512, appendix D).
    """
    if prediction_type == "epsilon":
        return noise.float()
    if prediction_type == "sample":
        return images.float()
    alpha, sigma = _alpha_sigma(schedule, timesteps)
    return alpha * noise.float() - sigma * images.float()


def predicted_original(
    schedule: NoiseSchedule, prediction_type: str, noisy: Tensor, output: Tensor, timesteps: Tensor
) -> Tensor:
    """The image x_0 that an answer amounts to, (N, C, H, W) float32, unclipped.

    (x_t - sigma eps) / alpha (DDIM, 2010.02502, equation 9), or alpha x_t - sigma v (2202.00512, appendix D).
    """
    if prediction_type == "sample":
        return output.float()
    alpha, sigma = _alpha_sigma(schedule, timesteps)
    if prediction_type == "epsilon":
        return (noisy.float() - sigma * output.float()) / alpha
    return alpha * noisy.float() - sigma * output.float()


def loss_per_sample(  # noqa: PLR0917 a sample's whole story, in its order
    schedule: NoiseSchedule,
    prediction_type: str,
    output: Tensor,
    images: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    *,
    min_snr_gamma: float | None,
) -> Tensor:
    """Mean squared error over each sample's pixels, times its weight: (N,) float32.

    Raises InvalidInput where the prediction type is undefined.
    """
    require_defined(schedule, prediction_type)
    target = training_target(schedule, prediction_type, images, noise, timesteps)
    losses = (output.float() - target).square().flatten(1).mean(1)
    if min_snr_gamma is None:
        return losses
    return losses * _weights(schedule, prediction_type, min_snr_gamma, losses.device)[timesteps]


@lru_cache(maxsize=8)
def _weights(schedule: NoiseSchedule, prediction_type: str, gamma: float, device: torch.device) -> Tensor:
    """Min-SNR-gamma weight of each timestep, (T,) float32 (Hang et al., 2303.09556, section 3.4).

    min(SNR, gamma) on the error of x_0, divided by SNR for eps and by SNR + 1 for v. At zero terminal SNR the
    formula gives 0 and would leave the first step of every sampling untrained; the weight there is 1.
    """
    alphas_cumprod = torch.tensor(schedule.alphas_cumprod)
    snr = alphas_cumprod / (1.0 - alphas_cumprod)
    divisor = {"epsilon": snr, "v_prediction": snr + 1.0, "sample": torch.ones_like(snr)}[prediction_type]
    weights = torch.where(snr > 0, snr.clamp(max=gamma) / divisor, 1.0)
    return weights.to(device, torch.float32)


@lru_cache(maxsize=8)
def _tables(schedule: NoiseSchedule, device: torch.device) -> tuple[Tensor, Tensor]:
    """Alpha and sigma of each timestep, (T,) float32, rounded once from float64."""
    alphas_cumprod = torch.tensor(schedule.alphas_cumprod)
    alpha, sigma = alphas_cumprod.sqrt(), (1.0 - alphas_cumprod).sqrt()
    return alpha.to(device, torch.float32), sigma.to(device, torch.float32)


def _alpha_sigma(schedule: NoiseSchedule, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Alpha and sigma of each sample, (N, 1, 1, 1)."""
    alpha, sigma = _tables(schedule, timesteps.device)
    return alpha[timesteps].view(-1, 1, 1, 1), sigma[timesteps].view(-1, 1, 1, 1)
