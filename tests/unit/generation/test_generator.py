import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
import torch
from committed_run import build_tiny_unet
from diffusers import UNet2DModel
from hypothesis import given, settings
from hypothesis import strategies as st

from synthray.diffusion.sampler import SAMPLERS
from synthray.diffusion.schedule import NoiseSchedule, build_schedule
from synthray.errors import InvalidInput
from synthray.generation.generator import DrawnSample, Generator, Slots, to_pixels
from synthray.generation.profile import PROFILES, STRICT_1, Profile
from synthray.generation.receipts import pixels_sha256

STEPS = 3
SEED = 42


@pytest.fixture(scope="module")
def schedule() -> NoiseSchedule:
    return build_schedule("cosine", 16, zero_terminal_snr=True)


@pytest.fixture(scope="module")
def unet() -> UNet2DModel:
    return build_tiny_unet(0, block_out_channels=(16, 32))


@pytest.fixture(scope="module", params=PROFILES)
def profile(request: pytest.FixtureRequest) -> Profile:
    return PROFILES[request.param]


@pytest.fixture(scope="module")
def generator(unet: UNet2DModel, schedule: NoiseSchedule, profile: Profile) -> Generator:
    return Generator(unet, schedule, "v_prediction", profile)


@pytest.fixture(scope="module")
def slots(unet: UNet2DModel, schedule: NoiseSchedule, profile: Profile) -> Slots:
    return Slots(unet, schedule, "v_prediction", profile)


def alone(slots: Slots, sampler: str) -> bytes:
    """The sample of SEED in slot 0 without neighbours, in float32: pixels would hide small differences."""
    for slot in range(slots.num_slots):
        slots.release(slot)
    slots.admit(0, SEED, slots.plan(sampler, STEPS))
    return [slots.step() for _ in range(STEPS)][-1][0].sample.tobytes()


def digests(generator: Generator, seeds: Sequence[int], sampler: str = "ddim") -> dict[int, str]:
    return {image.seed: image.sha256 for image in generator.generate(seeds, sampler, STEPS)}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_gives_the_same_bytes_alone_and_among_any_number(generator: Generator, sampler: str) -> None:
    single = {seed: digests(generator, [seed], sampler)[seed] for seed in range(9)}
    assert len(set(single.values())) == 9
    for count in (2, 3, 4, 5, 9):
        assert digests(generator, range(count), sampler) == {seed: single[seed] for seed in range(count)}


def test_a_seed_gives_the_same_bytes_in_any_order_of_seeds(generator: Generator) -> None:
    expected = digests(generator, [SEED])[SEED]
    for seeds in itertools.permutations([SEED, 1, 2, 3]):
        assert digests(generator, seeds)[SEED] == expected


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_bit_depends_on_the_slot_or_on_which_neighbours_there_are(slots: Slots, sampler: str) -> None:
    expected = alone(slots, sampler)
    for slot in range(4):
        others = [other for other in range(4) if other != slot]
        for taken in itertools.product([False, True], repeat=3):
            slots.admit(slot, SEED, slots.plan(sampler, STEPS))
            for other in itertools.compress(others, taken):
                # A neighbour with more steps, another sampler and other timesteps.
                slots.admit(other, 1000 + other, slots.plan("ddpm", 7))
            finished = [slots.step() for _ in range(STEPS)][-1]
            assert finished[slot].sample.tobytes() == expected
            for other in others:
                slots.release(other)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_no_bit_depends_on_what_arrives_and_leaves_meanwhile(slots: Slots, data: st.DataObject) -> None:
    sampler = data.draw(st.sampled_from(SAMPLERS))
    expected = alone(slots, sampler)
    mine = data.draw(st.integers(0, 3))
    slots.admit(mine, SEED, slots.plan(sampler, STEPS))
    finished: dict[int, DrawnSample] = {}
    while mine not in finished:
        for other in [slot for slot in range(4) if slot != mine]:
            if other not in slots.free and data.draw(st.booleans()):
                slots.release(other)
            if other in slots.free and data.draw(st.booleans()):
                plan = slots.plan(data.draw(st.sampled_from(SAMPLERS)), data.draw(st.integers(1, 9)))
                slots.admit(other, data.draw(st.integers(0, 2**64 - 1)), plan)
        finished = slots.step()
    assert finished[mine].sample.tobytes() == expected


def test_no_bit_depends_on_the_callers_threads_and_flags(slots: Slots) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = alone(slots, "ddim")
        torch.set_num_threads(2)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert alone(slots, "ddim") == expected
    finally:
        torch.set_num_threads(threads)


def test_a_network_in_training_draws_the_same_and_goes_on_training(unet: UNet2DModel, slots: Slots) -> None:
    expected = alone(slots, "ddim")
    unet.train()
    assert alone(slots, "ddim") == expected
    assert unet.training


def test_weights_that_are_views_into_one_vector_draw_the_same(
    unet: UNet2DModel, slots: Slots, schedule: NoiseSchedule
) -> None:
    copy = UNet2DModel.from_config(unet.config)
    copy.load_state_dict(unet.state_dict())
    # Training holds its weights so; an odd offset makes every view badly aligned.
    vector = torch.empty(sum(p.numel() for p in copy.parameters()) + 1)
    start = 1
    for parameter in copy.parameters():
        view = vector[start : start + parameter.numel()].view_as(parameter)
        parameter.data = view.copy_(parameter.data)
        start += parameter.numel()
    assert alone(Slots(copy, schedule, "v_prediction", STRICT_1), "ddim") == alone(slots, "ddim")


def test_images_come_in_the_order_of_their_seeds_and_repeated_seeds_repeat(generator: Generator) -> None:
    images = list(generator.generate([5, 3, 5, 4, 5], "ddim", STEPS))
    assert [image.seed for image in images] == [5, 3, 5, 4, 5]
    assert images[0].sha256 == images[2].sha256 == images[4].sha256


def test_every_image_takes_every_step_once(generator: Generator, profile: Profile) -> None:
    taken: list[int] = []
    batch = profile.batch_images
    assert len(list(generator.generate(range(batch + 2), "ddim", STEPS, taken.append))) == batch + 2
    assert taken == [batch, batch, batch, 2, 2, 2]


def test_a_generator_that_was_abandoned_leaves_nothing_behind(generator: Generator) -> None:
    next(generator.generate(range(8), "ddim", STEPS))
    assert list(digests(generator, [SEED])) == [SEED]


def test_the_digest_is_of_the_pixels(generator: Generator) -> None:
    image = next(generator.generate([SEED], "ddim", STEPS))
    assert image.pixels.shape == (16, 16, 1)
    assert image.pixels.dtype == np.uint8
    assert image.sha256 == pixels_sha256(image.pixels)


def test_rows_and_columns_of_an_image_that_is_not_square_keep_their_places(schedule: NoiseSchedule) -> None:
    unet = build_tiny_unet(
        0,
        sample_size=(8, 16),
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    image = next(Generator(unet, schedule, "v_prediction", STRICT_1).generate([SEED], "ddim", 1))
    assert image.pixels.shape == (8, 16, 3)


def test_a_taken_slot_is_never_overwritten(slots: Slots) -> None:
    slots.release(0)
    slots.admit(0, SEED, slots.plan("ddim", STEPS))
    with pytest.raises(ValueError, match="slot 0 is taken"):
        slots.admit(0, SEED, slots.plan("ddim", STEPS))
    slots.release(0)


@pytest.mark.parametrize(
    ("seed", "sampler", "steps", "message"),
    [
        (SEED, "euler", 5, "sampler=euler is unknown; use one of ddim, ddpm, dpmsolver++"),
        (SEED, "ddim", 0, "steps=0 is outside 1 to 1000; use a number in that range"),
        (-1, "ddim", 5, "seed=-1 is outside 0 to 2^64 - 1; use a number in that range"),
    ],
)
def test_impossible_wishes_are_refused(
    generator: Generator, seed: int, sampler: str, steps: int, message: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        list(generator.generate([seed], sampler, steps))
    assert refusal.value.message == message


def test_a_model_whose_answer_is_not_finite_is_refused(unet: UNet2DModel, schedule: NoiseSchedule) -> None:
    broken = UNet2DModel.from_config(unet.config)
    torch.nn.init.constant_(broken.conv_out.bias, float("nan"))
    with pytest.raises(InvalidInput, match="the model's answer for seed=42 is not finite; use an earlier"):
        list(Generator(broken, schedule, "v_prediction", STRICT_1).generate([SEED], "ddim", 1))


def test_every_level_has_its_place_in_minus_one_to_one() -> None:
    levels = np.arange(256, dtype=np.float32).reshape(1, 16, 16)
    assert np.array_equal(to_pixels(levels / np.float32(127.5) - 1)[:, :, 0], levels[0])


def test_values_outside_are_clipped_and_halves_go_to_the_even_level() -> None:
    sample = np.array([[[-7.0, -1.0, 1.0, 7.0, 0.0]]], np.float32)
    # 0 is level 127.5, halfway; 128 is even.
    assert to_pixels(sample)[0, :, 0].tolist() == [0, 0, 255, 255, 128]


@settings(deadline=None)
@given(st.floats(-1, 1, width=32))
def test_rounding_is_that_of_the_exact_value_to_within_float32(value: float) -> None:
    level = int(to_pixels(np.full((1, 1, 1), value, np.float32))[0, 0, 0])
    exact = (Fraction(value) + 1) * Fraction(255, 2)
    assert abs(level - exact) <= Fraction(1, 2) + Fraction(1, 10**4)
