"""What the runs of a campaign have in common: their size, how they are started, and their dataset."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from synthray.data.dataset import DatasetDescription, read_description
from synthray.data.prepare import prepare
from synthray.storage import S3Settings, open_store

NUM_IMAGES = 480
PROCESSES, RAY = "processes", "ray"
_IMAGE_SIZE_PX = 16
# Far from the end of a run, so that even the last fault finds something to disturb.
FIRST_SHARE, LAST_SHARE = 0.03, 0.9


@dataclass(frozen=True)
class Configuration:
    """Runs of `epochs` over the same images, with a save at each epoch's end and every ten seconds.

    A run that `streams` keeps no image on its disk: every one comes from storage each time.
    """

    through: str
    epochs: int
    num_workers: int = 2
    hang_after_seconds: float = 30.0
    num_images: int = NUM_IMAGES
    streams: bool = False

    def changes(self) -> list[str]:
        """What distinguishes the runs from tiny_run's; small batches make short steps."""
        return [
            "spec.optimization.globalBatchSize=8",
            "spec.optimization.microBatchSize=2",
            f"spec.optimization.epochs={self.epochs}",
            # Faults follow each other faster than saves, and none is the run's own.
            "spec.backoffLimit=1000",
            *(["spec.workers.cacheSize=1"] if self.streams else []),
        ]

    def arguments(self) -> list[str]:
        """For `synthray train`, beside the file, the cache and the port."""
        arguments = ["--workers", str(self.num_workers), "--hang-after", str(self.hang_after_seconds)]
        if self.through == PROCESSES:
            arguments.append("--without-ray")
        for change in self.changes():
            arguments += ["--set", change]
        return arguments

    @property
    def max_workers(self) -> int:
        """Micro-batches of a batch."""
        return 4


def prepare_dataset(folder: Path, num_images: int = NUM_IMAGES) -> str:
    """Images of noise, prepared once; their place."""
    place = folder / f"dataset-{num_images}"
    raw, prepared = (open_store(str(place / name), S3Settings()) for name in ("raw", "prepared"))
    if prepared.stat("dataset.json") is not None:
        return prepared.uri
    for number in range(num_images):
        noise = np.random.Generator(np.random.Philox(key=number))
        pixels = noise.integers(0, 256, (_IMAGE_SIZE_PX, _IMAGE_SIZE_PX), dtype=np.uint8)
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "PNG")
        raw.write(f"{number:04d}.png", png.getvalue())
    prepare(raw, prepared, size_px=_IMAGE_SIZE_PX, holdout=0.05, max_bad=0.5, workers=1)
    return prepared.uri


def describe_dataset(uri: str) -> DatasetDescription:
    """Of a local dataset."""
    return read_description(open_store(uri, S3Settings()))


def copy_dataset(uri: str, destination_uri: str, settings: S3Settings) -> None:
    """From a folder to S3."""
    source, destination = open_store(uri, S3Settings()), open_store(destination_uri, settings)
    for info in source.list():
        destination.write(info.key, source.read(info.key))
