"""The loss on held-out patients at fixed noise, shared by all workers and equal for any number of them."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from dataclasses import dataclass

import torch

from synthray.data.order import SampleOrder, SampleRef
from synthray.data.stream import ReadAhead, read_good_micro_batch
from synthray.training.batches import TrainingBatch, make_training_batch
from synthray.training.feed import LOADER_THREADS, PREFETCHED_MICRO_BATCHES
from synthray.training.plan import plan_micro_batches, plan_share
from synthray.training.segment import Segment
from synthray.training.tally import StepTally
from synthray.training.waiting import SharedWait
from synthray.training.world import World

MAX_VALIDATION_IMAGES = 512
VALIDATION_EPOCH = 1 << 40
"""The epoch that keys validation noise: no run trains that long, so no training sample shares it."""


@dataclass(frozen=True)
class ValidationResult:
    """Mean loss over the held-out samples; None where there are none, or where one loss is not finite."""

    loss: float | None


def plan_validation(num_holdout: int, micro_batch_size: int, world: World) -> Iterator[Sequence[SampleRef]]:
    """This worker's micro-batches of the held-out samples, in their order."""
    positions = range(min(num_holdout, MAX_VALIDATION_IMAGES))
    micro_batches = plan_micro_batches(positions, micro_batch_size)
    for index in plan_share(len(micro_batches), world.size, world.rank):
        yield [SampleRef(p, VALIDATION_EPOCH, p, p) for p in micro_batches[index]]


def validate(segment: Segment, shared_wait: SharedWait) -> ValidationResult | None:
    """The loss of the moving average on the held-out samples; None if all agreed to stop before the end."""
    num_holdout = len(segment.dataset.holdout)
    if num_holdout == 0:
        return ValidationResult(None)
    order = SampleOrder(segment.settings.seed, num_holdout)

    def make(refs: Sequence[SampleRef]) -> TrainingBatch:
        micro_batch = read_good_micro_batch(segment.holdout_reader, refs, order=order)
        return make_training_batch(micro_batch, segment.validation_source)

    plan = plan_validation(num_holdout, segment.plan.micro_batch_size, segment.world)
    with (
        ReadAhead(plan, make, ahead=PREFETCHED_MICRO_BATCHES, threads=LOADER_THREADS) as batches,
        segment.showing(segment.state.ema),
    ):
        share = _ValidationShare(segment, batches)
        agreed = shared_wait.until(share.advance, away=lambda: batches.storage_is_away, moved=share.has_moved)
        if agreed.stop:
            return None
        return ValidationResult(share.loss_of_all())


class _ValidationShare:
    """One pass over this worker's share of the held-out samples, in small portions."""

    def __init__(self, segment: Segment, batches: ReadAhead[TrainingBatch]) -> None:
        self._segment = segment
        self._batches = batches
        self._tally = StepTally()
        self._moved = False
        self._next = next(batches, None)

    @torch.no_grad()
    def advance(self, seconds: float) -> bool:
        """Go on for about so long; whether the pass is through."""
        deadline = time.monotonic() + seconds
        while self._next is not None:
            if wait([self._next], max(0.0, deadline - time.monotonic())).not_done:
                return False
            self._add(self._next.result())
            self._next = next(self._batches, None)
            if time.monotonic() > deadline:
                break
        return self._next is None

    def has_moved(self) -> bool:
        """Whether something was computed since this was last asked."""
        moved, self._moved = self._moved, False
        return moved

    def _add(self, batch: TrainingBatch) -> None:
        self._moved = True
        losses = self._segment.engine.losses(batch).cpu()
        self._tally.add_losses(losses, batch.weights, batch.timesteps, self._segment.schedule.num_timesteps)

    def loss_of_all(self) -> float | None:
        """Mean over the samples of all workers, all of them through; None if one is not finite."""
        self._segment.world.add_over_workers(self._tally.vector)
        return None if self._tally.nonfinite else self._tally.loss
