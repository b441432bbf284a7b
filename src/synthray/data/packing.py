"""Outcomes in the order of the source -> shards, and what each shard took from the source.

Samples are packed in the order of the sorted source and a shard closes by its content alone, so shards are
the same whatever the number of processes that decoded, and a shard's record says where the next one begins:
that is all a resume needs. It must not write.
"""

import hashlib
import hmac
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from synthray.data.dataset import ShardRecord, SkippedRecord
from synthray.data.decoding import PreparedImage
from synthray.data.discovery import SourceImage
from synthray.data.holdout import split_of
from synthray.data.index import Split
from synthray.data.shards import SHARD_SAMPLES, ShardBuilder, sample_key, shard_path
from synthray.data.skips import Undecodable


class PackedSample(BaseModel):
    """One sample of a shard; `group_token` tells patients apart and is of no use without the plan's salt."""

    model_config = ConfigDict(frozen=True)

    offset: int
    length: int
    sha256: str
    split: Split
    group_token: str
    source_index: int
    labels: tuple[int | None, ...]


class ShardPart(BaseModel):
    """A finished shard: the images [source_start, source_end) of the source are in it, or skipped."""

    model_config = ConfigDict(frozen=True)

    number: int
    source_start: int
    source_end: int
    shard: ShardRecord
    samples: tuple[PackedSample, ...]
    skipped: tuple[SkippedRecord, ...]


@dataclass(frozen=True)
class PackedShard:
    """A shard's bytes and its record."""

    data: bytes
    part: ShardPart


@dataclass
class ShardPacker:
    """Packs one shard after the other; `next_sample` and `source_start` say where the first one begins."""

    label_names: tuple[str, ...]
    holdout: float
    shard_bytes: int
    salt: str
    number: int = 0
    next_sample: int = 0
    source_start: int = 0
    skipped: list[SkippedRecord] = field(default_factory=list)
    _builder: ShardBuilder = field(default_factory=ShardBuilder)
    _samples: list[PackedSample] = field(default_factory=list)

    def add(self, index: int, image: SourceImage, outcome: PreparedImage | Undecodable) -> PackedShard | None:
        """Take the outcome of the source's image `index`; returns a shard if this one completes it."""
        if isinstance(outcome, Undecodable):
            self.skipped.append(
                SkippedRecord(source_index=index, reason=outcome.reason, detail=outcome.detail)
            )
            return None
        patient = outcome.patient or image.patient
        split = split_of(patient, self.holdout)
        metadata = {"split": split, "labels": dict(zip(self.label_names, image.labels, strict=True))}
        sample = PackedSample(
            offset=self._builder.add(sample_key(self.next_sample), outcome.jpeg, metadata),
            length=len(outcome.jpeg),
            sha256=outcome.sha256.hex(),
            split=split,
            group_token=hmac.new(self.salt.encode(), patient.encode(), hashlib.sha256).hexdigest(),
            source_index=index,
            labels=image.labels,
        )
        self._samples.append(sample)
        self.next_sample += 1
        full = self._builder.size_bytes >= self.shard_bytes or self._builder.num_samples >= SHARD_SAMPLES
        return self._close(index + 1) if full else None

    def finish(self, source_end: int) -> PackedShard | None:
        """The last shard, if samples are left over; images skipped after it stay in `skipped`."""
        return self._close(source_end) if self._samples else None

    def _close(self, source_end: int) -> PackedShard:
        data = self._builder.finish()
        record = ShardRecord(
            path=shard_path(self.number),
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            num_samples=len(self._samples),
        )
        part = ShardPart(
            number=self.number,
            source_start=self.source_start,
            source_end=source_end,
            shard=record,
            samples=tuple(self._samples),
            skipped=tuple(self.skipped),
        )
        self.number += 1
        self.source_start = source_end
        self.skipped, self._samples, self._builder = [], [], ShardBuilder()
        return PackedShard(data, part)
