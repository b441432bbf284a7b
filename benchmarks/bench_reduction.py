"""What rounding gradients to multiples of 2^-40 does to training, against fp32 and fp64 sums of them.

The same run trains three times through the real loop, with the exact sum, an fp32 sum and an fp64 sum of
its micro-batches' gradients. In the exact one, each step's gradients are also added in fp32 and fp64: the
share of elements that round to 0, the error of the mean and of AdamW's update. Then one gradient of the large
network: how much of it lies below the resolution. Prints JSON with the configuration.

    python benchmarks/bench_reduction.py [--steps 40]
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synthray.api.architecture import PRESETS, UNetArchitecture
from synthray.api.loading import load_training_run
from synthray.data.phantom import write_phantom_dataset
from synthray.data.prepare import prepare
from synthray.diffusion.fingerprint import fingerprint
from synthray.diffusion.objective import add_noise, loss_per_sample
from synthray.diffusion.schedule import build_schedule
from synthray.diffusion.unet import init_unet
from synthray.storage import S3Settings, open_store
from synthray.telemetry.report import SegmentReport
from synthray.training import step
from synthray.training.loop import run_segment
from synthray.training.preflight import check_run, start_attempt
from synthray.training.reduction import GRADIENT_FRACTION_BITS, ExactSum, GradientSum, StatisticalSum
from synthray.training.resolution import resolve_run
from synthray.training.segment import open_segment
from synthray.training.settings import OptimizerSettings, RunSettings
from synthray.training.world import World, pick_device

CPU = torch.device("cpu")
RESOLUTION = 2.0**-GRADIENT_FRACTION_BITS
RUN = """
apiVersion: synthray.io/v1alpha1
kind: TrainingRun
metadata: {{name: reduction}}
spec:
  dataset: {{uri: {folder}/{size_px}}}
  model: {model}
  optimization: {{epochs: 1000, globalBatchSize: 16, microBatchSize: 4, learningRate: 1.0e-3}}
  checkpoints: {{uri: {folder}/{name}}}
  previews: {{seeds: []}}
"""
TINY = (
    "{preset: demo-64, resolution: 16, blockOutChannels: [8, 8], downBlockTypes: [DownBlock2D, "
    "AttnDownBlock2D], upBlockTypes: [AttnUpBlock2D, UpBlock2D], normNumGroups: 4}"
)
NETWORKS = {"tiny": (TINY, 16), "demo-64": ("{preset: demo-64}", 64)}


class DoubleSum:
    """The yardstick: an fp64 sum, rounded to fp32 once."""

    def __init__(self, num_elements: int) -> None:
        self.total = torch.zeros(num_elements, dtype=torch.float64)
        self.out_of_range = torch.zeros((), dtype=torch.bool)

    def reset(self) -> None:
        """Forget everything added."""
        self.total.zero_()

    def add(self, gradients: Tensor, loss_scale: float) -> None:
        """Add g / loss_scale."""
        self.total.add_(gradients.double(), alpha=1 / loss_scale)

    def mean_over_workers(self, world: World, out: Tensor, num_images: int) -> None:  # noqa: ARG002
        """Write total / num_images."""
        out.copy_(self.total / num_images)


class AdamDirection:
    """AdamW's update divided by the learning rate, of one sequence of gradients, in fp64."""

    def __init__(self, num_elements: int, optimizer: OptimizerSettings) -> None:
        self._optimizer = optimizer
        self._first = torch.zeros(num_elements, dtype=torch.float64)
        self._second = torch.zeros(num_elements, dtype=torch.float64)
        self._steps = 0

    def after(self, gradients: Tensor) -> Tensor:
        """The direction of the next step."""
        beta1, beta2 = self._optimizer.beta1, self._optimizer.beta2
        self._steps += 1
        self._first.lerp_(gradients.double(), 1 - beta1)
        self._second.lerp_(gradients.double().square(), 1 - beta2)
        root = (self._second / (1 - beta2**self._steps)).sqrt()
        return self._first / (1 - beta1**self._steps) / (root + self._optimizer.epsilon)


@dataclass
class Comparison:
    """The exact sum, which trains, and beside it the same gradients in fp32 and fp64."""

    exact: ExactSum
    optimizer: OptimizerSettings
    steps: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        size = len(self.exact.total)
        self._single, self._double = StatisticalSum(size, CPU), DoubleSum(size)
        self._directions = [AdamDirection(size, self.optimizer) for _ in range(3)]
        self._nonzero = self._to_zero = 0

    @property
    def out_of_range(self) -> Tensor:
        """The exact sum's flag."""
        return self.exact.out_of_range

    def reset(self) -> None:
        """Forget everything added."""
        for one in (self.exact, self._single, self._double):
            one.reset()
        self._nonzero = self._to_zero = 0

    def add(self, gradients: Tensor, loss_scale: float) -> None:
        """Add to all three; count what the exact one rounds to nothing."""
        self._single.add(gradients.clone(), loss_scale)
        self._double.add(gradients, loss_scale)
        nonzero = gradients != 0
        self._nonzero += int(nonzero.sum())
        self._to_zero += int((nonzero & (gradients.abs() / loss_scale <= RESOLUTION / 2)).sum())
        self.exact.add(gradients, loss_scale)

    def mean_over_workers(self, world: World, out: Tensor, num_images: int) -> None:
        """The exact mean; the others are compared with the fp64 sum before it is rounded to fp32."""
        self.exact.mean_over_workers(world, out, num_images)
        single = torch.empty_like(out)
        self._single.mean_over_workers(world, single, num_images)
        double = self._double.total / num_images
        updates = [d.after(mean) for d, mean in zip(self._directions, (out, single, double), strict=True)]
        found = {"share_rounded_to_zero": self._to_zero / max(1, self._nonzero)}
        for name, mean, update in (("exact", out, updates[0]), ("fp32", single, updates[1])):
            found[f"{name}_mean_relative_l2_error"] = relative(mean, double)
            found[f"{name}_update_relative_l2_error"] = relative(update, updates[2])
            worst = float((update - updates[2]).abs().max())
            found[f"{name}_update_largest_error_in_learning_rates"] = worst
        self.steps.append(found)


def relative(value: Tensor, reference: Tensor) -> float:
    """L2 norm of the error over that of the reference."""
    return float((value.double() - reference.double()).norm() / reference.double().norm())


class LossCurve:
    """Stops after some steps; keeps each step's loss."""

    def __init__(self, num_steps: int) -> None:
        self._num_steps = num_steps
        self.losses: dict[int, float] = {}

    def stop_requested(self) -> bool:
        """After the last step."""
        return len(self.losses) >= self._num_steps

    def stop_is_patient(self) -> bool:
        """Nothing here waits for storage."""
        return False

    def save_requested(self) -> bool:
        """Never."""
        return False

    def report(self, report: SegmentReport) -> None:
        """Note the loss of the step that ended."""
        if report.figures is not None and report.figures.step > 0:
            self.losses[report.figures.step] = report.figures.loss


def train(
    run: RunSettings, build_sum: Callable[..., GradientSum], num_steps: int
) -> tuple[list[float], Tensor]:
    """The losses of the run's first steps with a sum of one's own, and the weights after them."""
    step.build_gradient_sum = build_sum  # type: ignore[attr-defined]
    attempt = start_attempt(check_run(run, adopt=False), None, images_reached=0, cause=None)
    control = LossCurve(num_steps)
    with open_segment(run, attempt, World(0, 1, pick_device("cpu"))) as segment:
        run_segment(segment, control)
        return list(control.losses.values()), segment.state.flat.values.clone()


def compare(folder: Path, network: str, num_steps: int) -> dict[str, Any]:
    """Three runs of one network, and the errors along the exact one."""
    comparisons: list[Comparison] = []

    def build_comparison(_: str, *sizes: Any) -> GradientSum:
        comparisons.append(Comparison(ExactSum(*sizes), runs["exact"].optimizer))
        return comparisons[-1]

    runs = {name: settle(folder, network, name) for name in ("exact", "fp32", "fp64")}
    builders: dict[str, Callable[..., GradientSum]] = {
        "exact": build_comparison,
        "fp32": lambda _, size, *__: StatisticalSum(size, CPU),
        "fp64": lambda _, size, *__: DoubleSum(size),
    }
    losses, weights = {}, {}
    for name, run in runs.items():
        losses[name], weights[name] = train(run, builders[name], num_steps)
    shown = sorted({0, num_steps // 4, num_steps // 2, num_steps - 1})
    return {
        "parameters_with_padding": len(weights["exact"]),
        "steps": num_steps,
        "by_step": {str(number + 1): comparisons[0].steps[number] for number in shown},
        "losses": {
            str(number + 1): {name: curve[number] for name, curve in losses.items()} for number in shown
        },
        "largest_relative_loss_difference_to_fp64": {
            name: max(abs(a - b) / b for a, b in zip(losses[name], losses["fp64"], strict=True))
            for name in ("exact", "fp32")
        },
        "weights_relative_l2_distance_to_fp64": {
            name: relative(weights[name], weights["fp64"]) for name in ("exact", "fp32")
        },
    }


def settle(folder: Path, network: str, name: str) -> RunSettings:
    """The settings of one of the runs."""
    model, size_px = NETWORKS[network]
    file = folder / f"{network}-{name}.yaml"
    file.write_text(RUN.format(folder=folder, name=f"{network}-{name}", model=model, size_px=size_px))
    return resolve_run(
        load_training_run(file), os.environ, cache_directory=folder / "cache", compute_capability=None
    ).settings


def describe_gradient(architecture: UNetArchitecture, num_images: int) -> dict[str, Any]:
    """Sizes of the elements of one micro-batch's gradient, of untrained weights."""
    torch.manual_seed(0)
    module = init_unet(architecture, seed=0)
    schedule = build_schedule("cosine", architecture.resolution_px, zero_terminal_snr=True)
    shape = (num_images, architecture.channels, architecture.resolution_px, architecture.resolution_px)
    images, noise = torch.rand(shape) * 2 - 1, torch.randn(shape)
    timesteps = torch.linspace(50, 950, num_images).long()
    output = module(add_noise(schedule, images, noise, timesteps), timesteps, return_dict=False)[0]
    losses = loss_per_sample(schedule, "v_prediction", output, images, noise, timesteps, min_snr_gamma=None)
    losses.sum().backward()  # type: ignore[no-untyped-call]
    sizes = torch.cat([parameter.grad.flatten() for parameter in module.parameters()]).abs()
    nonzero = sizes[sizes > 0].double()
    chosen = nonzero[:: max(1, len(nonzero) // 10_000_000)]
    return {
        "parameters": len(sizes),
        "resolution_px": architecture.resolution_px,
        "images": num_images,
        "share_rounded_to_zero": float((nonzero <= RESOLUTION / 2).double().mean()),
        "share_below_adams_epsilon": float((nonzero <= 1e-8).double().mean()),
        "quantiles": {str(q): float(chosen.quantile(q)) for q in (0.001, 0.01, 0.1, 0.5, 0.9, 0.999)},
    }


def prepare_phantoms(folder: Path) -> None:
    """The same phantoms in the sizes that the networks take."""
    raw = open_store(str(folder / "raw"), S3Settings())
    write_phantom_dataset(raw, num_images=160, size_px=200, seed=0, workers=2)
    for _, size_px in NETWORKS.values():
        prepare(raw, open_store(str(folder / str(size_px)), S3Settings()), size_px=size_px, holdout=0.1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    results: dict[str, Mapping[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="synthray-reduction-") as name:
        prepare_phantoms(Path(name))
        for network in NETWORKS:
            results[network] = compare(Path(name), network, options.steps)
    large = replace(PRESETS["unconditional-512"], activation_checkpointing=False)
    results["gradient of unconditional-512's network"] = {
        f"{size_px} px": describe_gradient(replace(large, resolution_px=size_px), num_images=4)
        for size_px in (64, 128)
    }
    configuration = {
        **fingerprint(threads=1, dtype="fp32", device="cpu"),
        "fraction_bits": GRADIENT_FRACTION_BITS,
        "global_batch": 16,
        "micro_batch": 4,
        "learning_rate": 1e-3,
        "cores": os.cpu_count(),
    }
    print(
        json.dumps({"benchmark": "reduction", "configuration": configuration, "results": results}, indent=2)
    )


if __name__ == "__main__":
    main()
