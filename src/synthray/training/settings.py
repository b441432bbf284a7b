"""What a segment needs to know, as small frozen values.

The spec is read once, at the edge; the loop sees these. They are pickled to the workers, so they hold plain
data alone: no store, no tensor, no handle.
"""

from dataclasses import dataclass, replace

from synthray.api.architecture import UNetArchitecture
from synthray.storage import S3Settings
from synthray.training.learning_rate import LearningRateSchedule
from synthray.training.ledger import RunEvent
from synthray.training.precision import Precision

STORAGE_TRY_SECONDS = 20.0
AUDIT_VARIABLE = "SYNTHRAY_AUDIT_DIRECTORY"


@dataclass(frozen=True)
class DiffusionSettings:
    """The process that is learned."""

    prediction_type: str
    schedule: str
    zero_terminal_snr: bool
    min_snr_gamma: float | None


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW (1711.05101) and its neighbours; the half-life of the moving average is in images."""

    learning_rate: LearningRateSchedule
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    gradient_clip_norm: float
    ema_halflife_images: int
    ema_rampup_ratio: float


@dataclass(frozen=True)
class PreviewSettings:
    """Fixed seeds that are drawn each `every_epochs` epochs."""

    seeds: tuple[int, ...]
    every_epochs: int
    steps: int


@dataclass(frozen=True)
class KeepSettings:
    """How many saves outlive the next one."""

    states: int
    models_every_nth_epoch: int
    best: int


@dataclass(frozen=True)
class StorageSettings:
    """Where data comes from and results go to, and the node's cache.

    Workers record what they compute in `audit_directory`, unless it is empty.
    """

    s3: S3Settings
    dataset_uri: str
    checkpoints_uri: str
    cache_directory: str
    cache_max_bytes: int
    audit_directory: str

    @property
    def s3_of_workers(self) -> S3Settings:
        """For workers, who wait for storage themselves: each try ends so soon that a stop is heard."""
        return replace(self.s3, deadline_seconds=min(self.s3.deadline_seconds, STORAGE_TRY_SECONDS))


@dataclass(frozen=True)
class RunSettings:
    """One run, as every attempt of it sees it."""

    run: str
    seed: int
    epochs: int
    global_batch_size: int
    micro_batch_size: int
    architecture: UNetArchitecture
    init_from: str
    diffusion: DiffusionSettings
    horizontal_flip: bool
    optimizer: OptimizerSettings
    reduction: str
    precision: Precision
    device: str
    threads: int
    previews: PreviewSettings
    keep: KeepSettings
    max_work_at_risk_seconds: float
    storage: StorageSettings
    config_digest: str
    config: dict[str, object]


@dataclass(frozen=True)
class AttemptSettings:
    """One attempt: its place in the chain, and the state that it goes on from (None: from the start).

    `began` is when the run began. `redone_images` were computed since that state was saved, and lost;
    `faults` are what ended the attempts since then.
    """

    number: int
    nonce: str
    resumes_from: str | None
    began: float
    redone_images: int
    faults: tuple[RunEvent, ...]
