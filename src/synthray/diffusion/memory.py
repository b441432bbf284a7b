"""What a network weighs and what its training needs of a device, counted without a device.

One forward and backward pass runs on fake tensors, which have shapes and no content; every storage that comes
and goes is counted. What no tensor shows comes on top on a real GPU: CUDA's context (about 0.5 GiB), the
workspaces of convolutions and the allocator's gaps.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from synthray.api.architecture import UNetArchitecture
from synthray.diffusion.unet import build_unet

# Per parameter: weight, gradient, moving average and AdamW's two moments in float32, and the exact int64 sum.
STATE_BYTES_PER_PARAMETER = 5 * 4 + 8

# CUDA's allocator hands out blocks of this size.
_BLOCK_BYTES = 512


def count_parameters(architecture: UNetArchitecture) -> int:
    """How many numbers the network learns; nothing is allocated."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_unet(architecture).parameters())


def estimate_training_memory_bytes(
    architecture: UNetArchitecture, micro_batch_size: int, precision: str
) -> int:
    """Device memory at the peak of a training step: the state and one micro-batch's activations.

    `precision` is fp32, fp16 or bf16; half precisions are counted as autocast does them on a GPU. The
    architecture says whether activations are recomputed.
    """
    half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision)
    shape = (micro_batch_size, architecture.channels, architecture.resolution_px, architecture.resolution_px)
    memory = _PeakMemory()
    with FakeTensorMode():
        unet = build_unet(architecture)
        _prepare(unet, in_half=half is not None)
        with memory:
            images, noisy = torch.empty(shape), torch.empty(shape)
            timesteps = torch.zeros(micro_batch_size, dtype=torch.int64)
            with torch.autocast("cpu", dtype=half, enabled=half is not None):
                output = unet(noisy, timesteps, return_dict=False)[0]
            (output.float() - images).square().flatten(1).mean(1).sum().backward()
    return memory.peak_bytes + STATE_BYTES_PER_PARAMETER * count_parameters(architecture)


def _prepare(unet: nn.Module, *, in_half: bool) -> None:
    """Give each parameter its gradient beforehand, as part of the state, and autocast its habits on a GPU.

    There GroupNorm computes and answers in float32; the CPU's autocast, which runs here, leaves it in half.
    """
    for parameter in unet.parameters():
        parameter.grad = torch.empty_like(parameter)
    if in_half:
        for module in unet.modules():
            if isinstance(module, nn.GroupNorm):
                module.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))


class _PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The most bytes that tensors made inside held at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak_bytes = 0
        self._live_bytes = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        num_bytes = -(-storage.nbytes() // _BLOCK_BYTES) * _BLOCK_BYTES
        self._known.add(storage)
        weakref.finalize(storage, self._forget, num_bytes)
        self._live_bytes += num_bytes
        self.peak_bytes = max(self.peak_bytes, self._live_bytes)

    def _forget(self, num_bytes: int) -> None:
        self._live_bytes -= num_bytes
