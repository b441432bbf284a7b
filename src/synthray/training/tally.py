"""What a step counts beside gradients: losses by timestep bucket, and the flags that all workers must share.

One int64 vector holds all of it, so that one reduction by addition makes every worker see the same sums and
take the same decision at the same step: integers add up to the same bits in any order.
"""

import math

import torch
from torch import Tensor

NUM_BUCKETS = 10
LOSS_FRACTION_BITS = 32
_MAX_LOSS = 2.0**20

_SUMS = slice(0, NUM_BUCKETS)
_COUNTS = slice(NUM_BUCKETS, 2 * NUM_BUCKETS)
_NONFINITE, _OUT_OF_RANGE = range(2 * NUM_BUCKETS, 2 * NUM_BUCKETS + 2)


def is_sound(losses: Tensor) -> Tensor:
    """Which losses are finite, and not so large that the run is lost all the same; false for NaN."""
    return losses.abs() < _MAX_LOSS


class StepTally:
    """Sums of one step; add this worker's share, reduce `vector` over all, then read."""

    def __init__(self) -> None:
        self.vector = torch.zeros(2 * NUM_BUCKETS + 2, dtype=torch.int64)

    def add_losses(self, losses: Tensor, weights: Tensor, timesteps: Tensor, num_timesteps: int) -> None:
        """Add one micro-batch: losses, weights (1, or 0 for padding) and timesteps, each of shape (N,)."""
        real = weights > 0
        losses, timesteps = losses[real].double(), timesteps[real]
        good = is_sound(losses)
        self.vector[_NONFINITE] += int((~good).sum())
        fixed = torch.where(good, losses, 0.0).mul(2.0**LOSS_FRACTION_BITS).round().to(torch.int64)
        buckets = timesteps * NUM_BUCKETS // num_timesteps
        self.vector[_SUMS].index_add_(0, buckets, fixed)
        self.vector[_COUNTS].index_add_(0, buckets, torch.ones_like(fixed))

    def flag_out_of_range(self, flag: bool) -> None:
        """Say whether a gradient of this worker was not finite or out of the accumulator's range."""
        self.vector[_OUT_OF_RANGE] += int(flag)

    @property
    def num_images(self) -> int:
        """Images with a loss."""
        return int(self.vector[_COUNTS].sum())

    @property
    def nonfinite(self) -> bool:
        """Whether any loss was not finite (or absurdly large)."""
        return bool(self.vector[_NONFINITE])

    @property
    def out_of_range(self) -> bool:
        """Whether any worker's gradient was not finite or out of range."""
        return bool(self.vector[_OUT_OF_RANGE])

    @property
    def loss(self) -> float:
        """Mean loss of an image."""
        return int(self.vector[_SUMS].sum()) * 2.0**-LOSS_FRACTION_BITS / max(1, self.num_images)

    @property
    def loss_by_bucket(self) -> tuple[float, ...]:
        """Mean loss by timestep bucket, from little noise to much; NaN where the step had no image."""
        pairs = zip(self.vector[_SUMS].tolist(), self.vector[_COUNTS].tolist(), strict=True)
        return tuple(
            total * 2.0**-LOSS_FRACTION_BITS / count if count else math.nan for total, count in pairs
        )
