"""What it takes to read a state back and know that it is whole.

One part of a state of unconditional-512's size (113,668,609 parameters in fp32, 455 MB) is read from a real
S3 server or a folder in four ways, in turns: the bytes alone; the bytes, and then their SHA-256; as a resume
reads them, hashed while they come; and as they are verified, where nothing is kept. Printed as JSON.

    python benchmarks/bench_resume.py [--store s3|folder] [--part-bytes 454674436] [--rounds 3]
"""

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from synthray.checkpoints.reading import digest_object, read_hashed
from synthray.storage import EmbeddedS3, ObjectStore, S3Settings, open_store, s3_settings_from_environment

KEY = "part"


def read_alone(store: ObjectStore, size_bytes: int) -> str:
    """The bytes, straight into place."""
    store.read_into(KEY, np.empty(size_bytes, np.uint8).data)
    return ""


def read_then_hash(store: ObjectStore, size_bytes: int) -> str:
    """The bytes, and their digest once all are there."""
    data = np.empty(size_bytes, np.uint8)
    store.read_into(KEY, data.data)
    return hashlib.sha256(data.data).hexdigest()


def read_hashing(store: ObjectStore, size_bytes: int) -> str:
    """As a resume does."""
    return read_hashed(store, KEY, np.empty(size_bytes, np.uint8).data)


def verify(store: ObjectStore, size_bytes: int) -> str:
    """As `synthray checkpoints verify` does, which keeps nothing."""
    return digest_object(store, KEY, size_bytes)


WAYS: Mapping[str, Callable[[ObjectStore, int], str]] = {
    "read_alone": read_alone,
    "read_then_hash": read_then_hash,
    "read_hashing": read_hashing,
    "verify": verify,
}


def main() -> None:
    """Measure and print; `--way` is how this program calls itself, so that each peak of memory is its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=["s3", "folder"], default="s3")
    parser.add_argument("--part-bytes", type=int, default=113_668_609 * 4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--uri")
    options = parser.parse_args()
    if options.way:
        store = open_store(options.uri, s3_settings_from_environment(os.environ))
        print(json.dumps(measure_once(WAYS[options.way], store, options.part_bytes)))
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synthray-resume-")))
        environment: Mapping[str, str] = {}
        uri, settings = str(folder / "resume"), S3Settings()
        if options.store == "s3":
            environment = stack.enter_context(EmbeddedS3(folder, port=0)).environment
            uri, settings = "s3://xray/resume", s3_settings_from_environment(environment)
        data = np.random.default_rng(0).integers(0, 256, options.part_bytes, np.uint8)
        open_store(uri, settings).write(KEY, data.data)
        digest = hashlib.sha256(data.data).hexdigest()
        del data
        print(json.dumps(measure(options, uri, environment, digest), indent=2))


def measure(
    options: argparse.Namespace, uri: str, environment: Mapping[str, str], digest: str
) -> dict[str, Any]:
    """All ways in turns, each in a process of its own."""
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way in WAYS:
            command = [sys.executable, __file__, "--way", way, "--uri", uri]
            command += ["--part-bytes", str(options.part_bytes)]
            done = subprocess.run(
                command, env={**os.environ, **environment}, check=True, capture_output=True, text=True
            )
            answer = json.loads(done.stdout)
            assert answer.pop("digest") in {"", digest}
            found[way].append(answer)
    return {
        "configuration": {
            "store": options.store,
            "part_bytes": options.part_bytes,
            "rounds": options.rounds,
            "cores": os.cpu_count(),
            "machine": platform.platform(),
            "python": platform.python_version(),
        },
        **{
            way: {
                "seconds": {
                    "best": min(one["seconds"] for one in answers),
                    "median": statistics.median(one["seconds"] for one in answers),
                },
                "cpu_seconds": statistics.median(one["cpu_seconds"] for one in answers),
                "memory_over_part": statistics.median(one["memory"] for one in answers),
            }
            for way, answers in found.items()
        },
    }


def measure_once(
    way: Callable[[ObjectStore, int], str], store: ObjectStore, size_bytes: int
) -> dict[str, Any]:
    """Seconds, CPU seconds and the peak of memory of one way, a connection being there already."""
    assert store.stat(KEY) is not None
    before_bytes = peak_bytes()
    started, cpu_started = time.perf_counter(), time.process_time()
    digest = way(store, size_bytes)
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu_started,
        "memory": (peak_bytes() - before_bytes) / size_bytes,
        "digest": digest,
    }


def peak_bytes() -> int:
    """The most memory that this program has held; getrusage would count what its parent held, too."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
