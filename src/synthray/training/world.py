"""The workers that compute one step together, however they were started.

Ray, torchrun and a single process all end here: a rank, a size and a few collective operations. The loop
knows nothing else of its neighbours.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed
from torch import Tensor

T = TypeVar("T")

COLLECTIVE_TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True)
class World:
    """This process among the workers of a segment."""

    rank: int
    size: int
    device: torch.device

    def add_over_workers(self, tensor: Tensor) -> None:
        """Replace `tensor`, on the host or on the device, by its sum over all workers."""
        if self.size > 1:
            on_device = tensor.to(self.device)
            torch.distributed.all_reduce(on_device)
            if on_device is not tensor:
                tensor.copy_(on_device)

    def sum_piece(self, tensor: Tensor, scratch: Tensor) -> Tensor:
        """The sum over all workers of one of `size` equal pieces of an int64 `tensor`: that of this rank.

        The pieces lie in the order of ranks. Each worker sends (size - 1) / size of the tensor. The result
        lies in `scratch`, which is as long as the tensor.
        """
        pieces = scratch.view(self.size, -1)
        if self.device.type == "cuda":
            torch.distributed.reduce_scatter_tensor(pieces[0], tensor)
        else:
            # gloo's reduce_scatter sends all that its all_reduce does (measured), twice as much as this.
            torch.distributed.all_to_all_single(scratch, tensor)
            for other in pieces[1:]:
                pieces[0] += other
        return pieces[0]

    def join_pieces(self, piece: Tensor, joined: Tensor) -> None:
        """Fill `joined` with the `piece` of every worker, in the order of ranks."""
        torch.distributed.all_gather_into_tensor(joined, piece)

    def copy_from_first(self, tensor: Tensor) -> None:
        """Replace `tensor` by the first worker's."""
        if self.size > 1:
            torch.distributed.broadcast(tensor, src=0)

    def gather_objects(self, item: T) -> list[T]:
        """Every worker's `item`, in the order of ranks; for small things and rare moments."""
        if self.size == 1:
            return [item]
        items: list[T] = [item] * self.size
        torch.distributed.all_gather_object(items, item)
        return items


def join_world(rank: int, size: int, *, init_method: str, device: torch.device) -> World:
    """Join `size` workers that meet at `init_method` (tcp://host:port, or env:// under torchrun)."""
    if size > 1:
        torch.distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            init_method=init_method,
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=COLLECTIVE_TIMEOUT_SECONDS),
        )
    return World(rank, size, device)


def join_world_of_torchrun(device: torch.device) -> World:
    """The world that torchrun describes in the environment; alone where there is none."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    return join_world(int(os.environ.get("RANK", "0")), size, init_method="env://", device=device)


def pick_device(kind: str) -> torch.device:
    """The device of this worker: its one visible GPU, or the CPU."""
    return torch.device("cuda", 0) if kind == "cuda" else torch.device("cpu")


def leave_world(world: World) -> None:
    """Release the collective's sockets and threads."""
    if world.size > 1:
        torch.distributed.destroy_process_group()
