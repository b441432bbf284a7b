"""Everything that a run must remember, held once on the device.

Weights, moving average and AdamW's moments are flat fp32 vectors; saving copies their views out by name and
resuming copies them in, in place. What is not a tensor goes into `progress.json`. No store and no Ray here.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synthray.data.replacement import NONE_BAD, BadSamples
from synthray.training.ledger import Ledger
from synthray.training.parameters import FlatParameters
from synthray.training.precision import LossScale
from synthray.training.settings import OptimizerSettings
from synthray.training.world import World

PARTS = ("weights", "ema", "optimizer")


class TrainingState:
    """Tensors and counters of one run on one device; every worker holds an equal one."""

    def __init__(
        self, module: nn.Module, optimizer: OptimizerSettings, loss_scale: LossScale, ledger: Ledger
    ) -> None:
        device = next(module.parameters()).device
        self.flat = FlatParameters(module, device)
        self.ema = self.flat.values.clone()
        self.first_moment = torch.zeros_like(self.ema)
        self.second_moment = torch.zeros_like(self.ema)
        self.images_seen = 0
        self.step = 0
        self.loss_scale = loss_scale
        self.bad_samples = NONE_BAD
        self.ledger = ledger
        self._leaf = nn.Parameter(self.flat.values)
        self._leaf.grad = self.flat.gradients
        self._optimizer = torch.optim.AdamW(
            [self._leaf],
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.epsilon,
            weight_decay=optimizer.weight_decay,
            fused=True,
        )

    def update(self, learning_rate: float) -> None:
        """One AdamW step (Loshchilov and Hutter, 1711.05101, algorithm 2) with the gradients in `flat`."""
        self._optimizer.param_groups[0]["lr"] = learning_rate
        self._optimizer.state[self._leaf] = {
            "step": torch.tensor(float(self.step), device=self._leaf.device),
            "exp_avg": self.first_moment,
            "exp_avg_sq": self.second_moment,
        }
        self._optimizer.step()
        self.step += 1

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Views of all tensors by part and name, as they are saved."""
        names = list(self.flat.shapes)
        moments = {"exp_avg": self.first_moment, "exp_avg_sq": self.second_moment}
        return {
            "weights": {name: self.flat.view(self.flat.values, name) for name in names},
            "ema": {name: self.flat.view(self.ema, name) for name in names},
            "optimizer": {
                f"{moment}.{name}": self.flat.view(vector, name)
                for moment, vector in moments.items()
                for name in names
            },
        }

    def progress(self) -> dict[str, Any]:
        """What is not a tensor, as JSON."""
        return {
            "images_seen": self.images_seen,
            "step": self.step,
            "loss_scale": asdict(self.loss_scale),
            "bad_samples": self.bad_samples.to_json(),
            "ledger": self.ledger.to_json(),
        }

    def copy_out(self, buffers: Mapping[str, Mapping[str, NDArray[np.float32]]]) -> None:
        """Copy every tensor into the host buffers of the same part and name."""
        for part, tensors in self.tensors().items():
            for name, tensor in tensors.items():
                torch.from_numpy(buffers[part][name]).copy_(tensor)

    def copy_in(self, part: str, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Take over the saved tensors of one part."""
        for name, tensor in self.tensors()[part].items():
            tensor.copy_(torch.from_numpy(arrays[name]))

    def take_progress(self, progress: Mapping[str, Any]) -> None:
        """Take over what is not a tensor."""
        self.images_seen = progress["images_seen"]
        self.step = progress["step"]
        self.loss_scale = LossScale(**progress["loss_scale"])
        self.bad_samples = BadSamples.from_json(progress["bad_samples"])
        self.ledger = Ledger.from_json(progress["ledger"])

    def copy_from_first(self, world: World) -> None:
        """Become the first worker's state, so that only one reads the store."""
        for vector in (self.flat.values, self.ema, self.first_moment, self.second_moment):
            world.copy_from_first(vector)
        progress = world.gather_objects(self.progress() if world.rank == 0 else None)[0]
        assert isinstance(progress, dict)  # noqa: S101 the first worker sent its own progress
        self.take_progress(progress)
