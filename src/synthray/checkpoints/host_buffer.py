"""One copy of the state in host memory, from which another process uploads while training goes on.

A memfd: anonymous memory with a descriptor. A child process maps the same pages, and when the last process
that holds it ends, however it ends, the memory is gone; no name in /dev/shm can be left behind.
"""

import mmap
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthray.checkpoints.layout import FileLayout, TensorSpec, plan_file
from synthray.errors import Reason, RunFailed

Arrays = Mapping[str, NDArray[Any]]


class HostBuffer:
    """Safetensors files of named parts, laid out once; `arrays[part][name]` are views to copy into.

    All pages are allocated and mapped at construction, so that a first save is as quick as the next.
    Raises RunFailed(OUT_OF_MEMORY) where there is no room.
    """

    def __init__(self, specs: Mapping[str, Sequence[TensorSpec]]) -> None:
        layouts = {part: plan_file(tensors) for part, tensors in specs.items()}
        self.regions: dict[str, tuple[int, int]] = {}
        self.size_bytes = 0
        for part, layout in layouts.items():
            self.regions[part] = (self.size_bytes, layout.size_bytes)
            self.size_bytes += -(-layout.size_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self.descriptor = os.memfd_create("synthray-state", os.MFD_CLOEXEC)
        try:
            os.posix_fallocate(self.descriptor, 0, self.size_bytes)
            mapped = mmap.mmap(self.descriptor, self.size_bytes, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        except OSError as error:
            os.close(self.descriptor)
            raise RunFailed(
                f"no room in host memory for a copy of the state ({self.size_bytes / 2**30:.2f} GiB): "
                f"{error.strerror}; raise workers.memory",
                reason=Reason.OUT_OF_MEMORY,
            ) from error
        self.arrays: Mapping[str, Arrays] = {
            part: _lay_out(mapped, self.regions[part][0], layout) for part, layout in layouts.items()
        }

    def close(self) -> None:
        """Let go of the memory; it is freed when the last view and the last process are done with it."""
        self.arrays = {}
        os.close(self.descriptor)


def _lay_out(mapped: mmap.mmap, base: int, layout: FileLayout) -> Arrays:
    mapped[base : base + len(layout.header)] = layout.header
    return {
        tensor.spec.name: np.ndarray(
            tensor.spec.shape, np.dtype(tensor.spec.dtype), buffer=mapped, offset=base + tensor.start
        )
        for tensor in layout.tensors
    }


def view_tensors(data: NDArray[np.uint8], layout: FileLayout) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file in memory, by name, as views of it."""
    return {
        tensor.spec.name: np.ndarray(
            tensor.spec.shape, np.dtype(tensor.spec.dtype), buffer=data.data, offset=tensor.start
        )
        for tensor in layout.tensors
    }
