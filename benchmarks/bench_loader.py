"""How many images per second one core turns from the node's warm cache into tensors, hashes checked.

Phantom chest X-rays are prepared at each size and cached; then the real reader and stream, held to one core,
make micro-batches: uint8 arrays, and float32 tensors (N, C, H, W) in [-1, 1] as the training loop takes them.
Rates are per second of this process's CPU time, which on a shared machine is what one core of its own would
give; the wall rate stands beside. Targets: 5,000/s at 64 px, 500/s at 512 px. The parts show what bounds it;
the memory by epoch shows that none is lost.

    python benchmarks/bench_loader.py [--images 200] [--seconds 4] [--threads 1] [--micro-batch 16]
"""

import argparse
import hashlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import psutil
import torch
from PIL import features

from synthray.data.cache import NodeCache
from synthray.data.dataset import Dataset, read_dataset
from synthray.data.order import SampleOrder, SampleRef
from synthray.data.phantom import write_phantom_dataset
from synthray.data.prepare import prepare
from synthray.data.reader import SampleReader, decode_sample
from synthray.data.stream import MicroBatch, ReadAhead, read_micro_batch
from synthray.storage import ObjectStore, S3Settings, open_store
from synthray.telemetry.storage_counters import STORAGE_COUNTERS

TARGETS = {64: 5000.0, 512: 500.0}
EPOCHS = 10


@dataclass(frozen=True)
class Rate:
    """Images per second of CPU time (one core's worth) and per second of wall time."""

    images_per_cpu_second: float
    images_per_wall_second: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--micro-batch", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="synthray-loader-") as folder:
        store = open_store(folder, S3Settings())
        source = store.child("source")
        write_phantom_dataset(
            source, num_images=options.images, size_px=1024, seed=0, workers=os.cpu_count() or 1
        )
        datasets = {}
        for size_px in TARGETS:
            destination = store.child(f"prepared-{size_px}")
            prepare(source, destination, size_px=size_px, holdout=0.0, max_bad=0.5)
            datasets[size_px] = (read_dataset(destination), destination)
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        results = {
            f"{size_px} px": measure(dataset, destination, Path(folder) / "cache", options)
            for size_px, (dataset, destination) in datasets.items()
        }
    print(json.dumps({"configuration": configuration(options), "results": results}, indent=2))


def measure(dataset: Dataset, store: ObjectStore, cache: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both rates of one dataset, and the time of each part for one image."""
    target = TARGETS[dataset.description.image_size_px]
    with SampleReader(dataset, store, NodeCache(cache, 10**10), table=dataset.train) as reader:
        reader.start_fill()
        if not reader.wait_filled(600):
            raise SystemExit("the cache did not fill")
        run_stream(dataset, reader, options, 0.5, to_uint8)
        requests = sum(STORAGE_COUNTERS.snapshot().requests.values())
        uint8 = run_stream(dataset, reader, options, options.seconds, to_uint8)
        float32 = run_stream(dataset, reader, options, options.seconds, to_float32)
        requests = sum(STORAGE_COUNTERS.snapshot().requests.values()) - requests
        rss = [run_epoch(dataset, reader, options, epoch) for epoch in range(EPOCHS)]
        parts = measure_parts(dataset, store, to_float32)
    total = 1e6 / float32.images_per_cpu_second
    return {
        "uint8 arrays": asdict(uint8),
        "float32 tensors": asdict(float32),
        "target_images_per_second": target,
        "reached": float32.images_per_cpu_second >= target,
        "storage_requests_while_measured": requests,
        "rss_mebibytes_by_epoch": rss,
        "mean_jpeg_bytes": float(dataset.train.length.mean()),
        "microseconds_per_image": {**parts, "all the rest": total - sum(parts.values()), "total": total},
        "bound_by": max(parts, key=lambda part: parts[part]),
    }


def to_uint8(batch: MicroBatch) -> int:
    """Nothing more than the decoded images."""
    return len(batch.images)


def to_float32(batch: MicroBatch) -> int:
    """The training loop's normalization."""
    num_images, height, width, channels = batch.images.shape
    images = np.empty((num_images, channels, height, width), np.float32)
    np.multiply(batch.images.transpose(0, 3, 1, 2), np.float32(1 / 127.5), out=images)
    images -= 1
    return len(torch.from_numpy(images))


def stream_images(
    reader: SampleReader,
    order: SampleOrder,
    plan: Iterable[Sequence[SampleRef]],
    options: argparse.Namespace,
    transform: Callable[[MicroBatch], int],
) -> int:
    """Stream all of `plan`; the number of images."""

    def make(refs: Sequence[SampleRef]) -> int:
        return transform(read_micro_batch(reader, refs, order=order))

    with ReadAhead(plan, make, ahead=2 * options.threads, threads=options.threads) as stream:
        return sum(future.result() for future in stream)


def run_epoch(dataset: Dataset, reader: SampleReader, options: argparse.Namespace, epoch: int) -> float:
    """Stream one whole epoch; returns the memory that the process then holds."""
    order = SampleOrder(0, len(dataset.train))
    plan = [[order.at(epoch * order.num_samples + index)] for index in range(order.num_samples)]
    assert stream_images(reader, order, plan, options, to_float32) == order.num_samples
    return round(psutil.Process().memory_info().rss / 2**20, 1)


def run_stream(
    dataset: Dataset,
    reader: SampleReader,
    options: argparse.Namespace,
    seconds: float,
    transform: Callable[[MicroBatch], int],
) -> Rate:
    """Stream shuffled epochs for a while."""
    order = SampleOrder(0, len(dataset.train))
    stop_at = time.perf_counter() + seconds
    wall, cpu = time.perf_counter(), time.process_time()
    plan = plan_until(order, options.micro_batch, stop_at)
    num_images = stream_images(reader, order, plan, options, transform)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Rate(num_images / cpu, num_images / wall)


def plan_until(order: SampleOrder, size: int, stop_at: float) -> Iterator[Sequence[SampleRef]]:
    """Micro-batches of consecutive positions until the clock says stop."""
    position = 0
    while time.perf_counter() < stop_at:
        yield [order.at(position + row) for row in range(size)]
        position += size


def measure_parts(
    dataset: Dataset, store: ObjectStore, transform: Callable[[MicroBatch], int]
) -> dict[str, float]:
    """Microseconds of CPU per image of the parts that do the work, each alone."""
    table, size_px, channels = dataset.train, dataset.description.image_size_px, dataset.description.channels
    shard = store.read(dataset.description.shards[0].path)
    here = np.flatnonzero(table.shard_number == 0)[:200]
    jpegs = [shard[table.offset[sample] : table.offset[sample] + table.length[sample]] for sample in here]
    image = np.empty((size_px, size_px, channels), np.uint8)

    def decode_all() -> None:
        for jpeg in jpegs:
            decode_sample(jpeg, image)

    batch = MicroBatch((), (), np.zeros((16, size_px, size_px, channels), np.uint8), ())
    return {
        "SHA-256": cpu_microseconds(lambda: [hashlib.sha256(jpeg).digest() for jpeg in jpegs], len(jpegs)),
        "JPEG decoding": cpu_microseconds(decode_all, len(jpegs)),
        "to float32": cpu_microseconds(lambda: transform(batch), 16),
    }


def cpu_microseconds(work: Callable[[], object], num_images: int) -> float:
    """The best of several runs."""
    best = float("inf")
    for _ in range(7):
        started = time.thread_time()
        work()
        best = min(best, time.thread_time() - started)
    return best / num_images * 1e6


def configuration(options: argparse.Namespace) -> dict[str, Any]:
    """What the figures hold for."""
    return {
        "cpu": next(
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "cores_used": 1,
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "libjpeg_turbo": features.version("libjpeg_turbo"),
        "torch": torch.__version__,
        **vars(options),
    }


if __name__ == "__main__":
    main()
