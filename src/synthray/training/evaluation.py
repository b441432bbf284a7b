"""The loss on held-out patients at fixed noise, shared by all workers and equal for any number of them."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from synthray.data.order import SampleRef
from synthray.training.batches import TrainingBatch
from synthray.training.plan import plan_micro_batches, plan_share
from synthray.training.tally import StepTally
from synthray.training.world import World

MAX_VALIDATION_IMAGES = 512
VALIDATION_EPOCH = 1 << 40
"""The epoch that keys validation noise: no run trains that long, so no training sample shares it."""


def plan_validation(num_holdout: int, micro_batch_size: int, world: World) -> Iterator[Sequence[SampleRef]]:
    """This worker's micro-batches of the held-out samples, in their order."""
    positions = range(min(num_holdout, MAX_VALIDATION_IMAGES))
    micro_batches = plan_micro_batches(positions, micro_batch_size)
    for index in plan_share(len(micro_batches), world.size, world.rank):
        yield [SampleRef(p, VALIDATION_EPOCH, p, p) for p in micro_batches[index]]


@torch.no_grad()
def validation_loss(
    batches: Iterator[TrainingBatch],
    losses: Callable[[TrainingBatch], Tensor],
    *,
    num_timesteps: int,
    world: World,
) -> float | None:
    """Mean loss over the held-out samples; None if one of them is not finite."""
    tally = StepTally()
    for batch in batches:
        tally.add_losses(losses(batch).cpu(), batch.weights, batch.timesteps, num_timesteps)
    world.add_over_workers(tally.vector)
    return None if tally.nonfinite else tally.loss
