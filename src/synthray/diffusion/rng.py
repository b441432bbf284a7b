"""Randomness by counter: every draw is a function of a seed and of what it is for, never of what came before.

Any worker, at any time, on any device, gets the same noise for a sample, so neither a restart nor a change of
the number of workers can move a result. The generator is Philox 4x64-10 (Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", SC 2011) on the CPU. Its key is (seed, purpose) and the two high words of its
256-bit counter say which draw it is; the low words count within one draw. So two draws share a word only if
one of them is longer than 2^128 words.

Integers come from Philox's raw words, which NumPy guarantees for ever. Normal deviates come from NumPy's
ziggurat, which it may change between versions: NumPy's version is part of the fingerprint, and golden values
in the tests would show it. This module must not import torch.
"""

import numpy as np
from numpy.typing import NDArray

from synthray.errors import InvalidInput

Shape = tuple[int, int, int]

NUM_SEEDS = 2**64


def _purpose(name: bytes) -> int:
    """The second word of the key, one for each use of a seed."""
    return int.from_bytes(name.ljust(8, b"\0"), "big")


_NOISE = _purpose(b"noise")
_TIMESTEP = _purpose(b"timestep")
_FLIP = _purpose(b"flip")
_INITIAL_WEIGHTS = _purpose(b"weights")
_IMAGE = _purpose(b"image")


def sample_noise(seed: int, epoch: int, index_in_epoch: int, shape: Shape) -> NDArray[np.float32]:
    """Standard normal noise of one training sample: shape (C, H, W), float32."""
    return _normal(_philox(seed, _NOISE, index_in_epoch, epoch), shape)


def sample_timestep(seed: int, epoch: int, index_in_epoch: int, num_timesteps: int) -> int:
    """The timestep of one training sample, uniform in 0 to `num_timesteps` - 1.

    The high half of word x num_timesteps (Lemire, 1805.10941, without rejection): the bias is below 2^-53.
    """
    return _word(seed, _TIMESTEP, index_in_epoch, epoch) * num_timesteps >> 64


def sample_flip(seed: int, epoch: int, index_in_epoch: int) -> bool:
    """Whether one training sample is mirrored: a fair coin."""
    return bool(_word(seed, _FLIP, index_in_epoch, epoch) >> 63)


def initial_weights_seed(seed: int) -> int:
    """The 32-bit seed of a new network's weights; torch's own generator looks at no more bits."""
    return _word(seed, _INITIAL_WEIGHTS, 0, 0) >> 32


def image_noise(seed: int, step: int, shape: Shape) -> NDArray[np.float32]:
    """Standard normal noise of one generated image: shape (C, H, W), float32.

    `step` 0 is the pure noise that sampling starts from; `step` i + 1 is what a stochastic sampler adds in
    denoising step i (0, 1, ...).
    """
    return _normal(_philox(seed, _IMAGE, step, 0), shape)


def _normal(philox: np.random.Philox, shape: Shape) -> NDArray[np.float32]:
    return np.random.Generator(philox).standard_normal(shape, dtype=np.float32)


def _word(seed: int, purpose: int, low: int, high: int) -> int:
    """The first raw 64-bit word of one draw."""
    return int(_philox(seed, purpose, low, high).random_raw())


def _philox(seed: int, purpose: int, low: int, high: int) -> np.random.Philox:
    """The generator of one draw, at counter (0, 0, low, high)."""
    if not 0 <= seed < NUM_SEEDS:
        raise InvalidInput(f"seed={seed} is outside 0 to 2^64 - 1; use a number in that range")
    return np.random.Philox(
        key=np.array([seed, purpose], np.uint64), counter=np.array([0, 0, low, high], np.uint64)
    )
