"""Images in slots of one fixed batch shape: same seed, same bytes, whatever shares the batch.

Every forward pass has the profile's batch shape; empty slots are padded with zeros. Each slot keeps its own
image's sampler state, so images enter and leave at any step, with any sampler and number of steps, and what
comes out of a slot depends on what went into it alone. `generate`, previews and `verify` feed the slots here;
a service feeds the same slots from its queue. This module must not know files, stores or HTTP.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from diffusers import UNet2DModel
from numpy.typing import NDArray
from torch import Tensor

from synthray.diffusion.sampler import ImageState, SamplerPlan, advance, plan_sampling, start_image
from synthray.diffusion.schedule import NoiseSchedule
from synthray.errors import InvalidInput, Reason
from synthray.generation.profile import Profile, check_weights, pinned
from synthray.generation.receipts import Pixels, pixels_sha256


@dataclass(frozen=True, eq=False)
class DrawnSample:
    """What sampling ends with: float32 (C, H, W), about -1 to 1, on the CPU."""

    seed: int
    sample: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class GeneratedImage:
    """A finished image, uint8 (H, W, C), and the SHA-256 of these bytes."""

    seed: int
    pixels: Pixels
    sha256: str


def to_pixels(sample: NDArray[np.float32]) -> Pixels:
    """float32 (C, H, W) in -1 to 1 -> uint8 (H, W, C).

    round_half_even((clip(x, -1, 1) + 1) * 127.5), each operation rounded to float32; NumPy on the CPU
    computes exactly this everywhere, whatever device drew the sample.
    """
    levels = np.rint((np.clip(sample, -1.0, 1.0) + np.float32(1.0)) * np.float32(127.5))
    return np.ascontiguousarray(levels.astype(np.uint8).transpose(1, 2, 0))


def finish_image(drawn: DrawnSample) -> GeneratedImage:
    """Turn a sample into pixels; raises InvalidInput (ModelInvalid) if it is not finite."""
    if not np.isfinite(drawn.sample).all():
        raise InvalidInput(
            f"the model's answer for seed={drawn.seed} is not finite; use an earlier checkpoint",
            reason=Reason.MODEL_INVALID,
        )
    pixels = to_pixels(drawn.sample)
    return GeneratedImage(drawn.seed, pixels, pixels_sha256(pixels))


class Slots:
    """The profile's batch as slots for images; not thread-safe, one thread owns it.

    Raises ValueError for a network that is not contiguous fp32.
    """

    def __init__(
        self, unet: UNet2DModel, schedule: NoiseSchedule, prediction_type: str, profile: Profile
    ) -> None:
        check_weights(unet)
        size = unet.config.sample_size
        height_px, width_px = (size, size) if isinstance(size, int) else size
        self._unet = unet
        self._profile = profile
        self._shape = (int(unet.config.in_channels), int(height_px), int(width_px))
        self._device = next(unet.parameters()).device
        self._padding = torch.zeros(self._shape, device=self._device)
        self._states: list[ImageState | None] = [None] * profile.batch_images
        self._plan = lru_cache(maxsize=64)(
            lambda sampler, steps: plan_sampling(sampler, schedule, prediction_type, steps)
        )

    @property
    def num_slots(self) -> int:
        """All of them: the profile's batch."""
        return len(self._states)

    @property
    def free(self) -> list[int]:
        """The numbers of the empty slots."""
        return [slot for slot, state in enumerate(self._states) if state is None]

    def plan(self, sampler: str, steps: int) -> SamplerPlan:
        """The steps of a sampler for this model; raises InvalidInput for impossible ones."""
        return self._plan(sampler, steps)

    def admit(self, slot: int, seed: int, plan: SamplerPlan) -> None:
        """Start an image in an empty slot; it takes part from the next `step` on."""
        if self._states[slot] is not None:
            raise ValueError(f"slot {slot} is taken")
        self._states[slot] = start_image(plan, seed, self._shape, self._device)

    def release(self, slot: int) -> None:
        """Drop the image of a slot, finished or not."""
        self._states[slot] = None

    def step(self) -> dict[int, DrawnSample]:
        """One denoising step of every image; returns the finished ones by slot, and empties their slots."""
        with pinned(self._profile, self._unet):
            outputs = self._unet(self._samples(), self._timesteps()).sample.float()
            self._states = [
                state and advance(state, output) for state, output in zip(self._states, outputs, strict=True)
            ]
        finished = {
            slot: DrawnSample(state.seed, state.sample.cpu().numpy())
            for slot, state in enumerate(self._states)
            if state is not None and state.finished
        }
        for slot in finished:
            self.release(slot)
        return finished

    def _samples(self) -> Tensor:
        return torch.stack([self._padding if state is None else state.sample for state in self._states])

    def _timesteps(self) -> Tensor:
        timesteps = [0 if state is None else state.timestep for state in self._states]
        return torch.tensor(timesteps, dtype=torch.int64, device=self._device)


class Generator:
    """Draws lists of seeds with one model under one profile.

    Raises ValueError for a network that is not contiguous fp32.
    """

    def __init__(
        self, unet: UNet2DModel, schedule: NoiseSchedule, prediction_type: str, profile: Profile
    ) -> None:
        self.profile = profile
        self._new_slots = partial(Slots, unet, schedule, prediction_type, profile)
        self._new_slots()  # says now, not at the first image, if the network is unfit

    def generate(
        self,
        seeds: Iterable[int],
        sampler: str,
        steps: int,
        on_step: Callable[[int], None] = lambda _num_images: None,
    ) -> Iterator[GeneratedImage]:
        """The images of the seeds, in their order, each as soon as it is done.

        After each step `on_step` hears how many images took it: len(seeds) x steps in all. Raises
        InvalidInput for a sampler, number of steps or seed that is impossible.
        """
        slots = self._new_slots()
        plan = slots.plan(sampler, steps)
        waiting = iter(seeds)
        while True:
            for slot, seed in zip(slots.free, waiting, strict=False):
                slots.admit(slot, seed, plan)
            num_drawing = self.profile.batch_images - len(slots.free)
            if not num_drawing:
                return
            finished = slots.step()
            on_step(num_drawing)
            yield from map(finish_image, finished.values())
