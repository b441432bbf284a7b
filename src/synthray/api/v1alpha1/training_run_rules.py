"""Rules between the fields of a TrainingRun: pure, each a sentence with field, value and remedy."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from synthray.api.architecture import UNetArchitecture
from synthray.api.v1alpha1.model import resolve_architecture

if TYPE_CHECKING:
    from synthray.api.v1alpha1.training_run import TrainingRunSpec

_OPTIMIZATION = "spec.optimization"
_WORKERS = "spec.workers"
_MODEL = "spec.model"


def find_broken_rules(spec: "TrainingRunSpec") -> list[str]:
    """A message for each broken rule, empty if all hold."""
    return [
        *_architecture_rules(resolve_architecture(spec.model)),
        *_diffusion_rules(spec),
        *_batch_rules(spec),
        *_learning_rate_rules(spec),
        *_worker_rules(spec),
        *_storage_rules(spec),
        *_preview_rules(spec),
    ]


def neighbours(value: int, multiple: int) -> str:
    """The nearest multiples below and above, as the end of a remedy: `480 or 512`."""
    below = value // multiple * multiple
    return f"{below} or {below + multiple}" if below else f"{multiple}"


def _architecture_rules(architecture: UNetArchitecture) -> Iterator[str]:
    multiple = architecture.resolution_multiple_px
    resolution = architecture.resolution_px
    if resolution % multiple:
        yield (
            f"{_MODEL}.resolution={resolution} is not divisible by {multiple}; "
            f"use {neighbours(resolution, multiple)}"
        )
    num_blocks = len(architecture.block_out_channels)
    for name, types in (
        ("downBlockTypes", architecture.down_block_types),
        ("upBlockTypes", architecture.up_block_types),
    ):
        if len(types) != num_blocks:
            yield (
                f"{_MODEL}.{name} has {len(types)} entries and {_MODEL}.blockOutChannels {num_blocks}; "
                f"give {num_blocks} of each"
            )
    groups = architecture.norm_num_groups
    for index, width in enumerate(architecture.block_out_channels):
        if width % groups:
            yield (
                f"{_MODEL}.blockOutChannels[{index}]={width} is not divisible by "
                f"{_MODEL}.normNumGroups={groups}; use {neighbours(width, groups)}"
            )
    yield from _attention_rules(architecture)


def _attention_rules(architecture: UNetArchitecture) -> Iterator[str]:
    """Every block with attention splits its width into heads; so does the middle, at the last width."""
    widths = architecture.block_out_channels
    attended = {len(widths) - 1}
    attended |= {i for i, kind in enumerate(architecture.down_block_types) if kind.startswith("Attn")}
    last = len(widths) - 1
    attended |= {last - i for i, kind in enumerate(architecture.up_block_types) if kind.startswith("Attn")}
    head = architecture.attention_head_dim
    for index in sorted(attended & set(range(len(widths)))):
        if widths[index] % head:
            yield (
                f"{_MODEL}.blockOutChannels[{index}]={widths[index]} has attention and is not divisible by "
                f"{_MODEL}.attentionHeadDim={head}; use {neighbours(widths[index], head)}"
            )


def _diffusion_rules(spec: "TrainingRunSpec") -> Iterator[str]:
    if spec.diffusion.prediction_type == "epsilon" and spec.diffusion.zero_terminal_snr:
        yield (
            "spec.diffusion.zeroTerminalSNR=true is undefined with spec.diffusion.predictionType=epsilon; "
            "use predictionType: v_prediction, or zeroTerminalSNR: false"
        )


def _batch_rules(spec: "TrainingRunSpec") -> Iterator[str]:
    global_batch, micro_batch = spec.optimization.global_batch_size, spec.optimization.micro_batch_size
    if global_batch % micro_batch:
        yield (
            f"{_OPTIMIZATION}.globalBatchSize={global_batch} is not divisible by "
            f"{_OPTIMIZATION}.microBatchSize={micro_batch}; use {neighbours(global_batch, micro_batch)}"
        )


def _learning_rate_rules(spec: "TrainingRunSpec") -> Iterator[str]:
    schedule = spec.optimization.learning_rate_schedule
    path = f"{_OPTIMIZATION}.learningRateSchedule"
    if schedule.decay == "constant" and schedule.decay_images:
        yield (
            f"{path}.decayImages={schedule.decay_images} has no meaning with {path}.decay=constant; "
            "use 0, or decay: inverse_square_root or linear"
        )
    if schedule.decay != "constant" and not schedule.decay_images:
        yield (
            f"{path}.decayImages=0 is no length for {path}.decay={schedule.decay}; "
            "use the number of images that the decay takes"
        )


def _worker_rules(spec: "TrainingRunSpec") -> Iterator[str]:
    workers = spec.workers
    if workers.min_replicas > workers.replicas:
        yield (
            f"{_WORKERS}.replicas={workers.replicas} is below {_WORKERS}.minReplicas={workers.min_replicas}; "
            f"use {workers.min_replicas} or more, or lower minReplicas; to release all workers set "
            "spec.suspend: true"
        )
    if workers.max_replicas is not None and workers.replicas > workers.max_replicas:
        yield (
            f"{_WORKERS}.replicas={workers.replicas} is above {_WORKERS}.maxReplicas={workers.max_replicas}; "
            f"use {workers.max_replicas} or less"
        )
    global_batch, micro_batch = spec.optimization.global_batch_size, spec.optimization.micro_batch_size
    num_micro_batches = global_batch // micro_batch
    if global_batch % micro_batch:
        return
    name, most = ("replicas", workers.replicas)
    if workers.max_replicas is not None:
        name, most = ("maxReplicas", workers.max_replicas)
    if most > num_micro_batches:
        yield (
            f"{_WORKERS}.{name}={most} is above the {num_micro_batches} micro-batches of a step "
            f"(globalBatchSize={global_batch} / microBatchSize={micro_batch}); "
            f"use {num_micro_batches} or less"
        )


def _storage_rules(spec: "TrainingRunSpec") -> Iterator[str]:
    """Retention deletes under the run's prefix, so the dataset must lie elsewhere, and the reverse."""
    dataset, checkpoints = (f"{uri.rstrip('/')}/" for uri in (spec.dataset.uri, spec.checkpoints.uri))
    if dataset.startswith(checkpoints) or checkpoints.startswith(dataset):
        yield (
            f"spec.checkpoints.uri={spec.checkpoints.uri} and spec.dataset.uri={spec.dataset.uri} "
            "lie one in the other; use a prefix for each"
        )


def _preview_rules(spec: "TrainingRunSpec") -> Iterator[str]:
    seeds = spec.previews.seeds
    twice = next((seed for index, seed in enumerate(seeds) if seed in seeds[:index]), None)
    if twice is not None:
        yield f"spec.previews.seeds names {twice} twice; name each seed once"
