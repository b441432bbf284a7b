"""Sums of gradients and losses that do not depend on who computed what.

Floating-point addition rounds, so its result depends on the order of the terms and with it on the number of
workers. Integers don't: each micro-batch's gradient is scaled by a constant power of two, rounded to int64
and added, locally and over the workers, in any order, to the same bits (fixed-point accumulation as in
Demmel and Nguyen, "Parallel reproducible summation", 2015). Range and resolution are in
docs/decisions/0004-exact-reduction.md. This module knows no optimizer, no loss and no Ray.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from synthray.training.world import World

GRADIENT_FRACTION_BITS = 40
"""A gradient's resolution is 2^-40 = 9.1e-13; Adam's epsilon of 1e-8 is eleven thousand times that."""

_CHUNK_ELEMENTS = 1 << 20
"""Elements converted at a time, so that the temporary int64 copy stays in the processor's cache."""

_EXCHANGED_ELEMENTS = 1 << 22
"""Elements exchanged at a time: long enough for a network's full rate, and scratch memory of 32 MiB."""


class GradientSum(Protocol):
    """Adds the gradients of micro-batches and, once over all workers, yields their mean per image."""

    @property
    def out_of_range(self) -> Tensor:
        """Whether a gradient was not finite, or too large to be held: one bool on the device."""

    def reset(self) -> None:
        """Forget everything added."""

    def add(self, gradients: Tensor, loss_scale: float) -> None:
        """Add one micro-batch's flat fp32 gradients / `loss_scale` (a power of two); they are consumed."""

    def mean_over_workers(self, world: World, out: Tensor, num_images: int) -> None:
        """Write the sum of all workers / `num_images` into the flat fp32 `out`; consumes what was added."""


class ExactSum:
    """Fixed-point sum in int64: associative, so equal for any number of workers in any order."""

    def __init__(self, num_elements: int, device: torch.device, max_micro_batches: int) -> None:
        self.total = torch.zeros(num_elements, dtype=torch.int64, device=device)
        self.out_of_range = torch.zeros((), dtype=torch.bool, device=device)
        self._scratch = self.total.new_empty(0)
        # Half of int64's positive range, shared by all the terms of a global batch: no sum can wrap.
        self._limit = 2.0 ** (62 - (max_micro_batches - 1).bit_length())

    def reset(self) -> None:
        """Forget everything added."""
        self.total.zero_()
        self.out_of_range.zero_()

    def add(self, gradients: Tensor, loss_scale: float) -> None:
        """Add round(g / loss_scale x 2^40); NaN, Inf and what int64 can't hold raise `out_of_range`."""
        gradients.mul_(2.0**GRADIENT_FRACTION_BITS / loss_scale)
        smallest, largest = gradients.aminmax()
        # A comparison with NaN is false, so the negation catches it; the cast below would hide it.
        self.out_of_range |= ~((largest < self._limit) & (smallest > -self._limit))
        gradients.round_()
        for start in range(0, len(gradients), _CHUNK_ELEMENTS):
            chunk = slice(start, start + _CHUNK_ELEMENTS)
            self.total[chunk] += gradients[chunk].to(torch.int64)

    def mean_over_workers(self, world: World, out: Tensor, num_images: int) -> None:
        """Write total x 2^-40 / num_images: one rounding to fp32, one exact scaling, one division.

        Each worker adds and converts one piece of each chunk; the pieces are joined as fp32, so that a worker
        sends 12 bytes for each parameter where an all_reduce sends 16 (all times (size - 1) / size).
        """
        chunk_elements = _EXCHANGED_ELEMENTS // world.size * world.size
        for start in range(0, len(out), chunk_elements):
            chunk = slice(start, start + chunk_elements)
            if world.size == 1:
                _write_mean(self.total[chunk], out[chunk], num_images)
            else:
                self._exchange(self.total[chunk], world, out[chunk], num_images)

    def _exchange(self, total: Tensor, world: World, out: Tensor, num_images: int) -> None:
        """The same for one chunk of several workers."""
        # Zeros make the pieces of the last chunk equally long.
        padding = -len(total) % world.size
        padded = nn.functional.pad(total, (0, padding)) if padding else total
        if len(self._scratch) < len(padded):
            self._scratch = torch.empty_like(padded)
        piece = world.sum_piece(padded, self._scratch[: len(padded)])
        mean = _write_mean(piece, out.new_empty(len(piece)), num_images)
        joined = out.new_empty(len(padded)) if padding else out
        world.join_pieces(mean, joined)
        if padding:
            out.copy_(joined[: len(out)])


def _write_mean(total: Tensor, out: Tensor, num_images: int) -> Tensor:
    return out.copy_(total).mul_(2.0**-GRADIENT_FRACTION_BITS).div_(num_images)


class StatisticalSum:
    """Plain fp32 sum: the usual one, whose last bits depend on the number of workers."""

    def __init__(self, num_elements: int, device: torch.device) -> None:
        self.total = torch.zeros(num_elements, dtype=torch.float32, device=device)
        self.out_of_range = torch.zeros((), dtype=torch.bool, device=device)

    def reset(self) -> None:
        """Forget everything added."""
        self.total.zero_()
        self.out_of_range.zero_()

    def add(self, gradients: Tensor, loss_scale: float) -> None:
        """Add g / loss_scale."""
        gradients.mul_(1.0 / loss_scale)
        smallest, largest = gradients.aminmax()
        self.out_of_range |= ~(torch.isfinite(smallest) & torch.isfinite(largest))
        self.total.add_(gradients)

    def mean_over_workers(self, world: World, out: Tensor, num_images: int) -> None:
        """Write total / num_images."""
        world.add_over_workers(self.total)
        out.copy_(self.total).div_(num_images)


def build_gradient_sum(
    reduction: str, num_elements: int, device: torch.device, max_micro_batches: int
) -> GradientSum:
    """The sum that the spec's `reduction` names: `exact` or `statistical`."""
    if reduction == "exact":
        return ExactSum(num_elements, device, max_micro_batches)
    return StatisticalSum(num_elements, device)
