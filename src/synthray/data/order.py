"""The order of samples: a pure function of the seed and the position in an endless stream.

Nothing is stored and nothing is drawn in sequence, so any worker at any time knows the sample of any
position. The permutation is made from Philox's raw words, whose values NumPy guarantees for ever, and not by
`Generator.permutation`, whose algorithm NumPy may change. It must import nothing of synthray but `errors`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from synthray.errors import InvalidInput

# The second word of the Philox key: it separates the order from every other use of the seed.
_ORDER_DOMAIN = int.from_bytes(b"order\0\0\0", "big")


@dataclass(frozen=True)
class SampleRef:
    """What stands at one position of the stream; `sample` is a row of the dataset's train table."""

    position: int
    epoch: int
    index_in_epoch: int
    sample: int


@dataclass(frozen=True)
class SampleOrder:
    """The endless stream of samples of one seed: every epoch is a new permutation of all samples."""

    seed: int
    num_samples: int

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**64:
            raise InvalidInput(f"seed={self.seed} is outside 0 to 2^64 - 1; use a number in that range")
        if self.num_samples < 1:
            raise InvalidInput("the dataset has no training samples; prepare one that has images")

    def at(self, position: int) -> SampleRef:
        """The sample at `position` (0, 1, 2, ...; `images_seen` counts the same positions)."""
        epoch, index = divmod(position, self.num_samples)
        permutation = epoch_permutation(self.seed, self.num_samples, epoch)
        return SampleRef(position, epoch, index, int(permutation[index]))

    def replacements(self, ref: SampleRef) -> Iterator[int]:
        """Samples to take, in this order, where the one of `ref` cannot be read.

        They are the followers in the same epoch's permutation, so they depend on (seed, position) alone.
        """
        permutation = epoch_permutation(self.seed, self.num_samples, ref.epoch)
        for step in range(1, self.num_samples):
            yield int(permutation[(ref.index_in_epoch + step) % self.num_samples])


@lru_cache(maxsize=4)
def epoch_permutation(seed: int, num_samples: int, epoch: int) -> NDArray[np.int64]:
    """The permutation of one epoch: shape (num_samples,), read-only.

    Each sample draws a 64-bit word of Philox keyed by seed and epoch; sorting the words orders the samples.
    """
    philox = np.random.Philox(key=np.array([seed, _ORDER_DOMAIN], np.uint64), counter=[0, 0, epoch, 0])
    permutation = np.argsort(philox.random_raw(num_samples), kind="stable")
    permutation.setflags(write=False)
    return permutation
