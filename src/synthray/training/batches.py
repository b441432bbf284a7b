"""From decoded images to what the loop computes with, made on the CPU in the loader's threads.

A sample's flip, timestep and noise are functions of (seed, epoch, index in the epoch) alone, never of the
rank, the worker or the time, so any worker can compute any micro-batch. No device is touched here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthray.data.order import SampleOrder, SampleRef
from synthray.data.replacement import Finding
from synthray.data.stream import MicroBatch
from synthray.diffusion.rng import sample_flip, sample_noise, sample_timestep
from synthray.training.plan import BatchPlan, plan_micro_batches, plan_share


@dataclass(frozen=True)
class NoiseSource:
    """What, besides its pixels, makes a sample: the run's seed, the timesteps and the augmentation."""

    seed: int
    num_timesteps: int
    horizontal_flip: bool
    micro_batch_size: int


@dataclass(frozen=True)
class TrainingBatch:
    """One micro-batch in its fixed shape: images and noise (N, C, H, W) fp32, timesteps and weights (N,).

    Images are in [-1, 1]. Rows beyond the real samples are zeros with weight 0. `samples` are those computed
    at `positions`, `num_replaced` of them in place of bad ones; `found` names more bad ones, whose rows are
    empty: such a batch must not be computed.
    """

    images: Tensor
    noise: Tensor
    timesteps: Tensor
    weights: Tensor
    positions: tuple[int, ...]
    samples: tuple[int, ...]
    num_replaced: int = 0
    found: tuple[Finding, ...] = ()


def make_training_batch(micro_batch: MicroBatch, source: NoiseSource) -> TrainingBatch:
    """Add flips, timesteps and noise to decoded images (N, H, W, C) uint8, padding to the fixed shape."""
    num_real, height, width, channels = micro_batch.images.shape
    images = np.zeros((source.micro_batch_size, channels, height, width), np.float32)
    noise = np.zeros_like(images)
    timesteps = np.zeros(source.micro_batch_size, np.int64)
    weights = np.zeros(source.micro_batch_size, np.float32)
    np.multiply(micro_batch.images.transpose(0, 3, 1, 2), np.float32(1 / 127.5), out=images[:num_real])
    images[:num_real] -= 1
    weights[:num_real] = 1
    for row, ref in enumerate(micro_batch.refs):
        if source.horizontal_flip and sample_flip(source.seed, ref.epoch, ref.index_in_epoch):
            images[row] = images[row, :, :, ::-1].copy()
        noise[row] = sample_noise(source.seed, ref.epoch, ref.index_in_epoch, (channels, height, width))
        timesteps[row] = sample_timestep(source.seed, ref.epoch, ref.index_in_epoch, source.num_timesteps)
    return TrainingBatch(
        images=_tensor(images),
        noise=_tensor(noise),
        timesteps=torch.from_numpy(timesteps),
        weights=_tensor(weights),
        positions=tuple(ref.position for ref in micro_batch.refs),
        samples=micro_batch.samples,
        num_replaced=sum(
            sample != ref.sample for sample, ref in zip(micro_batch.samples, micro_batch.refs, strict=True)
        ),
        found=micro_batch.found,
    )


def _tensor(array: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(array)


def plan_worker_micro_batches(
    plan: BatchPlan, order: SampleOrder, *, first_step: int, rank: int, size: int
) -> Iterator[Sequence[SampleRef]]:
    """Every micro-batch of worker `rank` of `size` from `first_step` to the run's end, in order."""
    for step in range(first_step, plan.num_steps):
        micro_batches = plan_micro_batches(plan.positions(step), plan.micro_batch_size)
        for index in plan_share(len(micro_batches), size, rank):
            yield [order.at(position) for position in micro_batches[index]]
