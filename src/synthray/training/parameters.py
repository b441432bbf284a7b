"""The model's parameters as one flat fp32 vector.

One vector instead of hundreds of tensors makes the exact sum, the clipping, AdamW and the moving average a
handful of operations each, whose order is the same on every machine. The module keeps its own tensors; they
are views of the vector.
"""

import torch
from torch import Tensor, nn

_ALIGNMENT_ELEMENTS = 16
"""Each tensor starts at a multiple of 64 bytes, as convolutions and vector units want it."""


class FlatParameters:
    """Vectors `values` and `gradients` of which the module's parameters and their `.grad` are views."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self._parameters = dict(module.named_parameters())
        self._offsets: dict[str, int] = {}
        size = 0
        for name, parameter in self._parameters.items():
            self._offsets[name] = size
            size += -(-parameter.numel() // _ALIGNMENT_ELEMENTS) * _ALIGNMENT_ELEMENTS
        self.values = torch.zeros(size, dtype=torch.float32, device=device)
        self.gradients = torch.zeros(size, dtype=torch.float32, device=device)
        for name, parameter in self._parameters.items():
            self.view(self.values, name).copy_(parameter.data)
        self.show(self.values)
        for name, parameter in self._parameters.items():
            parameter.grad = self.view(self.gradients, name)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each parameter, in the module's order."""
        return {name: tuple(parameter.shape) for name, parameter in self._parameters.items()}

    def view(self, vector: Tensor, name: str) -> Tensor:
        """The part of a flat `vector` that belongs to parameter `name`, in its shape."""
        parameter, offset = self._parameters[name], self._offsets[name]
        return vector[offset : offset + parameter.numel()].view(parameter.shape)

    def show(self, vector: Tensor) -> None:
        """Let the module compute with `vector` (the values, or their moving average) without copying it."""
        for name, parameter in self._parameters.items():
            parameter.data = self.view(vector, name)
