"""Samples by number: from the node's cache, else by range from storage, hash-checked at every read.

A flipped bit in a JPEG decodes silently, so no byte reaches the decoder unless its SHA-256 is the index's.
What fails even after fresh reads from storage is reported as a `BadSample`; storage that is away is no answer
and raises. It must not decide what replaces a sample: that depends on the seed, which it doesn't know.
"""

import hashlib
import io
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from synthray.data.cache import DatasetCache, NodeCache
from synthray.data.dataset import Dataset
from synthray.data.fill import CacheFill
from synthray.data.index import SampleTable
from synthray.errors import VerificationFailed
from synthray.storage import ByteRange, ObjectStore

logger = logging.getLogger(__name__)

_REREAD_PAUSES_SECONDS = (0.0, 0.1, 0.3, 1.0, 2.0)
"""Before each further read of a sample that came damaged: a line that flips bits is no bad sample."""


@dataclass(frozen=True)
class BadSample:
    """A sample that cannot be had; `shard_number` and `key` name it in logs and in the run's state."""

    sample: int
    shard_number: int
    key: str
    cause: str


class SampleReader:
    """Reads samples of one table (train or holdout) of a dataset; safe for threads."""

    def __init__(
        self,
        dataset: Dataset,
        store: ObjectStore,
        cache: NodeCache | None,
        *,
        table: SampleTable,
    ) -> None:
        self._store = store
        self._table = table
        self._shards = dataset.description.shards
        size_px, channels = dataset.description.image_size_px, dataset.description.channels
        self.image_shape = (size_px, size_px, channels)
        self._cache: DatasetCache | None = cache.open(dataset.description.index.sha256) if cache else None
        self._fill = CacheFill(self._cache, store, self._shards) if self._cache else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start_fill(self) -> None:
        """Fetch all shards into the cache in the background, shared out among the node's processes."""
        if self._fill:
            self._fill.start()

    def wait_filled(self, timeout_seconds: float) -> bool:
        """Wait until the cache holds all shards, or all that fit; False if it has none or the time is up."""
        return self._fill is not None and self._fill.wait(timeout_seconds)

    def close(self) -> None:
        """Stop the background fetch and let go of the cache."""
        if self._fill:
            self._fill.stop()
        if self._cache:
            self._cache.close()

    def read(self, samples: Sequence[int]) -> tuple[NDArray[np.uint8], tuple[BadSample, ...]]:
        """Images (N, H, W, C) in the order of `samples` (rows of the table), and those that are bad.

        The rows of bad samples are zero. Raises Unavailable or NotFound if storage fails as a whole.
        """
        images = np.zeros((len(samples), *self.image_shape), np.uint8)
        bad: list[BadSample] = []
        absent: list[int] = []
        for row, sample in enumerate(samples):
            data = self._read_cached(sample)
            if data is None:
                absent.append(row)
            else:
                self._decode(sample, data, images[row], bad)
        stored = self._read_stored([samples[row] for row in absent], bad)
        for row, data in zip(absent, stored, strict=True):
            if data is not None:
                self._decode(samples[row], data, images[row], bad)
        return images, tuple(bad)

    def _read_cached(self, sample: int) -> bytes | None:
        if self._cache is None:
            return None
        table = self._table
        shard = self._shards[table.shard_number[sample]]
        data = self._cache.read(shard.sha256, int(table.offset[sample]), int(table.length[sample]))
        if data is None or self._is_intact(sample, data):
            return data
        logger.warning(
            "cached shard %s is damaged at sample %s: it is dropped", shard.path, self._key(sample)
        )
        self._cache.drop(shard.sha256)
        if self._fill:
            self._fill.again()
        return None

    def _read_stored(self, samples: Sequence[int], bad: list[BadSample]) -> list[bytes | None]:
        """Bytes from storage; what is not intact is read again, alone, before it is called bad."""
        if not samples:
            return []
        try:
            first = self._store.read_ranges([self._range_of(sample) for sample in samples])
        except VerificationFailed:  # one shard is cut short: its samples are told apart one by one
            first = [b""] * len(samples)
        return [self._intact(sample, data, bad) for sample, data in zip(samples, first, strict=True)]

    def _intact(self, sample: int, data: bytes, bad: list[BadSample]) -> bytes | None:
        for pause_seconds in _REREAD_PAUSES_SECONDS:
            if self._is_intact(sample, data):
                return data
            time.sleep(pause_seconds)
            logger.warning(
                "shard %s, sample %s: wrong SHA-256 from storage; reading it again",
                self._shards[self._table.shard_number[sample]].path,
                self._key(sample),
            )
            try:
                data = self._store.read_range(self._range_of(sample))
            except VerificationFailed:
                data = b""
        if self._is_intact(sample, data):
            return data
        num_reads = 1 + len(_REREAD_PAUSES_SECONDS)
        bad.append(self._bad(sample, f"wrong SHA-256 in {num_reads} reads from storage"))
        return None

    def _decode(self, sample: int, data: bytes, image: NDArray[np.uint8], bad: list[BadSample]) -> None:
        try:
            decode_sample(data, image)
        except (OSError, ValueError) as undecodable:
            bad.append(self._bad(sample, f"intact, but no image of this dataset: {undecodable}"))

    def _is_intact(self, sample: int, data: bytes) -> bool:
        wanted: bytes = self._table.sha256[sample].tobytes()
        return hashlib.sha256(data).digest() == wanted

    def _range_of(self, sample: int) -> ByteRange:
        start = int(self._table.offset[sample])
        shard = self._shards[self._table.shard_number[sample]]
        return ByteRange(shard.path, start, start + int(self._table.length[sample]))

    def _key(self, sample: int) -> str:
        return f"{self._table.key[sample]:09d}"

    def _bad(self, sample: int, cause: str) -> BadSample:
        return BadSample(sample, int(self._table.shard_number[sample]), self._key(sample), cause)


def decode_sample(data: bytes, image: NDArray[np.uint8]) -> None:
    """Decode a prepared JPEG into `image` (H, W, C), whose shape it must have; raises OSError, ValueError."""
    # Naming the plugin saves the search for the format, a tenth of the time at 64 px.
    pixels = np.asarray(JpegImageFile(io.BytesIO(data)))
    if pixels.size != image.size or pixels.shape[:2] != image.shape[:2]:
        raise ValueError(f"its shape is {pixels.shape}, and the dataset's is {image.shape}")
    image[:] = pixels.reshape(image.shape)
