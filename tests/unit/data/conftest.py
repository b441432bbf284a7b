"""Small sources of images for the tests of data."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthray.data.dataset import Dataset, read_dataset
from synthray.data.prepare import prepare
from synthray.storage import ObjectStore, S3Settings, open_store

PrepareTiny = Callable[..., tuple[Dataset, ObjectStore]]


def grey_image(seed: int, *, width: int = 40, height: int = 36) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(40, 220, (6, 6), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def image_bytes(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:  # noqa: A002
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "source"), S3Settings())


@pytest.fixture
def destination(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "prepared"), S3Settings())


@pytest.fixture
def prepare_tiny(source: ObjectStore, destination: ObjectStore) -> PrepareTiny:
    """Prepare `num_images` distinct images into several shards of 16 px images."""

    def prepare_images(num_images: int = 12, **arguments: object) -> tuple[Dataset, ObjectStore]:
        for number in range(num_images):
            source.write(f"{number:03d}.jpg", image_bytes(grey_image(number)))
        wanted: dict[str, object] = {"size_px": 16, "holdout": 0.0, "workers": 1, "shard_bytes": 5_000}
        prepare(source, destination, **(wanted | arguments))  # type: ignore[arg-type]
        return read_dataset(destination), destination

    return prepare_images
