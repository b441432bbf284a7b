"""TrainingRun: one model to be trained, the same file on a laptop and on a cluster."""

from typing import Literal

from pydantic import Field, model_validator

from synthray.api.names import API_VERSION
from synthray.api.v1alpha1.fields import SEED_MAX, ApiModel, OptionalImage, OptionalResourceName
from synthray.api.v1alpha1.model import ModelSpec
from synthray.api.v1alpha1.object_meta import ObjectMeta
from synthray.api.v1alpha1.optimization import Augmentation, Diffusion, Optimization
from synthray.api.v1alpha1.placement import Checkpoints, Dataset, ObjectStorage, Previews, Workers
from synthray.api.v1alpha1.training_run_rules import find_broken_rules
from synthray.api.v1alpha1.training_run_status import TrainingRunStatus

Reduction = Literal["exact", "statistical"]


class TrainingRunSpec(ApiModel):
    """What is to be trained. What would change the result can't be changed later: make a new run for it."""

    seed: int = Field(
        default=0,
        ge=0,
        le=SEED_MAX,
        description="All randomness of the run: initial weights, order, noise, augmentation.",
    )
    image: OptionalImage = Field(
        default="",
        description="Worker image; empty: the chart's. Its digest is pinned in status for the run's life.",
    )
    dataset: Dataset = Field(description="The images to learn from.")
    object_storage: ObjectStorage = Field(default=ObjectStorage(), description="How S3 is reached.")
    model: ModelSpec = Field(default=ModelSpec(), description="The network.")
    diffusion: Diffusion = Field(default=Diffusion(), description="The process that the network learns.")
    augmentation: Augmentation = Field(default=Augmentation(), description="Changes of the training images.")
    optimization: Optimization = Field(description="Batches, AdamW, precision, and how long to train.")
    reduction: Reduction = Field(
        default="exact",
        description="How gradients of workers are added. exact: the same bits for any number of workers; "
        "statistical: float32 sums, which differ by rounding.",
    )
    workers: Workers = Field(default=Workers(), description="The processes that compute gradients.")
    checkpoints: Checkpoints = Field(description="Where the run's results and its memory go.")
    previews: Previews = Field(default=Previews(), description="Images of fixed seeds, drawn while training.")
    service_account_name: OptionalResourceName = Field(
        default="",
        description="ServiceAccount of the run's pods, for the identity of the pod as a credential for S3. "
        "It must be on the chart's list of allowed ones. On a laptop without effect.",
    )
    priority_class_name: OptionalResourceName = Field(
        default="",
        description="PriorityClass of the run's pods. It must be on the chart's list of allowed ones. On a "
        "laptop without effect.",
    )
    suspend: bool = Field(
        default=False, description="Save, then release everything; false again goes on where it stopped."
    )
    backoff_limit: int = Field(
        default=6,
        ge=0,
        le=1000,
        description="Consecutive attempts that may fail without saving anything before the run is Failed. "
        "Eviction, preemption, a lost node and suspend never count.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=10 * 365 * 86_400,
        description="Delete the object this long after it finished; checkpoints stay. Left out: never.",
    )

    @model_validator(mode="after")
    def _keep_the_rules_between_fields(self) -> "TrainingRunSpec":
        broken = find_broken_rules(self)
        if broken:
            raise ValueError("\n".join(broken))
        return self

    @property
    def max_workers(self) -> int:
        """The most workers that the run can use or may ask for."""
        num_micro_batches = self.optimization.global_batch_size // self.optimization.micro_batch_size
        return self.workers.max_replicas or num_micro_batches


class TrainingRun(ApiModel):
    """One unconditional diffusion model, trained on one dataset."""

    api_version: Literal["synthray.io/v1alpha1"] = Field(
        default=API_VERSION, description="Version of the object's form."
    )
    kind: Literal["TrainingRun"] = Field(default="TrainingRun", description="Kind of the object.")
    metadata: ObjectMeta = Field(description="Name, labels and annotations.")
    spec: TrainingRunSpec = Field(description="What is to be trained.")
    status: TrainingRunStatus | None = Field(
        default=None, description="Where it stands; written by the operator."
    )
