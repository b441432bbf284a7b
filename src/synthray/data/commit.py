"""Parts -> the index and `dataset.json`, written last: from that write on, the dataset exists.

It must not decode or pack.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np

import synthray
from synthray.data.dataset import (
    DESCRIPTION_KEY,
    INDEX_KEY,
    DatasetDescription,
    IndexRecord,
    SkippedRecord,
    SourceRecord,
    dataset_digest,
)
from synthray.data.index import IndexRow, Split, encode_index
from synthray.data.packing import ShardPart
from synthray.data.shards import sample_key
from synthray.storage import ObjectStore


def build_rows(parts: Sequence[ShardPart]) -> list[IndexRow]:
    """All samples in order; groups become numbers in the order of their first sample."""
    groups: dict[str, int] = {}
    rows: list[IndexRow] = []
    for part in parts:
        for sample in part.samples:
            row = IndexRow(
                key=sample_key(len(rows)),
                shard_number=part.number,
                offset=sample.offset,
                length=sample.length,
                sha256=bytes.fromhex(sample.sha256),
                split=sample.split,
                group=groups.setdefault(sample.group_token, len(groups)),
                source_index=sample.source_index,
                labels=sample.labels,
            )
            rows.append(row)
    return rows


def commit_dataset(
    destination: ObjectStore,
    parts: Sequence[ShardPart],
    *,
    source: SourceRecord,
    label_names: Sequence[str],
    size_px: int,
    channels: int,
    holdout: float,
    late_skipped: Sequence[SkippedRecord] = (),
) -> DatasetDescription:
    """Write the index and then `dataset.json`; `late_skipped` came after the last shard."""
    rows = build_rows(parts)
    index = encode_index(rows, label_names)
    num_holdout = sum(row.split == Split.HOLDOUT for row in rows)
    hashes = np.frombuffer(b"".join(row.sha256 for row in rows), np.uint8).reshape(-1, 32)
    description = DatasetDescription.model_validate(
        {
            "image_size_px": size_px,
            "channels": channels,
            "num_train": len(rows) - num_holdout,
            "num_holdout": num_holdout,
            "num_groups": len({row.group for row in rows}),
            "holdout": holdout,
            "digest": dataset_digest(
                image_size_px=size_px, channels=channels, splits=[row.split for row in rows], sha256=hashes
            ),
            "index": IndexRecord(path=INDEX_KEY, bytes=len(index), sha256=sha256(index).hexdigest()),
            "shards": [part.shard for part in parts],
            "labels": label_names,
            "source": source,
            "skipped": [record for part in parts for record in part.skipped] + list(late_skipped),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "synthray_version": synthray.__version__,
        }
    )
    destination.write(INDEX_KEY, index)
    destination.write(DESCRIPTION_KEY, description.model_dump_json(indent=2).encode())
    return description
