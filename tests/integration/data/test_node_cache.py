"""The node's cache between real processes: shared, killed, taken over."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthray.data.dataset import Dataset, read_dataset
from synthray.data.prepare import prepare
from synthray.storage import ObjectStore

# A worker of the node: fills the cache, reads every sample thrice, prints its GETs for the fill and after it.
WORKER = """
import json, os, sys
from pathlib import Path
from synthray.data.cache import NodeCache
from synthray.data.dataset import read_dataset
from synthray.data.reader import SampleReader
from synthray.storage import open_store, s3_settings_from_environment
from synthray.telemetry.storage_counters import STORAGE_COUNTERS

def num_gets():
    return sum(n for (operation, _), n in STORAGE_COUNTERS.snapshot().requests.items() if operation == "get")

store = open_store(sys.argv[1], s3_settings_from_environment(os.environ))
dataset = read_dataset(store)
at_start = num_gets()
with SampleReader(dataset, store, NodeCache(Path(sys.argv[2]), 10**8), table=dataset.train) as reader:
    reader.start_fill()
    assert reader.wait_filled(60)
    filled = num_gets()
    bad = [reader.read(range(len(dataset.train)))[1] for _ in range(3)]
    assert bad == [(), (), ()]
    print(json.dumps({"fill": filled - at_start, "after": num_gets() - filled}))
"""

# A worker in the middle of fetching a shard: half of it is written, the other half never will be.
HALFWAY = """
import os, sys, time
from pathlib import Path
from synthray.data.cache import NodeCache
cache = NodeCache(Path(sys.argv[1]), 10**8).open(sys.argv[2])
reservation = cache.reserve(sys.argv[3], 2000)
os.write(reservation._descriptor, bytes(1000))
print("halfway", flush=True)
time.sleep(600)
"""


@pytest.fixture
def dataset(s3: ObjectStore) -> Dataset:
    rng = np.random.default_rng(0)
    source = s3.child("source")
    for number in range(40):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (80, 80), np.uint8)).save(buffer, "PNG")
        source.write(f"{number:03d}.png", buffer.getvalue())
    prepare(source, s3, size_px=64, holdout=0.0, workers=1, shard_bytes=50_000)
    return read_dataset(s3)


def start_worker(store: ObjectStore, cache: Path, environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, store.uri, str(cache)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def result_of(worker: "subprocess.Popen[str]") -> dict[str, int]:
    output, _ = worker.communicate(timeout=120)
    assert worker.returncode == 0
    result: dict[str, int] = json.loads(output)
    return result


def test_the_workers_of_a_node_fetch_each_shard_once_and_then_send_no_request(
    dataset: Dataset, s3: ObjectStore, s3_environment: Mapping[str, str], tmp_path: Path
) -> None:
    workers = [start_worker(s3, tmp_path, s3_environment) for _ in range(2)]
    results = [result_of(worker) for worker in workers]
    assert len(dataset.description.shards) >= 3
    assert sum(result["fill"] for result in results) == len(dataset.description.shards)
    assert [result["after"] for result in results] == [0, 0]


def test_a_worker_killed_while_it_fetches_leaves_its_shard_to_the_others(
    dataset: Dataset, s3: ObjectStore, s3_environment: Mapping[str, str], tmp_path: Path
) -> None:
    identity = dataset.description.index.sha256
    shards = [shard.sha256 for shard in dataset.description.shards]
    with subprocess.Popen(
        [sys.executable, "-c", HALFWAY, str(tmp_path), identity, shards[0]], stdout=subprocess.PIPE, text=True
    ) as halfway:
        try:
            assert halfway.stdout is not None
            assert halfway.stdout.readline() == "halfway\n"
            survivor = start_worker(s3, tmp_path, s3_environment)
        finally:
            halfway.kill()
    result = result_of(survivor)
    assert result == {"fill": len(shards), "after": 0}
    files = sorted(path.name for path in (tmp_path / identity).iterdir())
    assert files == sorted([f"{shard}.tar" for shard in shards] + ["lease"])
