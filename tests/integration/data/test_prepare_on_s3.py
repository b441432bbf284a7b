"""`prepare` with its processes, against a real S3 server: hostile images, kills, any number of workers."""

import gc
import io
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import webdataset
from PIL import Image, ImageFilter

from synthray.data.dataset import read_dataset
from synthray.data.order import SampleOrder
from synthray.data.prepare import prepare
from synthray.data.reader import SampleReader
from synthray.data.skips import SkipReason
from synthray.data.stream import ReadAhead, read_micro_batch
from synthray.storage import ObjectStore

# Sleeps after each image, so that a kill can be aimed between two shards; argv: source, destination.
PREPARE_SLOWLY = """
import os, sys, time
from synthray.data.prepare import prepare
from synthray.storage import open_store, s3_settings_from_environment
if __name__ == "__main__":
    source, destination = (open_store(uri, s3_settings_from_environment(os.environ)) for uri in sys.argv[1:])
    prepare(source, destination, size_px=64, workers=2, shard_bytes=60_000, holdout=0.0,
            progress=lambda progress: time.sleep(0.02))
"""


def chest_like(seed: int, side: int = 200) -> Image.Image:
    noise = np.random.default_rng(seed).integers(30, 255, (side, side + seed % 60), np.uint8)
    return Image.fromarray(noise).filter(ImageFilter.GaussianBlur(2))


def encoded(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:  # noqa: A002
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def hostile_images() -> dict[str, bytes]:
    """Twelve files, by name; the first five hold no picture."""
    good = chest_like(0)
    deep = Image.fromarray(np.asarray(good).astype(np.uint16) * 16)
    return {
        "zero-byte.jpg": b"",
        "truncated.jpg": encoded(good)[:-2000],
        "text.png": b"Dear radiologist,\n" * 50,
        "bomb.png": encoded(Image.new("L", (10_000, 10_000)), "PNG"),
        "bomb-of-one-bit.png": encoded(Image.new("1", (30_000, 20_000)), "PNG"),
        "cmyk.jpg": encoded(good.convert("RGB").convert("CMYK")),
        "16-bit.png": encoded(deep, "PNG"),
        "16-bit.tif": encoded(deep, "TIFF"),
        "palette.png": encoded(good.convert("P"), "PNG"),
        "alpha.png": encoded(good.convert("RGBA"), "PNG"),
        "animated.gif": encoded(good, "GIF", save_all=True, append_images=[Image.new("L", good.size)]),
        "animated.webp": encoded(good, "WEBP", save_all=True, append_images=[Image.new("L", good.size)]),
    }


def fill_source(source: ObjectStore, num_images: int) -> None:
    for number in range(num_images):
        source.write(f"good-{number:03d}.jpg", encoded(chest_like(number)))


def content_of(store: ObjectStore) -> dict[str, bytes]:
    return {info.key: store.read(info.key) for info in store.list() if info.key != "dataset.json"}


def wait_until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def test_of_100_images_with_12_hostile_ones_all_pictures_get_in_and_the_rest_is_listed(
    s3: ObjectStore,
) -> None:
    source, destination = s3.child("source"), s3.child("prepared")
    fill_source(source, 88)
    for name, data in hostile_images().items():
        source.write(name, data)
    report = prepare(source, destination, size_px=64, workers=2)
    dataset = read_dataset(destination)
    assert len(dataset.train) + len(dataset.holdout) == 95
    assert {skipped.source: skipped.reason for skipped in report.skipped} == {
        "zero-byte.jpg": SkipReason.EMPTY,
        "truncated.jpg": SkipReason.TRUNCATED,
        "text.png": SkipReason.NOT_AN_IMAGE,
        "bomb.png": SkipReason.TOO_LARGE,
        "bomb-of-one-bit.png": SkipReason.TOO_LARGE,
    }


def test_any_number_of_processes_gives_the_same_bytes(local_store: ObjectStore) -> None:
    source = local_store.child("source")
    fill_source(source, 50)
    contents = []
    for workers in (1, 2, 3):
        destination = local_store.child(f"prepared-by-{workers}")
        prepare(source, destination, size_px=64, workers=workers, shard_bytes=60_000)
        contents.append(content_of(destination))
    assert len(contents[0]) > 3
    assert contents[0] == contents[1] == contents[2]


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_preparation_leaves_no_process_and_goes_on_after_its_finished_shards(
    s3: ObjectStore, s3_environment: Mapping[str, str], sent: signal.Signals, tmp_path: Path
) -> None:
    source, destination = s3.child("source"), s3.child("killed")
    fill_source(source, 60)
    script = tmp_path / "prepare_slowly.py"
    script.write_text(PREPARE_SLOWLY)
    command = [sys.executable, str(script), source.uri, destination.uri]
    with subprocess.Popen(
        command, env={**os.environ, **s3_environment}, stderr=subprocess.PIPE, text=True
    ) as preparing:
        try:
            wait_until(lambda: destination.stat("unfinished/000001.json") is not None)
            children = psutil.Process(preparing.pid).children(recursive=True)
            assert len(children) >= 2
        finally:
            preparing.send_signal(sent)
        _, errors = preparing.communicate(timeout=30)
    assert preparing.returncode != 0
    assert "Process SpawnProcess" not in errors
    wait_until(lambda: not any(child.is_running() for child in children))
    assert destination.stat("dataset.json") is None
    finished = {info.key: info.modified for info in destination.list("shards/")}

    report = prepare(source, destination, size_px=64, workers=1, shard_bytes=60_000, holdout=0.0)
    assert report.num_resumed_shards >= 2
    untouched = [f"shards/{number:06d}.tar" for number in range(report.num_resumed_shards)]
    now = {info.key: info.modified for info in destination.list("shards/")}
    assert [now[key] for key in untouched] == [finished[key] for key in untouched]
    unbroken = s3.child("unbroken")
    prepare(source, unbroken, size_px=64, workers=1, shard_bytes=60_000, holdout=0.0)
    assert content_of(destination) == content_of(unbroken)


def test_the_webdataset_package_reads_the_shards(tmp_path: Path, local_store: ObjectStore) -> None:
    source, destination = local_store.child("source"), local_store.child("prepared")
    table = ["StudyInstanceUID,CVC - Normal,Swan Ganz Catheter Present,PatientID"]
    for number in range(20):
        # Full of dots, as RANZCR's: a reader that cuts at the first one would make one sample of all.
        study = f"1.2.826.0.1.3680043.8.498.{number:02d}"
        source.write(f"train/{study}.jpg", encoded(chest_like(number)))
        table.append(f"{study},{number % 2},0,patient-{number // 2}")
    source.write("train.csv", "\n".join(table).encode())
    prepare(source, destination, size_px=64, workers=1, shard_bytes=40_000)
    dataset = read_dataset(destination)
    paths = [f"{destination.uri}/{shard.path}" for shard in dataset.description.shards]
    assert len(paths) >= 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves closing to the garbage collector
        samples = list(webdataset.WebDataset(paths, shardshuffle=False).decode("pil"))
        gc.collect()
    assert [sample["__key__"] for sample in samples] == [f"{number:09d}" for number in range(20)]
    assert all(sample["jpg"].size == (64, 64) for sample in samples)
    assert [sample["json"]["labels"] for sample in samples[:2]] == [
        {"CVC - Normal": 0, "Swan Ganz Catheter Present": 0},
        {"CVC - Normal": 1, "Swan Ganz Catheter Present": 0},
    ]
    assert sum(sample["json"]["split"] == "holdout" for sample in samples) == len(dataset.holdout)


def test_a_prepared_dataset_streams_from_s3(s3: ObjectStore) -> None:
    source, destination = s3.child("source"), s3.child("prepared")
    fill_source(source, 20)
    prepare(source, destination, size_px=64, holdout=0.0, workers=2)
    dataset = read_dataset(destination)
    order = SampleOrder(0, 20)
    plan = [[order.at(4 * batch + row) for row in range(4)] for batch in range(10)]

    with (
        SampleReader(dataset, destination, None, table=dataset.train) as reader,
        ReadAhead(plan, partial(read_micro_batch, reader, order=order), ahead=2, threads=2) as stream,
    ):
        batches = [future.result() for future in stream]
    assert [list(batch.refs) for batch in batches] == plan
    first_epoch = np.concatenate([batch.images for batch in batches[:5]])
    second_epoch = np.concatenate([batch.images for batch in batches[5:]])
    assert sorted(image.tobytes() for image in first_epoch) == sorted(
        image.tobytes() for image in second_epoch
    )
