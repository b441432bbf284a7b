"""What exactness costs on the wire and in a step: against statistical, against torch's DDP, in the same run.

Worlds of 1, 2 and 4 processes over gloo on the loopback. First the exchange alone, of vectors as long as
three networks: an fp32 all_reduce (statistical, and what DDP moves), an int64 all_reduce, and the pieces that
exact uses. Then whole steps of small networks. Bytes are those that the kernel counts on this process's
sockets. Loopback times say little of a network, so a model of 10 and 100 Gbit/s follows. Prints JSON.

    python benchmarks/bench_reduction_network.py [--rounds 5] [--workers 1 2 4]
"""

import argparse
import itertools
import json
import multiprocessing
import os
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch.nn.parallel import DistributedDataParallel

from synthray.api.architecture import DEMO_64, UNetArchitecture
from synthray.api.loading import load_training_run
from synthray.diffusion.fingerprint import fingerprint
from synthray.diffusion.objective import add_noise, loss_per_sample
from synthray.diffusion.schedule import build_schedule
from synthray.diffusion.unet import init_unet
from synthray.training.batches import TrainingBatch
from synthray.training.ledger import Ledger
from synthray.training.plan import BatchPlan, plan_share
from synthray.training.precision import LossScale
from synthray.training.reduction import ExactSum, StatisticalSum
from synthray.training.resolution import resolve_run
from synthray.training.settings import RunSettings
from synthray.training.state import TrainingState
from synthray.training.step import StepEngine, configure_determinism
from synthray.training.world import World, join_world, leave_world

CPU = torch.device("cpu")
TINY = replace(
    DEMO_64,
    resolution_px=16,
    block_out_channels=(8, 8),
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    norm_num_groups=4,
)
NETWORKS = {"tiny": TINY, "demo-64": DEMO_64}
LENGTHS = {"tiny": 20_000, "demo-64": 1_100_000, "unconditional-512": 113_668_609}
NUM_MICRO_BATCHES, MICRO_BATCH_SIZE = 8, 2
RUN = """
apiVersion: synthray.io/v1alpha1
kind: TrainingRun
metadata: {name: network}
spec:
  dataset: {uri: /nowhere/data}
  model: {preset: demo-64}
  optimization: {epochs: 1, globalBatchSize: 16, microBatchSize: 2}
  checkpoints: {uri: /nowhere/run}
"""
_CARD_IMAGES_PER_SECOND = 6.0
"""Of 512 px, half precision: a model of the Quadro RTX 6000, with micro-batches of 4."""
_TCP_INFO_BYTES_SENT = 200
"""Offset of tcpi_bytes_sent in Linux's struct tcp_info."""


def sent_bytes() -> int:
    """What this process's TCP connections have sent, as the kernel counts."""
    total = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if not str(entry.readlink()).startswith("socket:"):
                continue
            connection = socket.socket(fileno=os.dup(int(entry.name)))
        except OSError:
            continue  # closed meanwhile
        with connection:
            if connection.type == socket.SOCK_STREAM and connection.family != socket.AF_UNIX:
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                total += struct.unpack_from("Q", info, _TCP_INFO_BYTES_SENT)[0]
    return total


def measure(actions: dict[str, Callable[[], object]], world: World, rounds: int) -> dict[str, Any]:
    """Median seconds, CPU seconds of this process and bytes sent of each action, taken in turns."""
    samples: dict[str, list[tuple[float, float, int]]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            world.gather_objects(None)
            before = time.perf_counter(), time.process_time(), sent_bytes()
            action()
            after = time.perf_counter(), time.process_time(), sent_bytes()
            if number > 0:  # the first opens connections and touches memory
                samples[name].append(tuple(b - a for a, b in zip(before, after, strict=True)))  # type: ignore[arg-type]
    return {
        name: {
            "seconds": statistics.median(one[0] for one in taken),
            "cpu_seconds": statistics.median(one[1] for one in taken),
            "bytes_sent": statistics.median(one[2] for one in taken),
        }
        for name, taken in samples.items()
    }


def exchanges(world: World, length: int) -> dict[str, Callable[[], object]]:
    """Ways to add one flat gradient over all workers."""
    out = torch.zeros(length)
    exact = ExactSum(length, CPU, 16)
    statistical = StatisticalSum(length, CPU)

    def all_reduce_int64() -> None:
        world.add_over_workers(exact.total)
        out.copy_(exact.total[:length]).mul_(2.0**-40).div_(16)

    return {
        "fp32 all_reduce (statistical)": lambda: statistical.mean_over_workers(world, out, 16),
        "int64 all_reduce": all_reduce_int64,
        "int64 pieces, fp32 pieces (exact)": lambda: exact.mean_over_workers(world, out, 16),
    }


def make_batches(architecture: UNetArchitecture, indices: range) -> list[TrainingBatch]:
    """Random micro-batches; how they look changes no time."""
    shape = (MICRO_BATCH_SIZE, 1, architecture.resolution_px, architecture.resolution_px)
    return [
        TrainingBatch(
            torch.rand(shape) * 2 - 1,
            torch.randn(shape),
            torch.randint(0, 1000, (MICRO_BATCH_SIZE,)),
            torch.ones(MICRO_BATCH_SIZE),
            tuple(range(index * MICRO_BATCH_SIZE, (index + 1) * MICRO_BATCH_SIZE)),
            (),
        )
        for index in indices
    ]


def engine_step(
    world: World, settings: RunSettings, architecture: UNetArchitecture, reduction: str
) -> Callable[[], object]:
    """A whole step of synthray's."""
    module = init_unet(architecture, seed=0).train()
    settings = replace(settings, reduction=reduction, architecture=architecture)
    engine = StepEngine(
        module=module,
        state=TrainingState(module, settings.optimizer, LossScale(), Ledger(0.0, 0.0)),
        schedule=build_schedule("cosine", architecture.resolution_px, zero_terminal_snr=True),
        settings=settings,
        plan=BatchPlan(10**9, 1, NUM_MICRO_BATCHES * MICRO_BATCH_SIZE, MICRO_BATCH_SIZE),
        world=world,
    )
    batches = make_batches(architecture, plan_share(NUM_MICRO_BATCHES, world.size, world.rank))
    return lambda: engine.run(batches)


def ddp_step(world: World, settings: RunSettings, architecture: UNetArchitecture) -> Callable[[], object]:
    """The same step as others write it: DDP, no_sync on all micro-batches but the last, fused AdamW, EMA."""
    module = init_unet(architecture, seed=0).train()
    model = DistributedDataParallel(module, gradient_as_bucket_view=True) if world.size > 1 else module
    parameters = list(module.parameters())
    average = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    schedule = build_schedule("cosine", architecture.resolution_px, zero_terminal_snr=True)
    batches = make_batches(architecture, plan_share(NUM_MICRO_BATCHES, world.size, world.rank))

    def run() -> float:
        optimizer.zero_grad(set_to_none=False)
        total = 0.0
        for index, batch in enumerate(batches):
            last = index == len(batches) - 1
            alone = isinstance(model, DistributedDataParallel) and not last
            with model.no_sync() if alone else nullcontext():
                noisy = add_noise(schedule, batch.images, batch.noise, batch.timesteps)
                output = model(noisy, batch.timesteps, return_dict=False)[0]
                losses = loss_per_sample(
                    schedule,
                    "v_prediction",
                    output,
                    batch.images,
                    batch.noise,
                    batch.timesteps,
                    min_snr_gamma=None,
                )
                (losses.mean() / len(batches)).backward()  # type: ignore[no-untyped-call]
                total += float(losses.detach().sum())
        torch.nn.utils.clip_grad_norm_(parameters, settings.optimizer.gradient_clip_norm)
        optimizer.step()
        torch._foreach_lerp_(average, [parameter.detach() for parameter in parameters], 0.001)
        return total

    return run


def work(rank: int, size: int, port: int, rounds: int, file: Path) -> None:
    """One process of a world; the first writes what it measured."""
    configure_determinism(CPU, 1)
    world = join_world(rank, size, init_method=f"tcp://127.0.0.1:{port}", device=CPU)
    settings = resolve_run(
        load_training_run(file), {}, cache_directory=file.parent, compute_capability=None
    ).settings
    found: dict[str, Any] = {"exchange": {}, "step": {}}
    for name, length in LENGTHS.items() if size > 1 else ():
        few = max(2, rounds // 2) if length > 10**7 else rounds
        found["exchange"][name] = measure(exchanges(world, length), world, few)
    for name, architecture in NETWORKS.items():
        steps = {
            "exact": engine_step(world, settings, architecture, "exact"),
            "statistical": engine_step(world, settings, architecture, "statistical"),
            "ddp": ddp_step(world, settings, architecture),
        }
        found["step"][name] = measure(steps, world, rounds)
    if rank == 0:
        file.with_suffix(f".{size}.json").write_text(json.dumps(found))
    leave_world(world)


def run_world(size: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Measure in a world of `size` processes."""
    file = folder / "run.yaml"
    file.write_text(RUN)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(rank, size, port, rounds, file)) for rank in range(size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found: dict[str, Any] = json.loads(file.with_suffix(f".{size}.json").read_text())
    return found


def model_network(parameters: int) -> Iterator[dict[str, float]]:
    """Seconds of one exchange if the network's rate alone counted, and what they are in a step of 64 images.

    All workers send and receive at once: 2 (W - 1) / W of the vector in a ring's all_reduce, (W - 1) / W once
    in int64 and once in fp32 for pieces. Overlap could hide one backward pass, two thirds of a micro-batch.
    """
    for gigabits, workers in itertools.product((10, 100), (2, 4, 8)):
        sent_share, bytes_per_second = (workers - 1) / workers, gigabits * 1e9 / 8
        exact = sent_share * 12 * parameters / bytes_per_second
        step = exact + 64 / workers / _CARD_IMAGES_PER_SECOND
        yield {
            "gigabits_per_second": gigabits,
            "workers": workers,
            "fp32_all_reduce_seconds": sent_share * 8 * parameters / bytes_per_second,
            "int64_all_reduce_seconds": sent_share * 16 * parameters / bytes_per_second,
            "exact_seconds": exact,
            "exact_share_of_step": exact / step,
            "overlap_saves_at_most": min(exact, 4 / _CARD_IMAGES_PER_SECOND * 2 / 3) / step,
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="synthray-network-") as name:
        measured = {str(size): run_world(size, options.rounds, Path(name)) for size in options.workers}
    configuration = {
        **fingerprint(threads=1, dtype="fp32", device="cpu"),
        "backend": "gloo on loopback",
        "cores": os.cpu_count(),
        "global_batch": NUM_MICRO_BATCHES * MICRO_BATCH_SIZE,
        "micro_batch": MICRO_BATCH_SIZE,
        "rounds": options.rounds,
    }
    result = {
        "benchmark": "reduction_network",
        "configuration": configuration,
        "by_workers": measured,
        "model_of_113668609_parameters": list(model_network(LENGTHS["unconditional-512"])),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
