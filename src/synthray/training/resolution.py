"""From a TrainingRun and this machine to the settings that every attempt uses.

The only place in training that reads a spec or looks at the machine. No torch: the driver resolves, the
workers only obey.
"""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from synthray.api.digests import config_digest
from synthray.api.quantities import parse_quantity
from synthray.api.v1alpha1 import TrainingRun, TrainingRunSpec, resolve_architecture
from synthray.checkpoints.identity import read_identity
from synthray.errors import InvalidInput
from synthray.storage import open_store, s3_settings_from_environment
from synthray.training.learning_rate import LearningRateSchedule
from synthray.training.precision import Precision, keep_precision, resolve_precision
from synthray.training.settings import (
    AUDIT_VARIABLE,
    DiffusionSettings,
    KeepSettings,
    OptimizerSettings,
    PreviewSettings,
    RunSettings,
    StorageSettings,
)


@dataclass(frozen=True)
class ResolvedRun:
    """The settings, and what a person should know about how they came to be."""

    settings: RunSettings
    notices: tuple[str, ...]


def observe_compute_capability() -> tuple[int, int] | None:
    """CUDA's compute capability of this machine's first GPU; None without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=compute_cap", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    major, dot, minor = answer.stdout.partition("\n")[0].strip().partition(".")
    return (int(major), int(minor)) if answer.returncode == 0 and dot else None


def resolve_run(
    run: TrainingRun,
    environ: Mapping[str, str],
    *,
    cache_directory: Path,
    compute_capability: tuple[int, int] | None,
) -> ResolvedRun:
    """Settle what the spec leaves open: precision, device, storage.

    `precision: auto` is resolved once, by a run's first attempt; the later ones keep it. Raises InvalidInput
    for what can't be, Unavailable if the checkpoints' store doesn't say what `auto` was.
    """
    spec = run.spec
    device = "cuda" if spec.workers.gpu is not None and compute_capability is not None else "cpu"
    capability = compute_capability if device == "cuda" else None
    storage = _storage(spec, environ, cache_directory)
    precision = resolve_precision(spec.optimization.precision, capability)
    notices = []
    pinned = _observe_pinned_precision(storage) if spec.optimization.precision == "auto" else None
    if pinned is not None and pinned != precision:
        notices.append(
            f"spec.optimization.precision=auto stays {pinned}, as the run's first attempt resolved it; on "
            f"this machine alone it would be {precision}"
        )
        precision = keep_precision(pinned, capability)
    if spec.workers.gpu is not None and device == "cpu":
        notices.append(
            f"spec.workers.gpu ({spec.workers.gpu.product}) is ignored: this machine has no NVIDIA GPU, "
            "so workers compute on the CPU"
        )
    digest = config_digest(spec, precision=precision)
    settings = RunSettings(
        run=run.metadata.name,
        seed=spec.seed,
        epochs=spec.optimization.epochs,
        global_batch_size=spec.optimization.global_batch_size,
        micro_batch_size=spec.optimization.micro_batch_size,
        architecture=resolve_architecture(spec.model),
        init_from=spec.model.init_from,
        diffusion=DiffusionSettings(
            prediction_type=spec.diffusion.prediction_type,
            schedule=spec.diffusion.schedule,
            zero_terminal_snr=spec.diffusion.zero_terminal_snr,
            min_snr_gamma=spec.diffusion.min_snr_gamma,
        ),
        horizontal_flip=spec.augmentation.horizontal_flip,
        optimizer=_optimizer(spec),
        reduction=spec.reduction,
        precision=precision,
        device=device,
        threads=spec.workers.threads,
        previews=PreviewSettings(spec.previews.seeds, spec.previews.every_epochs, spec.previews.steps),
        keep=KeepSettings(
            spec.checkpoints.keep.states,
            spec.checkpoints.keep.models_every_nth_epoch,
            spec.checkpoints.keep.best,
        ),
        max_work_at_risk_seconds=spec.checkpoints.max_work_at_risk_seconds,
        storage=storage,
        config_digest=digest.digest,
        config=digest.fields,
    )
    return ResolvedRun(settings, tuple(notices))


def _observe_pinned_precision(storage: StorageSettings) -> Precision | None:
    """What the run's first attempt made of `auto`; None before it, or where only preflight can say more."""
    try:
        identity = read_identity(open_store(storage.checkpoints_uri, storage.s3))
    except InvalidInput:
        return None
    return identity.config.get("optimization.precision") if identity else None


def _optimizer(spec: TrainingRunSpec) -> OptimizerSettings:
    optimization = spec.optimization
    schedule = optimization.learning_rate_schedule
    return OptimizerSettings(
        learning_rate=LearningRateSchedule(
            peak=optimization.learning_rate,
            warmup_images=schedule.warmup_images,
            decay=schedule.decay,
            decay_images=schedule.decay_images,
        ),
        beta1=optimization.beta1,
        beta2=optimization.beta2,
        epsilon=optimization.epsilon,
        weight_decay=optimization.weight_decay,
        gradient_clip_norm=optimization.gradient_clip_norm,
        ema_halflife_images=optimization.ema.halflife_images,
        ema_rampup_ratio=optimization.ema.rampup_ratio,
    )


def _storage(spec: TrainingRunSpec, environ: Mapping[str, str], cache_directory: Path) -> StorageSettings:
    return StorageSettings(
        s3=s3_settings_from_environment(
            environ, endpoint_url=spec.object_storage.endpoint_url, region=spec.object_storage.region
        ),
        dataset_uri=spec.dataset.uri,
        checkpoints_uri=spec.checkpoints.uri,
        cache_directory=str(cache_directory),
        cache_max_bytes=int(parse_quantity(spec.workers.cache_size)),
        audit_directory=environ.get(AUDIT_VARIABLE, ""),
    )
