"""How long a save stops training, and how much host memory it takes beside the state.

A state of unconditional-512's size (weights, moving average, two moments: 1.8 GB) is saved several times to
a real S3 server or a folder. Printed as JSON: the pause in which training stands still, against plain copies
of the same tensors, in turns, into memory that is already there (target: at most 1.2x), and the peak of
memory that trainer and uploader hold together beyond what they held before (target: at most 1.1x the state).

    python benchmarks/bench_save.py [--store s3|folder] [--parameters 113668609] [--saves 3]
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from synthray.checkpoints.attempts import begin_attempt
from synthray.checkpoints.layout import TensorSpec
from synthray.checkpoints.requests import RetentionPolicy, RunContext, SaveRequest
from synthray.checkpoints.saver import Saver, SaveResult
from synthray.checkpoints.store import CheckpointStore
from synthray.storage import EmbeddedS3, ObjectStore, S3Settings, open_store, s3_settings_from_environment

State = Mapping[str, Mapping[str, NDArray[np.float32]]]

LARGEST_TENSOR = 1024 * 1024 * 3 * 3
COPIES_PER_SAVE = 3
MODEL_FILES = {"model_index.json": "{}", "unet/config.json": "{}", "scheduler/scheduler_config.json": "{}"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=["s3", "folder"], default="s3")
    parser.add_argument("--parameters", type=int, default=113_668_609)
    parser.add_argument("--saves", type=int, default=3)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synthray-save-")))
        if options.store == "s3":
            server = stack.enter_context(EmbeddedS3(folder, port=0))
            settings = s3_settings_from_environment(server.environment)
            store = open_store("s3://xray/save", settings)
        else:
            settings = S3Settings()
            store = open_store(str(folder / "save"), settings)
        print(json.dumps(measure(store, settings, options.parameters, options.saves), indent=2))


def measure(store: ObjectStore, settings: S3Settings, parameters: int, saves: int) -> dict[str, Any]:
    """All figures, with the configuration that they hold for."""
    state = make_state(parameters)
    state_bytes = sum(array.nbytes for arrays in state.values() for array in arrays.values())
    plain_copy = {part: {name: a.copy() for name, a in arrays.items()} for part, arrays in state.items()}
    before_bytes = held_bytes()
    saver = make_saver(store, settings, state)
    copy_seconds, pauses, results, peak_bytes = [], [], [], 0
    for number in range(saves):
        copy_seconds += [time_once(lambda: copy_state(state, plain_copy)) for _ in range(COPIES_PER_SAVE)]
        pauses.append(save(saver, state, images_seen=1 + number))
        result, highest_bytes = watch_memory(saver.wait)
        results.append(check(result))
        peak_bytes = max(peak_bytes, highest_bytes)
    saver.close()
    best_copy, best_pause = min(copy_seconds), min(pauses)
    return {
        "configuration": {
            "store": store.uri.partition(":")[0] if ":" in store.uri else "folder",
            "parameters": parameters,
            "state_bytes": state_bytes,
            "tensors": sum(len(arrays) for arrays in state.values()),
            "saves": saves,
            "cores": os.cpu_count(),
            "machine": platform.platform(),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
        "memory_copy_seconds": {"best": best_copy, "median": statistics.median(copy_seconds)},
        "training_stopped_seconds": {"best": best_pause, "median": statistics.median(pauses), "all": pauses},
        "stopped_over_copy": {
            "best": best_pause / best_copy,
            "median": statistics.median(pauses) / statistics.median(copy_seconds),
            "target": 1.2,
        },
        "peak_extra_host_memory": {
            "bytes": peak_bytes - before_bytes,
            "over_state": (peak_bytes - before_bytes) / state_bytes,
            "target": 1.1,
        },
        "beside_training_seconds": [
            {name: value for name, value in asdict(result).items() if name.endswith("_seconds")}
            for result in results
        ],
        "newest_good_state": check_newest(store, saves),
    }


def make_state(parameters: int) -> State:
    """Tensors like a UNet's: many small ones, most bytes in few large ones."""
    shapes: dict[str, tuple[int, ...]] = {}
    left = parameters
    while left:
        size = min(left, max(1, LARGEST_TENSOR >> (3 * (len(shapes) % 5))))
        shapes[f"block.{len(shapes):04d}.weight"] = (size,)
        left -= size
    moments = {
        f"{moment}/{name}": shape for moment in ("exp_avg", "exp_avg_sq") for name, shape in shapes.items()
    }
    parts = {"weights": shapes, "ema": shapes, "optimizer": moments}
    return {
        part: {name: np.full(shape, 0.5, np.float32) for name, shape in tensors.items()}
        for part, tensors in parts.items()
    }


def copy_state(source: State, target: Mapping[str, Mapping[str, NDArray[Any]]]) -> None:
    """What the trainer does while it stands still."""
    for part, arrays in source.items():
        for name, array in arrays.items():
            np.copyto(target[part][name], array)


def time_once(action: Callable[[], object]) -> float:
    """Seconds that `action` takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def make_saver(store: ObjectStore, settings: S3Settings, state: State) -> Saver:
    """A saver whose uploader is ready."""
    record = begin_attempt(store, "benchmark", None)
    context = RunContext(
        run="benchmark",
        attempt=record.number,
        nonce=record.nonce,
        resumes_from=None,
        rng_key="0",
        config_digest="0" * 64,
        config={},
        dataset_digest="0" * 64,
        fingerprint={},
        model_files=MODEL_FILES,
        retention=RetentionPolicy(states=1, models_every_nth_epoch=1000, best=0),
    )
    specs = {
        part: [TensorSpec(name, array.dtype.name, array.shape) for name, array in arrays.items()]
        for part, arrays in state.items()
    }
    return Saver(specs, store_uri=store.uri, settings=settings, context=context)


def save(saver: Saver, state: State, *, images_seen: int) -> float:
    """Seconds for which training stands still for one save."""
    request = SaveRequest(
        images_seen=images_seen, step=images_seen, epoch=1, write_model=True, progress={}, ledger={}
    )

    def stop_training() -> None:
        saver.begin(None)
        copy_state(state, saver.buffers)
        saver.commit(request)

    return time_once(stop_training)


def watch_memory(action: Callable[[], SaveResult | None]) -> tuple[SaveResult | None, int]:
    """The action's result and the most bytes held meanwhile."""
    done, peaks = threading.Event(), [held_bytes()]

    def watch() -> None:
        while not done.wait(0.05):
            peaks.append(held_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        return action(), max(peaks)
    finally:
        done.set()
        thread.join()


def held_bytes() -> int:
    """Memory of this process and its uploader, shared pages counted once."""
    me = psutil.Process()
    uploaders = [one for one in me.children() if "synthray.checkpoints.uploader" in one.cmdline()]
    return sum(int(process.memory_full_info().pss) for process in [me, *uploaders])


def check(result: SaveResult | None) -> SaveResult:
    """A failed save would be a wrong figure."""
    assert result is not None
    if result.error is not None:
        raise result.error
    assert not result.retention_problem, result.retention_problem
    return result


def check_newest(store: ObjectStore, images_seen: int) -> str:
    """What was saved last is what a resume would find."""
    point = CheckpointStore(store).newest_good_state()
    assert point.manifest is not None
    assert point.bad == ()
    assert point.manifest.images_seen == images_seen
    return str(point.manifest.name)


if __name__ == "__main__":
    main()
