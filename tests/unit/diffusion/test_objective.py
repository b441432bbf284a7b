import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from synthray.diffusion.ema import ema_decay
from synthray.diffusion.objective import (
    add_noise,
    loss_per_sample,
    predicted_original,
    training_target,
)
from synthray.diffusion.rng import sample_noise
from synthray.diffusion.schedule import PREDICTION_TYPES, NoiseSchedule, build_schedule
from synthray.errors import InvalidInput

ZERO_SNR = build_schedule("cosine", 64, zero_terminal_snr=True)
SOME_SIGNAL = build_schedule("linear", 64, zero_terminal_snr=False)


def normal(index: int, num: int = 4) -> Tensor:
    return torch.from_numpy(sample_noise(0, index, 0, (num, 8, 8))).view(num, 1, 8, 8)


IMAGES, NOISE, ERRORS = normal(0).clamp(-1, 1), normal(1), normal(2)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@given(t=st.lists(st.integers(0, 999), min_size=4, max_size=4))
def test_the_right_answer_is_the_image(prediction_type: str, t: list[int]) -> None:
    timesteps = torch.tensor(t)
    schedule = SOME_SIGNAL if prediction_type == "epsilon" else ZERO_SNR
    noisy = add_noise(schedule, IMAGES, NOISE, timesteps)
    target = training_target(schedule, prediction_type, IMAGES, NOISE, timesteps)
    original = predicted_original(schedule, prediction_type, noisy, target, timesteps)
    assert torch.allclose(original, IMAGES, atol=1e-4)
    losses = loss_per_sample(schedule, prediction_type, target, IMAGES, NOISE, timesteps, min_snr_gamma=None)
    assert torch.equal(losses, torch.zeros(4))


def test_the_last_timestep_of_zero_snr_is_the_noise_itself() -> None:
    assert torch.equal(add_noise(ZERO_SNR, IMAGES, NOISE, torch.full((4,), 999)), NOISE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_timestep_has_noise_though_the_network_computes_in_half(dtype: torch.dtype) -> None:
    schedule = build_schedule("cosine", 64, zero_terminal_snr=True)
    timesteps = torch.arange(1000)
    image, noise = torch.ones(1000, 1, 1, 1, dtype=dtype), torch.ones(1000, 1, 1, 1, dtype=dtype)
    only_noise = add_noise(schedule, torch.zeros_like(image), noise, timesteps)
    assert only_noise.dtype == torch.float32
    assert (only_noise.diff(dim=0) > 0).all()
    losses = loss_per_sample(schedule, "v_prediction", image, image, noise, timesteps, min_snr_gamma=5.0)
    assert losses.dtype == torch.float32


def weighted_loss_of_an_image_error(
    schedule: NoiseSchedule, prediction_type: str, timesteps: Tensor
) -> Tensor:
    """The weighted loss of an answer that is wrong by ERRORS in terms of the image x_0."""
    a = torch.tensor(schedule.alphas_cumprod, dtype=torch.float32)[timesteps].view(-1, 1, 1, 1)
    # x_0 = (x_t - sigma eps) / alpha = alpha x_t - sigma v, at the same x_t.
    scale = {"sample": 1.0 + 0 * a, "epsilon": -((a / (1 - a)) ** 0.5), "v_prediction": -1 / (1 - a) ** 0.5}
    target = training_target(schedule, prediction_type, IMAGES, NOISE, timesteps)
    output = target + scale[prediction_type] * ERRORS
    return loss_per_sample(schedule, prediction_type, output, IMAGES, NOISE, timesteps, min_snr_gamma=5.0)


@given(t=st.lists(st.integers(1, 999), min_size=4, max_size=4))
def test_min_snr_weighs_the_same_mistake_the_same_in_every_prediction(t: list[int]) -> None:
    timesteps = torch.tensor(t)
    a = torch.tensor(SOME_SIGNAL.alphas_cumprod)[timesteps]
    expected = (a / (1 - a)).clamp(max=5.0) * ERRORS.double().square().flatten(1).mean(1)
    for prediction_type in PREDICTION_TYPES:
        losses = weighted_loss_of_an_image_error(SOME_SIGNAL, prediction_type, timesteps)
        assert torch.allclose(losses.double(), expected, rtol=2e-3, atol=1e-7), prediction_type


def test_min_snr_still_trains_the_step_that_starts_every_sampling() -> None:
    last = torch.full((4,), 999)
    losses = loss_per_sample(
        ZERO_SNR, "v_prediction", torch.zeros(4, 1, 8, 8), IMAGES, NOISE, last, min_snr_gamma=5.0
    )
    assert torch.allclose(losses, IMAGES.square().flatten(1).mean(1))


@given(t=st.lists(st.integers(0, 999), min_size=4, max_size=4), row=st.integers(0, 3))
def test_the_loss_of_a_sample_does_not_depend_on_its_neighbours(t: list[int], row: int) -> None:
    timesteps = torch.tensor(t)
    alone, others = torch.full((4,), t[row]), normal(9)

    def losses(images: Tensor, noise: Tensor, output: Tensor, timesteps: Tensor) -> Tensor:
        return loss_per_sample(ZERO_SNR, "v_prediction", output, images, noise, timesteps, min_snr_gamma=5.0)

    def among(values: Tensor) -> Tensor:
        return others.index_copy(0, torch.tensor([3 - row]), values[row : row + 1])

    together = losses(IMAGES, NOISE, ERRORS, timesteps)[row]
    elsewhere = losses(among(IMAGES), among(NOISE), among(ERRORS), alone)[3 - row]
    assert torch.equal(together, elsewhere)


def test_epsilon_at_zero_snr_is_refused_before_it_becomes_infinite() -> None:
    with pytest.raises(InvalidInput, match="epsilon is undefined with zeroTerminalSNR=true"):
        loss_per_sample(ZERO_SNR, "epsilon", NOISE, IMAGES, NOISE, torch.zeros(4).long(), min_snr_gamma=None)


@given(st.integers(1, 512), st.integers(1, 10**8), st.integers(1, 10**7))
def test_the_average_forgets_by_images_and_not_by_steps(batch: int, seen: int, halflife: int) -> None:
    one_step = ema_decay(2 * batch, seen + 2 * batch, halflife_images=halflife, rampup_ratio=1e9)
    half_step = ema_decay(batch, seen + batch, halflife_images=halflife, rampup_ratio=1e9)
    assert 0 <= one_step < 1
    assert one_step == pytest.approx(half_step**2)


def test_half_of_the_average_is_forgotten_after_its_half_life() -> None:
    decays = [ema_decay(10, 10**9 + 10 * i, halflife_images=1000, rampup_ratio=0.05) for i in range(100)]
    assert torch.tensor(decays, dtype=torch.float64).prod().item() == pytest.approx(0.5)


def test_a_young_average_forgets_sooner() -> None:
    young = ema_decay(64, 1280, halflife_images=500_000, rampup_ratio=0.05)
    assert young == pytest.approx(0.5)
    assert ema_decay(64, 64, halflife_images=0, rampup_ratio=0.05) == 0.0
