"""The Parquet index: one row per sample, so that training finds any image by one range of one shard.

It is also the public table of the dataset (labels, split, group) for pandas, DuckDB and the like. It holds no
key of the source: `source_index` is the position in the source's sorted listing, which only its owner has.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

LABEL_PREFIX = "label: "


class Split(StrEnum):
    """What a sample is for; all images of one patient are in one split."""

    TRAIN = "train"
    HOLDOUT = "holdout"


@dataclass(frozen=True)
class SampleTable:
    """Samples of one split in the order of the shards; all arrays have one row per sample.

    shard_number, offset, length: int64, where the JPEG's bytes lie; sha256: uint8 (N, 32); key: int64, the
    number in the file's name (`%09d`); group: int64, one number per patient, which tells nothing of them.
    """

    shard_number: NDArray[np.int64]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    sha256: NDArray[np.uint8]
    key: NDArray[np.int64]
    group: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.key)


@dataclass(frozen=True)
class IndexRow:
    """One sample; `labels` has one value (0, 1 or None) per label name of the dataset."""

    key: str
    shard_number: int
    offset: int
    length: int
    sha256: bytes
    split: Split
    group: int
    source_index: int
    labels: tuple[int | None, ...]


def encode_index(rows: Sequence[IndexRow], label_names: Sequence[str]) -> bytes:
    """The rows as a Parquet file; the same rows give the same bytes with the same pyarrow."""
    columns = {
        "key": pa.array([row.key for row in rows], pa.string()),
        "shard": pa.array([row.shard_number for row in rows], pa.int64()),
        "offset": pa.array([row.offset for row in rows], pa.int64()),
        "length": pa.array([row.length for row in rows], pa.int64()),
        "sha256": pa.array([row.sha256 for row in rows], pa.binary(32)),
        "split": pa.array([str(row.split) for row in rows], pa.string()),
        "group": pa.array([row.group for row in rows], pa.int64()),
        "source_index": pa.array([row.source_index for row in rows], pa.int64()),
    }
    for number, name in enumerate(label_names):
        columns[LABEL_PREFIX + name] = pa.array([row.labels[number] for row in rows], pa.int8())
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def decode_index(document: bytes) -> tuple[SampleTable, SampleTable]:
    """The train and the holdout table of a Parquet index."""
    columns = ["key", "shard", "offset", "length", "sha256", "split", "group"]
    # One thread: a pool of Arrow's would outlive the call beside the training's own threads.
    table = pq.read_table(pa.BufferReader(document), columns=columns, use_threads=False)
    holdout = np.array([split == Split.HOLDOUT for split in table["split"].to_pylist()], np.bool_)
    return _table_of(table, ~holdout), _table_of(table, holdout)


def _table_of(table: pa.Table, chosen: NDArray[np.bool_]) -> SampleTable:
    hashes = b"".join(table["sha256"].to_pylist())
    return SampleTable(
        shard_number=table["shard"].to_numpy()[chosen],
        offset=table["offset"].to_numpy()[chosen],
        length=table["length"].to_numpy()[chosen],
        sha256=np.frombuffer(hashes, np.uint8).reshape(-1, 32)[chosen],
        key=np.array([int(key) for key in table["key"].to_pylist()], np.int64)[chosen],
        group=table["group"].to_numpy()[chosen],
    )
