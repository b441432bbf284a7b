"""A prepared dataset as its readers see it: `dataset.json`, the index, and the two tables of samples.

`dataset.json` is committed last, so a dataset that can be described is complete. Every sample carries its
SHA-256, and the dataset's digest is made of these, so it names the pixels and not the day or place of their
preparation. It must not import what only `prepare` needs (Pillow, pydicom).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synthray.data.index import SampleTable, decode_index
from synthray.errors import InvalidInput, NotFound, Reason, VerificationFailed
from synthray.storage import ObjectStore

DESCRIPTION_KEY = "dataset.json"
INDEX_KEY = "index.parquet"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ShardRecord(_Record):
    """One tar file: its key below the dataset, its size, its SHA-256 in hex and its number of samples."""

    path: str
    bytes: int = Field(gt=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    num_samples: int = Field(gt=0)


class IndexRecord(_Record):
    """The Parquet index: its key below the dataset, its size and its SHA-256 in hex."""

    path: str
    bytes: int = Field(gt=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class SourceRecord(_Record):
    """Where the images came from; `listing_sha256` is of the sorted keys and sizes."""

    uri: str
    layout: str
    num_images: int
    listing_sha256: str


class SkippedRecord(_Record):
    """An image that is not in the dataset; `source_index` counts the sorted images of the source.

    The source's key is left out, because hospitals put names into file names.
    """

    source_index: int
    reason: str
    detail: str


class DatasetDescription(_Record):
    """The content of `dataset.json`."""

    format_version: Literal[1] = 1
    image_size_px: int = Field(gt=0)
    channels: Literal[1, 3]
    num_train: int = Field(ge=0)
    num_holdout: int = Field(ge=0)
    num_groups: int = Field(ge=0)
    holdout: float
    digest: str = Field(pattern="^[0-9a-f]{64}$")
    index: IndexRecord
    shards: tuple[ShardRecord, ...]
    labels: tuple[str, ...]
    source: SourceRecord
    skipped: tuple[SkippedRecord, ...]
    created: str
    synthray_version: str


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset; `digest` (64 hex digits) depends on pixels, split, size and channels alone."""

    description: DatasetDescription
    train: SampleTable
    holdout: SampleTable

    @property
    def digest(self) -> str:
        """The digest of the content."""
        return self.description.digest


def dataset_digest(
    *, image_size_px: int, channels: int, splits: Sequence[str], sha256: NDArray[np.uint8]
) -> str:
    """The digest of a dataset's content: of every sample's split and SHA-256 (uint8, (N, 32)), in order."""
    digest = hashlib.sha256(f"synthray dataset 1 {image_size_px} {channels}\n".encode())
    for split, sample in zip(splits, sha256, strict=True):
        digest.update(f"{split} {sample.tobytes().hex()}\n".encode())
    return digest.hexdigest()


def read_description(store: ObjectStore) -> DatasetDescription:
    """Read `dataset.json`; raises NotFound where there is none, InvalidInput where it is not one of ours."""
    try:
        document = store.read(DESCRIPTION_KEY)
    except NotFound as missing:
        if (
            missing.reason is not Reason.NOT_FOUND
        ):  # the bucket itself is missing: that message is the better one
            raise
        raise NotFound(
            f"{store.uri}/{DESCRIPTION_KEY} does not exist: this is no prepared dataset, or its preparation"
            f" has not ended; run `synthray prepare SOURCE {store.uri} --size 512`"
        ) from missing
    try:
        return DatasetDescription.model_validate_json(document)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(
            f"{store.uri}/{DESCRIPTION_KEY}: field '{field}': {first['msg']}; prepare the dataset again with"
            " `synthray prepare`",
            reason=Reason.DATASET_INVALID,
        ) from invalid


def read_dataset(store: ObjectStore) -> Dataset:
    """Read a prepared dataset and verify its index against the digests in `dataset.json`.

    Raises NotFound, InvalidInput (not a dataset of ours) or VerificationFailed (the index is damaged).
    """
    description = read_description(store)
    document = store.read(description.index.path)
    if hashlib.sha256(document).hexdigest() != description.index.sha256:
        raise VerificationFailed(
            f"{store.uri}/{description.index.path} does not have the SHA-256 that {DESCRIPTION_KEY} names;"
            " copy the dataset again, or prepare it anew",
            reason=Reason.DATASET_INVALID,
        )
    return Dataset(description, *decode_index(document))
