"""synthray's own formulas against diffusers' classes, and its files opened by diffusers' pipelines.

One file, because importing diffusers takes seconds.
"""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.pipelines.ddim.pipeline_ddim import DDIMPipeline
from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline
from diffusers.schedulers import scheduling_ddpm
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from safetensors.torch import save_file
from torch import Tensor

from synthray.api.architecture import PRESETS, UNetArchitecture
from synthray.diffusion.export import WEIGHTS_PATH, diffusers_files
from synthray.diffusion.memory import count_parameters, estimate_training_memory_bytes
from synthray.diffusion.rng import image_noise
from synthray.diffusion.sampler import ImageState, SamplerPlan, advance, plan_sampling, start_image
from synthray.diffusion.schedule import (
    PREDICTION_TYPES,
    SCHEDULES,
    NoiseSchedule,
    build_schedule,
    scheduler_config,
)
from synthray.diffusion.unet import build_unet, init_unet

CPU = torch.device("cpu")
SHAPE = (1, 16, 16)
TINY = UNetArchitecture(
    resolution_px=16,
    block_out_channels=(8, 16),
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    layers_per_block=1,
    norm_num_groups=4,
)
PROCESSES = [
    (name, zero, prediction_type)
    for name, zero, prediction_type in itertools.product(SCHEDULES, (False, True), PREDICTION_TYPES)
    if not (zero and prediction_type == "epsilon")
]
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
every_process = pytest.mark.parametrize(("name", "zero", "prediction_type"), PROCESSES)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads waiting for each other cost far more than networks this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def outputs(plan: SamplerPlan) -> Iterator[Tensor]:
    """Answers of a network, the same for both sides: as large as real ones, different at each step."""
    return (torch.from_numpy(image_noise(99, step, SHAPE)) for step in range(len(plan.timesteps)))


def assert_same_steps(plan: SamplerPlan, scheduler: Any, **options: Any) -> None:
    """Both take each step from the same sample with the same answer and the same noise."""
    scheduler.set_timesteps(len(plan.timesteps))
    assert scheduler.timesteps.tolist() == list(plan.timesteps)
    state = start_image(plan, 3, SHAPE, CPU)
    for step, (timestep, output) in enumerate(zip(scheduler.timesteps, outputs(plan), strict=True)):
        if "eta" in options:
            options["variance_noise"] = torch.from_numpy(image_noise(3, step + 1, SHAPE))[None]
        theirs = scheduler.step(output[None], timestep, state.sample[None], **options).prev_sample[0]
        state = advance(state, output)
        torch.testing.assert_close(state.sample, theirs, atol=1e-5, rtol=0)
    assert state.finished


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("resolution_px", [64, 512])
def test_an_exported_schedule_is_that_of_diffusers(name: str, zero: bool, resolution_px: int) -> None:
    schedule = build_schedule(name, resolution_px, zero)
    for scheduler_class in (DDPMScheduler, DDIMScheduler):
        theirs = scheduler_class.from_config(scheduler_config(schedule, "sample")).alphas_cumprod.numpy()
        assert np.array_equal(theirs, schedule.alphas_cumprod)
        assert (theirs[-1] == 0) == zero


@every_process
@pytest.mark.parametrize("num_steps", [1, 10, 50])
@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_ddim_steps_like_diffusers(
    name: str, zero: bool, prediction_type: str, num_steps: int, eta: float
) -> None:
    schedule = build_schedule(name, 512, zero)
    plan = plan_sampling("ddim", schedule, prediction_type, num_steps, eta=eta)
    scheduler = DDIMScheduler.from_config(scheduler_config(schedule, prediction_type))
    assert_same_steps(plan, scheduler, eta=eta)


@every_process
@pytest.mark.parametrize("num_steps", [1, 7, 100])
def test_ddpm_steps_like_diffusers(
    name: str, zero: bool, prediction_type: str, num_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = build_schedule(name, 512, zero)
    plan = plan_sampling("ddpm", schedule, prediction_type, num_steps)
    noises = (torch.from_numpy(image_noise(3, step + 1, SHAPE))[None] for step in itertools.count())
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, **__: next(noises))
    assert_same_steps(plan, DDPMScheduler.from_config(scheduler_config(schedule, prediction_type)))


@every_process
@pytest.mark.parametrize("num_steps", [1, 2, 10, 20, 37])
def test_dpm_solver_steps_like_diffusers(name: str, zero: bool, prediction_type: str, num_steps: int) -> None:
    schedule = build_schedule(name, 512, zero)
    plan = plan_sampling("dpmsolver++", schedule, prediction_type, num_steps)
    config = scheduler_config(schedule, prediction_type)
    assert_same_steps(plan, DPMSolverMultistepScheduler.from_config(config, thresholding=True))


@pytest.mark.parametrize("preset", ["unconditional-512", "unconditional-256", "unconditional-128"])
def test_the_unconditional_presets_are_the_network_of_train_unconditional(preset: str) -> None:
    assert count_parameters(PRESETS[preset]) == 113_668_609
    assert count_parameters(replace(PRESETS[preset], channels=3)) == 113_673_219


def test_the_demo_is_small_enough_for_a_laptop() -> None:
    assert 0.5e6 < count_parameters(PRESETS["demo-64"]) < 2e6


def test_first_weights_are_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = init_unet(TINY, seed=7).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = init_unet(TINY, seed=7).state_dict(), init_unet(TINY, seed=8).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv_in.weight"], other["conv_in.weight"])
    beyond_32_bits = init_unet(TINY, seed=7 + 2**32).state_dict()
    assert not torch.equal(first["conv_in.weight"], beyond_32_bits["conv_in.weight"])


def test_recomputing_activations_changes_no_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        unet = init_unet(replace(TINY, activation_checkpointing=checkpointing), seed=7)
        sample = torch.from_numpy(image_noise(0, 0, SHAPE))[None]
        unet(sample, torch.tensor([500]), return_dict=False)[0].square().mean().backward()
        assert unet.is_gradient_checkpointing == checkpointing
        gradients.append([parameter.grad for parameter in unet.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_an_image_is_the_same_whatever_shares_its_batch() -> None:
    unet = build_unet(TINY)
    schedule = build_schedule("cosine", 16, zero_terminal_snr=True)

    @torch.no_grad()
    def finish(states: list[ImageState]) -> list[Tensor]:
        """Advance all in one batch of three until the first is an image; a finished one leaves a gap."""
        while not states[0].finished:
            timesteps = torch.tensor([0 if s.finished else s.timestep for s in states])
            answers = unet(torch.stack([s.sample for s in states]), timesteps, return_dict=False)[0]
            states = [s if s.finished else advance(s, f) for s, f in zip(states, answers, strict=True)]
        return [state.sample for state in states]

    def start(seed: int, sampler: str, steps: int) -> ImageState:
        return start_image(plan_sampling(sampler, schedule, "v_prediction", steps), seed, SHAPE, CPU)

    wanted = start(42, "ddpm", 8)
    padding = [start(0, "ddim", 1), start(0, "ddim", 1)]
    neighbours = [start(5, "dpmsolver++", 6), start(6, "ddim", 11)]
    assert torch.equal(finish([wanted, *padding])[0], finish([wanted, *neighbours])[0])


def export(folder: Path, unet: UNet2DModel, schedule: NoiseSchedule, prediction_type: str) -> None:
    for path, text in diffusers_files(unet, schedule, prediction_type).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    save_file(unet.state_dict(), folder / WEIGHTS_PATH)


@pytest.mark.parametrize(("name", "zero"), [("cosine", True), ("shifted_cosine", True), ("linear", False)])
def test_a_pipeline_of_diffusers_opens_the_export_and_draws_the_same_image(
    tmp_path: Path, name: str, zero: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    unet = init_unet(TINY, seed=1)
    schedule = build_schedule(name, 16, zero)
    export(tmp_path, unet, schedule, "v_prediction")
    pipeline = DDIMPipeline.from_pretrained(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline.unet.state_dict()
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in unet.state_dict().items())

    state = start_image(plan_sampling("ddim", schedule, "v_prediction", 10), 42, SHAPE, CPU)
    module = "diffusers.pipelines.ddim.pipeline_ddim.randn_tensor"
    monkeypatch.setattr(module, lambda *_, **__: state.sample[None].clone())
    image = pipeline(num_inference_steps=10, output_type="np").images[0]
    with torch.no_grad():
        while not state.finished:
            timesteps = torch.tensor([state.timestep])
            state = advance(state, unet(state.sample[None], timesteps, return_dict=False)[0][0])
    ours = (state.sample / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy()
    assert np.abs(image - ours).max() < 1e-4


def test_the_export_opens_as_the_pipeline_that_it_names(tmp_path: Path) -> None:
    schedule = build_schedule("cosine", 16, zero_terminal_snr=True)
    export(tmp_path, init_unet(TINY, seed=1), schedule, "v_prediction")
    pipeline = DDPMPipeline.from_pretrained(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline(num_inference_steps=3).images[0]
    assert (image.mode, image.size) == ("L", (16, 16))
    assert pipeline.scheduler.timesteps[0] == 999
    assert json.loads((tmp_path / "unet/config.json").read_text(encoding="utf-8"))["sample_size"] == 16


def test_the_memory_estimate_counts_tensors_that_live_at_once() -> None:
    """Of the tiny network the peak can be bounded by hand: state, and some dozens of 16x16 maps."""
    state = 28 * count_parameters(TINY)
    one, two = (estimate_training_memory_bytes(TINY, size, "fp32") - state for size in (1, 2))
    map_bytes = 8 * 16 * 16 * 4
    assert 10 * map_bytes < one < 100 * map_bytes
    assert 1.5 * one < two < 2.5 * one


def test_recomputing_activations_and_half_precision_save_memory() -> None:
    demo = PRESETS["demo-64"]
    checkpointed = replace(demo, activation_checkpointing=True)
    fp32 = estimate_training_memory_bytes(demo, 8, "fp32")
    assert estimate_training_memory_bytes(checkpointed, 8, "fp32") < 0.7 * fp32
    # Autocast computes GroupNorm and what follows it in float32 on a GPU, so half saves far less than half.
    assert 0.75 * fp32 < estimate_training_memory_bytes(demo, 8, "fp16") < fp32


def test_unconditional_512_trains_on_a_card_of_24_gb() -> None:
    """The micro-batch of four of the example, with a fifth of the card left for what tensors don't show."""
    estimate = estimate_training_memory_bytes(PRESETS["unconditional-512"], 4, "fp16")
    assert 8e9 < estimate < 0.8 * 24e9
