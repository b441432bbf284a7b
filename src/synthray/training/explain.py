"""What a run needs and costs, before it starts: pure arithmetic over its spec and its network's size.

`measure_network` is the one part that imports torch; it runs on fake tensors, so that no GPU is needed.
Nothing here looks at a cluster, a store or a clock.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from synthray.api.architecture import UNetArchitecture
from synthray.api.v1alpha1 import TrainingRun, TrainingRunSpec, resolve_architecture
from synthray.training.plan import BatchPlan
from synthray.training.precision import Precision
from synthray.training.save_interval import daly_interval, lost_ratio, young_interval

_FP32_BYTES = 4
_EXACT_SUM_BYTES = 8
# What docs/benchmarks/saving.md measured: 1.82 GB in 0.194 s.
_COPIED_BYTES_PER_SECOND = 9.4e9
FAULT_SECONDS = (600.0, 1800.0, 6 * 3600.0, 24 * 3600.0)
"""Rates of faults, from a bad day on cheap nodes to a good cluster: every 10 min, 30 min, 6 h, 1 day."""
# A state holds weights, moving average, and AdamW's two moments.
_STATE_TENSORS = 4


@dataclass(frozen=True)
class NetworkSize:
    """A network's parameters, and the device memory of one training step at its peak."""

    parameters: int
    device_memory_bytes: int


@dataclass(frozen=True)
class DatasetCost:
    """What depends on the dataset: `seconds` and `seconds_per_epoch` need a throughput."""

    train_images: int
    images_total: int
    steps: int
    steps_per_epoch: float
    seconds: float | None
    seconds_per_epoch: float | None


@dataclass(frozen=True)
class SaveInterval:
    """How often to save if a fault comes every `fault_seconds`, and the share of time lost.

    `lost_ratio` is with Daly's interval, `lost_ratio_of_run` with the run's maxWorkAtRiskSeconds.
    """

    fault_seconds: float
    young_seconds: float
    daly_seconds: float
    lost_ratio: float
    lost_ratio_of_run: float


@dataclass(frozen=True)
class RunCost:
    """Everything that `synthray explain` says of a run.

    `save_seconds` is how long training stops for a save, given or estimated from its size;
    `reduced_bytes_per_step` is what each worker sends in a ring all-reduce among `workers`;
    `checkpoint_bytes` is what lies under the run's prefix at its end, at most, without previews.
    """

    run: str
    resolution_px: int
    channels: int
    parameters: int
    precision: Precision
    device: Literal["GPU", "CPU"]
    micro_batch_size: int
    global_batch_size: int
    device_memory_bytes: int
    host_buffer_bytes: int
    workers: int
    max_workers: int
    gradient_bytes: int
    reduced_bytes_per_step: int
    epochs: int
    model_bytes: int
    models_kept: int
    state_bytes: int
    states_kept: int
    checkpoint_bytes: int
    save_seconds: float
    max_work_at_risk_seconds: float
    save_intervals: tuple[SaveInterval, ...]
    dataset: DatasetCost | None


def measure_network(
    architecture: UNetArchitecture, micro_batch_size: int, precision: Precision
) -> NetworkSize:
    """Count a network on fake tensors; takes seconds, most of them for importing torch."""
    from synthray.diffusion import memory  # noqa: PLC0415 torch takes seconds, and the rest needs none

    return NetworkSize(
        parameters=memory.count_parameters(architecture),
        device_memory_bytes=memory.estimate_training_memory_bytes(architecture, micro_batch_size, precision),
    )


def expect_precision(spec: TrainingRunSpec) -> Precision:
    """The precision that a run will most likely use: `auto` is 16 bits wide on any card, fp32 on a CPU.

    fp16 stands for bf16 too, which `auto` takes on newer cards: they need the same memory.
    """
    if spec.optimization.precision != "auto":
        return spec.optimization.precision
    return "fp32" if spec.workers.gpu is None else "fp16"


def plan_cost(
    run: TrainingRun,
    size: NetworkSize,
    *,
    train_images: int | None = None,
    images_per_second: float | None = None,
    save_seconds: float | None = None,
) -> RunCost:
    """What the run costs, with a network of this size, over `train_images` at that speed, if known.

    `save_seconds` is the measured stop for a save. Raises InvalidInput if `train_images` is 0.
    """
    spec = run.spec
    optimization, keep = spec.optimization, spec.checkpoints.keep
    architecture = resolve_architecture(spec.model)
    model_bytes = size.parameters * _FP32_BYTES
    state_bytes = model_bytes * _STATE_TENSORS
    models_kept = _models_kept(optimization.epochs, keep.models_every_nth_epoch, keep.best)
    gradient_bytes = size.parameters * (_EXACT_SUM_BYTES if spec.reduction == "exact" else _FP32_BYTES)
    num_workers = spec.workers.replicas
    save_seconds = save_seconds or state_bytes / _COPIED_BYTES_PER_SECOND
    at_risk_seconds = spec.checkpoints.max_work_at_risk_seconds
    return RunCost(
        run=run.metadata.name,
        resolution_px=architecture.resolution_px,
        channels=architecture.channels,
        parameters=size.parameters,
        precision=expect_precision(spec),
        device="CPU" if spec.workers.gpu is None else "GPU",
        micro_batch_size=optimization.micro_batch_size,
        global_batch_size=optimization.global_batch_size,
        device_memory_bytes=size.device_memory_bytes,
        host_buffer_bytes=state_bytes,
        workers=num_workers,
        max_workers=spec.max_workers,
        gradient_bytes=gradient_bytes,
        reduced_bytes_per_step=2 * (num_workers - 1) * gradient_bytes // num_workers,
        epochs=optimization.epochs,
        model_bytes=model_bytes,
        models_kept=models_kept,
        state_bytes=state_bytes,
        states_kept=keep.states,
        checkpoint_bytes=models_kept * model_bytes + keep.states * state_bytes,
        save_seconds=save_seconds,
        max_work_at_risk_seconds=at_risk_seconds,
        save_intervals=tuple(
            plan_save_interval(fault_seconds, save_seconds, at_risk_seconds)
            for fault_seconds in FAULT_SECONDS
        ),
        dataset=None if train_images is None else _plan_dataset_cost(spec, train_images, images_per_second),
    )


def plan_save_interval(
    fault_seconds: float, save_seconds: float, max_work_at_risk_seconds: float
) -> SaveInterval:
    """The best interval at one rate of faults, beside the run's own."""
    daly_seconds = daly_interval(save_seconds, fault_seconds)
    return SaveInterval(
        fault_seconds=fault_seconds,
        young_seconds=young_interval(save_seconds, fault_seconds),
        daly_seconds=daly_seconds,
        lost_ratio=lost_ratio(daly_seconds, save_seconds, fault_seconds),
        lost_ratio_of_run=lost_ratio(max_work_at_risk_seconds, save_seconds, fault_seconds),
    )


def _models_kept(epochs: int, every_nth: int, best: int) -> int:
    """At most: those of every n-th epoch, the best and the newest; there are no more than epochs."""
    return min(epochs, epochs // every_nth + best + 1)


def _plan_dataset_cost(
    spec: TrainingRunSpec, train_images: int, images_per_second: float | None
) -> DatasetCost:
    optimization = spec.optimization
    plan = BatchPlan(
        num_samples=train_images,
        epochs=optimization.epochs,
        global_batch_size=optimization.global_batch_size,
        micro_batch_size=optimization.micro_batch_size,
    )
    return DatasetCost(
        train_images=train_images,
        images_total=plan.images_total,
        steps=plan.num_steps,
        steps_per_epoch=train_images / optimization.global_batch_size,
        seconds=plan.images_total / images_per_second if images_per_second else None,
        seconds_per_epoch=train_images / images_per_second if images_per_second else None,
    )


def build_cost_document(cost: RunCost) -> dict[str, Any]:
    """The document of `synthray explain --json`."""
    return asdict(cost)


def describe_cost(cost: RunCost) -> dict[str, str]:
    """The same for people: a sentence for each label, in the order of a run's life."""
    return {
        **_describe_network(cost),
        **_describe_traffic(cost),
        **_describe_saves(cost),
        **_describe_length(cost),
    }


def _describe_network(cost: RunCost) -> dict[str, str]:
    size = f"{cost.resolution_px}x{cost.resolution_px} pixels"
    channels = "1 channel" if cost.channels == 1 else f"{cost.channels} channels"
    on_top = " and CUDA's own 0.5 GiB or so" if cost.device == "GPU" else ""
    way = f"{cost.precision}, micro-batches of {cost.micro_batch_size}"
    return {
        "network": f"{cost.parameters / 1e6:,.2f} M parameters, {size}, {channels}",
        f"{cost.device} memory": f"{cost.device_memory_bytes / 2**30:.1f} GiB a worker{on_top} ({way})",
        "save buffer": f"{cost.host_buffer_bytes / 2**30:.1f} GiB of host memory on the worker that saves",
    }


def _describe_traffic(cost: RunCost) -> dict[str, str]:
    models = f"{cost.models_kept} models of {_gigabytes(cost.model_bytes)}"
    states = f"{cost.states_kept} states of {_gigabytes(cost.state_bytes)}"
    sent = f"with {cost.workers} workers each sends {_gigabytes(cost.reduced_bytes_per_step)}"
    return {
        "workers": f"{cost.workers}, at most {cost.max_workers}",
        "reduction": f"{_gigabytes(cost.gradient_bytes)} of gradients a step; {sent}",
        "checkpoints": f"{_gigabytes(cost.checkpoint_bytes)} at the end, at most: {models}, {states}",
    }


def _describe_saves(cost: RunCost) -> dict[str, str]:
    own = describe_duration(cost.max_work_at_risk_seconds)
    lines = {
        "saves": f"each stops training for {cost.save_seconds:.2g} s; at least every {own} "
        "(maxWorkAtRiskSeconds), no faster than uploads end"
    }
    for interval in cost.save_intervals:
        best = f"{describe_duration(interval.daly_seconds)} (Daly; Young {interval.young_seconds:.0f} s)"
        lines[f"fault per {describe_duration(interval.fault_seconds)}"] = (
            f"best every {best}: {interval.lost_ratio:.1%} of the time lost to saves and work done twice; "
            f"every {own}: {interval.lost_ratio_of_run:.1%}"
        )
    return lines


def _describe_length(cost: RunCost) -> dict[str, str]:
    dataset = cost.dataset
    if dataset is None:
        return {"steps": "unknown without the dataset: give the number of training images"}
    epochs = f"{cost.epochs:,} epochs of {dataset.train_images:,} images"
    steps = f"{dataset.steps:,} of {cost.global_batch_size} images: {epochs}"
    if dataset.seconds is None or dataset.seconds_per_epoch is None:
        time = "unknown without a throughput: give images per second, all workers together"
    else:
        epoch = describe_duration(dataset.seconds_per_epoch)
        time = f"{describe_duration(dataset.seconds)}, {epoch} an epoch"
    return {"steps": steps, "time": time}


def describe_duration(seconds: float) -> str:
    """Two units of a duration: `3 d 4 h`, `12 min 5 s`."""
    rest = round(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e8 else f"{count / 1e6:,.2f} MB"
