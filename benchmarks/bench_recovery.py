"""From a fault to the first new step: synthray beside stock Ray Train, in the same run, on the same network.

Faults, each injected several times into runs with two workers: SIGKILL of the process that trains, SIGKILL of
the Ray actor that looks after it, and SIGKILL of everything followed by the same command again. Stock Ray
Train trains within its actor, so it has one kind of worker to kill. Prints JSON: seconds by kind, with their
phases for synthray (until the next attempt is begun, until its workers run, until their first step).

    python benchmarks/bench_recovery.py [--faults 10] [--restarts 3]
"""

import argparse
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

import psutil
from ray_run import Training
from tiny_run import TinyRun, prepare_tiny_dataset, write_tiny_run

PHASES = ("next attempt", "workers run", "first step")
SETTLE_SECONDS = 5.0
DEADLINE_SECONDS = 300.0
STOCK = Path(__file__).with_name("stock_ray_train.py")
Seconds = dict[str, float]


def main() -> int:
    """Inject, wait, inject again; the peer afterwards on the same machine."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=10)
    parser.add_argument("--restarts", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = measure_synthray(folder, options.faults, options.restarts)
        stock = measure_stock(folder / "stock", options.faults, options.restarts)
    result = {
        "benchmark": "recovery",
        "configuration": {
            "workers": 2,
            "cores": os.cpu_count(),
            "machine": platform.platform(),
            "load_average": os.getloadavg()[0],
            "faults": options.faults,
            "restarts": options.restarts,
        },
        "synthray": {kind: summarize(times) for kind, times in ours.items()},
        "stock_ray_train": {kind: summarize(times) for kind, times in stock.items()},
    }
    print(json.dumps(result, indent=2))
    return 0


def summarize(times: list[Seconds]) -> dict[str, Any]:
    """Median and 95th percentile of each phase, in seconds from the fault."""
    return {
        phase: {
            "p50": round(quantiles([one[phase] for one in times], n=2, method="inclusive")[0], 2),
            "p95": round(quantiles([one[phase] for one in times], n=20, method="inclusive")[-1], 2),
        }
        for phase in times[0]
    } | {"times": len(times)}


def measure_synthray(folder: Path, faults: int, restarts: int) -> dict[str, list[Seconds]]:
    """Through `synthray train`, watched by its `/progress`."""
    run = write_tiny_run(folder, "ours", prepare_tiny_dataset(folder / "dataset"), epochs=100_000)
    found: dict[str, list[Seconds]] = {"worker process": [], "Ray actor": [], "everything": []}
    training = start(run)
    try:
        for _ in range(faults):
            found["worker process"].append(watch(training, settle(training), kill_worker_process))
        for _ in range(faults):
            found["Ray actor"].append(watch(training, settle(training), kill_actor))
        for _ in range(restarts):
            attempt = settle(training)
            training.kill_everything()
            began = time.monotonic()
            training = start(run)
            found["everything"].append(wait_phases(training, attempt, began))
    finally:
        training.kill_everything()
    return found


def start(run: TinyRun) -> Training:
    """Two workers through Ray; faults follow each other faster than saves, and none is the run's own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Training(run, "--workers", "2", "--set", "spec.backoffLimit=1000", port=port, environment={})


def settle(training: Training) -> int:
    """Let it train for a while; the attempt that trains."""
    attempt: int = training.wait_for(lambda progress: progress["state"] == "Running")["attempt"]
    time.sleep(SETTLE_SECONDS)
    return attempt


def kill_worker_process(training: Training) -> None:
    """SIGKILL the process that trains rank 1."""
    training.kill_worker(1)


def kill_actor(training: Training) -> None:
    """SIGKILL a Ray Train worker's own process."""
    os.kill(find_actors(training.process.pid)[-1], signal.SIGKILL)


def find_actors(ancestor: int) -> list[int]:
    """The processes of Ray Train's workers below one process."""
    return [
        process.pid
        for process in psutil.Process(ancestor).children(recursive=True)
        if "".join(process.cmdline()).startswith("ray::RayTrainWorker")
    ]


def watch(training: Training, attempt: int, inject: Callable[[Training], None]) -> Seconds:
    """Inject a fault; seconds until each phase is reached."""
    inject(training)
    return wait_phases(training, attempt, time.monotonic())


def wait_phases(training: Training, attempt: int, began: float) -> Seconds:
    """Seconds since `began` until the next attempt, its running workers, and their first step."""
    training.wait_for(lambda progress: progress["attempt"] > attempt)
    seconds = {PHASES[0]: time.monotonic() - began}
    seen = training.wait_for(
        lambda progress: (
            progress["attempt"] > attempt
            and progress["state"] == "Running"
            and progress["workers"]["ready"] == 2
        )
    )["images_seen"]
    seconds[PHASES[1]] = time.monotonic() - began
    training.wait_for(lambda progress: progress["images_seen"] != seen)
    return {**seconds, PHASES[2]: time.monotonic() - began}


def measure_stock(folder: Path, faults: int, restarts: int) -> dict[str, list[Seconds]]:
    """Through stock_ray_train.py, watched by the line that it writes for each step."""
    folder.mkdir()
    steps = folder / "steps.jsonl"
    found: dict[str, list[Seconds]] = {"worker": [], "everything": []}
    process = start_stock(folder)
    try:
        for _ in range(faults):
            wait_for_step(steps, after=0.0, workers=2)
            time.sleep(SETTLE_SECONDS)
            os.kill(find_actors(process.pid)[-1], signal.SIGKILL)
            found["worker"].append(wait_for_first_step(steps, time.time()))
        for _ in range(restarts):
            time.sleep(SETTLE_SECONDS)
            end_tree(process)
            process = start_stock(folder)
            found["everything"].append(wait_for_first_step(steps, time.time()))
    finally:
        end_tree(process)
    return found


def start_stock(folder: Path) -> subprocess.Popen[bytes]:
    """The peer, in a process of its own."""
    with (folder / "log").open("ab") as log:
        return subprocess.Popen([sys.executable, str(STOCK), str(folder)], stdout=log, stderr=log)


def wait_for_first_step(steps: Path, began: float) -> Seconds:
    """Seconds until both workers have taken a step of the time after the fault."""
    known = {line["process_id"] for line in read_steps(steps)}
    wait_for_step(steps, after=began, workers=2, strangers_to=known)
    return {PHASES[2]: time.time() - began}


def wait_for_step(steps: Path, *, after: float, workers: int, strangers_to: set[int] | None = None) -> None:
    """Until so many processes have taken a step; only new ones where the old are named."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        seen = {line["process_id"] for line in read_steps(steps) if line["time"] > after}
        if len(seen - (strangers_to or set())) >= workers:
            return
        time.sleep(0.1)
    raise TimeoutError(f"stock Ray Train took no step within {DEADLINE_SECONDS:.0f} s")


def read_steps(steps: Path) -> list[dict[str, Any]]:
    """The lines written so far; one that is being written is left out."""
    if not steps.exists():
        return []
    return [json.loads(line) for line in steps.read_text().splitlines() if line.endswith("}")]


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a process and all that it started."""
    tree = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for one in tree:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
    psutil.wait_procs(tree, timeout=60)


if __name__ == "__main__":
    sys.exit(main())
