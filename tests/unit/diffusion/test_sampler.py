import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from synthray.diffusion.objective import training_target
from synthray.diffusion.rng import image_noise
from synthray.diffusion.sampler import (
    SAMPLERS,
    ImageState,
    advance,
    plan_sampling,
    start_image,
    trailing_timesteps,
)
from synthray.diffusion.schedule import PREDICTION_TYPES, build_schedule
from synthray.errors import InvalidInput

CPU = torch.device("cpu")
ZERO_SNR = build_schedule("cosine", 64, zero_terminal_snr=True)
SOME_SIGNAL = build_schedule("linear", 64, zero_terminal_snr=False)
IMAGE = torch.from_numpy(image_noise(1, 0, (1, 8, 8))).clamp(-0.9, 0.9)


def answer_of_an_oracle(state: ImageState, prediction_type: str) -> Tensor:
    """What a network that knows IMAGE to be the truth would answer."""
    schedule = SOME_SIGNAL if prediction_type == "epsilon" else ZERO_SNR
    a = float(schedule.alphas_cumprod[state.timestep])
    noise = (state.sample - a**0.5 * IMAGE) / (1 - a) ** 0.5
    timestep = torch.tensor([state.timestep])
    return training_target(schedule, prediction_type, IMAGE[None], noise[None], timestep)[0]


@given(st.integers(1, 1000))
def test_timesteps_start_at_pure_noise_and_fall(num_steps: int) -> None:
    timesteps = trailing_timesteps(1000, num_steps)
    assert len(timesteps) == num_steps
    assert timesteps[0] == 999
    assert timesteps[-1] >= 0
    assert (timesteps[1:] < timesteps[:-1]).all()


def test_timesteps_stay_even_where_the_steps_do_not_divide_the_schedule() -> None:
    assert trailing_timesteps(1000, 7).tolist() == [999, 856, 713, 570, 428, 285, 142]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@given(num_steps=st.integers(1, 60), eta=st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=15)
def test_a_perfect_network_leads_every_sampler_to_its_image(
    sampler: str, prediction_type: str, num_steps: int, eta: float
) -> None:
    schedule = SOME_SIGNAL if prediction_type == "epsilon" else ZERO_SNR
    state = start_image(
        plan_sampling(sampler, schedule, prediction_type, num_steps, eta=eta), 7, (1, 8, 8), CPU
    )
    while not state.finished:
        state = advance(state, answer_of_an_oracle(state, prediction_type))
    assert torch.allclose(state.sample, IMAGE, atol=1e-3)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_images_that_advance_in_turns_are_those_that_advance_alone(sampler: str) -> None:
    def answer(state: ImageState) -> Tensor:
        return torch.sin(3 * state.sample + state.timestep)

    def alone(seed: int, num_steps: int) -> Tensor:
        state = start_image(plan_sampling(sampler, ZERO_SNR, "v_prediction", num_steps), seed, (1, 8, 8), CPU)
        while not state.finished:
            state = advance(state, answer(state))
        return state.sample

    wanted = {1: 5, 2: 9, 3: 5}
    states = {
        seed: start_image(plan_sampling(sampler, ZERO_SNR, "v_prediction", steps), seed, (1, 8, 8), CPU)
        for seed, steps in wanted.items()
    }
    while not all(state.finished for state in states.values()):
        for seed, state in states.items():
            if not state.finished:
                states[seed] = advance(state, answer(state))
    for seed, steps in wanted.items():
        assert torch.equal(states[seed].sample, alone(seed, steps))


def test_a_seed_is_an_image_and_another_seed_another() -> None:
    plan = plan_sampling("ddpm", ZERO_SNR, "v_prediction", 4)
    first, again, other = (start_image(plan, seed, (1, 8, 8), CPU) for seed in (5, 5, 6))
    output = torch.zeros(1, 8, 8)
    assert torch.equal(advance(first, output).sample, advance(again, output).sample)
    assert not torch.equal(advance(first, output).sample, advance(other, output).sample)


def test_a_stochastic_sampler_adds_the_noise_of_that_step_and_none_at_the_end() -> None:
    state = start_image(plan_sampling("ddpm", ZERO_SNR, "sample", 3), 5, (1, 8, 8), CPU)
    for step in range(3):
        coefficients = state.plan.steps[step]
        after = advance(state, torch.zeros(1, 8, 8))
        noise = torch.from_numpy(image_noise(5, step + 1, (1, 8, 8)))
        expected = coefficients.sample * state.sample + coefficients.noise * noise
        assert torch.allclose(after.sample, expected, atol=1e-6)
        assert (coefficients.noise == 0) == (step == 2)
        state = after


@pytest.mark.parametrize("num_steps", [0, 1001])
def test_steps_out_of_range_are_refused(num_steps: int) -> None:
    with pytest.raises(InvalidInput) as refusal:
        plan_sampling("ddim", ZERO_SNR, "v_prediction", num_steps)
    assert refusal.value.message == f"steps={num_steps} is outside 1 to 1000; use a number in that range"


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(InvalidInput) as refusal:
        plan_sampling("euler", ZERO_SNR, "v_prediction", 10)
    assert refusal.value.message == "sampler=euler is unknown; use one of ddim, ddpm, dpmsolver++"
