"""Workers that are processes of their own and meet over gloo, as training's workers do on CPUs."""

import multiprocessing
import socket
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from synthray.training.reduction import ExactSum
from synthray.training.world import World, join_world, leave_world

CPU = torch.device("cpu")


def run_processes(num_workers: int, work: Callable[..., None], *arguments: object) -> None:
    """Call `work(world, *arguments)`, a module's function, in each process of a world; none may fail."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_join, args=(rank, num_workers, port, work, arguments), daemon=True)
        for rank in range(num_workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * num_workers


def _join(
    rank: int, num_workers: int, port: int, work: Callable[..., None], arguments: tuple[object, ...]
) -> None:
    torch.set_num_threads(1)
    world: World = join_world(rank, num_workers, init_method=f"tcp://127.0.0.1:{port}", device=CPU)
    work(world, *arguments)
    leave_world(world)


def save_mean(world: World, lengths: list[int], folder: Path) -> None:
    """Write to `folder`/RANK-LENGTH the exact mean of all workers' `random_gradients`, for 7 images."""
    for length in lengths:
        exact = ExactSum(length, CPU, world.size)
        exact.add(random_gradients(world.rank, length), 1.0)
        out = torch.empty(length)
        exact.mean_over_workers(world, out, 7)
        torch.save(out, folder / f"{world.rank}-{length}")


def random_gradients(rank: int, length: int) -> Tensor:
    """What worker `rank` adds."""
    return torch.randn(length, generator=torch.Generator().manual_seed(rank))
