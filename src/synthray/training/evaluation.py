"""The loss on held-out patients at fixed noise, shared by all workers and equal for any number of them."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait

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


class Validation:
    """One pass over this worker's share of the held-out samples, in small portions."""

    def __init__(
        self,
        batches: Iterator[Future[TrainingBatch]],
        losses: Callable[[TrainingBatch], Tensor],
        *,
        num_timesteps: int,
    ) -> None:
        self._batches = batches
        self._losses = losses
        self._num_timesteps = num_timesteps
        self._tally = StepTally()
        self._next = next(batches, None)

    @torch.no_grad()
    def advance(self, seconds: float) -> bool:
        """Go on for about so long; whether the pass is through."""
        deadline = time.monotonic() + seconds
        while self._next is not None:
            if wait([self._next], max(0.0, deadline - time.monotonic())).not_done:
                return False
            batch = self._next.result()
            losses = self._losses(batch).cpu()
            self._tally.add_losses(losses, batch.weights, batch.timesteps, self._num_timesteps)
            self._next = next(self._batches, None)
            if time.monotonic() > deadline:
                break
        return self._next is None

    def loss(self, world: World) -> float | None:
        """Mean loss over the samples of all workers, all of them through; None if one is not finite."""
        world.add_over_workers(self._tally.vector)
        return None if self._tally.nonfinite else self._tally.loss
