"""GenerationService: images for seeds over HTTP, from a run's model or any other."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from synthray.api.names import API_VERSION
from synthray.api.v1alpha1.fields import (
    ApiModel,
    CheckpointChoice,
    FromList,
    LabelValue,
    OptionalImage,
    OptionalObjectName,
    OptionalResourceName,
    OptionalStorageUri,
    Remedy,
    StatusModel,
)
from synthray.api.v1alpha1.object_meta import Condition, ObjectMeta
from synthray.api.v1alpha1.placement import ObjectStorage

SamplerName = Literal["ddim", "ddpm", "dpmsolver++"]
ProfileName = Literal["strict-1", "fast-1"]
_MAX_COUNT = 2**63 - 1


class ServedModel(ApiModel):
    """The model to draw with: of a TrainingRun, or at an address. Exactly one of trainingRun and uri."""

    training_run: OptionalObjectName = Field(
        default="", description="TrainingRun in the same namespace whose models are served."
    )
    checkpoint: CheckpointChoice = Field(
        default="latest",
        description="Which of the run's models: latest (follows the run), best (lowest validation loss) or "
        "the number of an epoch. Of no effect with uri.",
    )
    uri: OptionalStorageUri = Field(
        default="", description="A run's prefix, one of its models, or a diffusers folder."
    )


class ReplicaGpu(ApiModel):
    """The card that each replica draws on."""

    product: LabelValue = Field(
        description="Value of the node label nvidia.com/gpu.product; replicas run on such nodes alone.",
        examples=["Quadro-RTX-6000"],
    )
    per_replica: Annotated[int, Remedy("use 1 and more spec.replicas", when="above")] = Field(
        default=1, ge=1, le=1, description="Cards of one replica."
    )


class Sampler(ApiModel):
    """How images are drawn if a request does not say."""

    name: SamplerName = Field(default="ddim", description="Sampler.")
    steps: int = Field(default=50, ge=1, le=1000, description="Denoising steps.")


class Limits(ApiModel):
    """What a request may ask for, and how much may wait."""

    max_images_per_request: int = Field(default=16, ge=1, le=10_000, description="Images of one request.")
    max_steps: int = Field(default=200, ge=1, le=1000, description="Denoising steps of one image.")
    max_queued_images: int = Field(
        default=256, ge=1, le=100_000, description="Images waiting per replica; beyond it requests get 429."
    )


class JobStorage(ApiModel):
    """Where long requests and their images are kept, in the storage that the model lies in."""

    uri: OptionalStorageUri = Field(
        default="",
        description="Prefix for jobs and their images, which all replicas share. Empty: there are no jobs.",
        examples=["s3://xray/images"],
    )


class GenerationServiceSpec(ApiModel):
    """What is served, where, and within which limits."""

    model: ServedModel = Field(description="The model to draw with.")
    image: OptionalImage = Field(default="", description="Replica image; empty: the chart's.")
    object_storage: ObjectStorage = Field(
        default=ObjectStorage(),
        description="How S3 is reached; with trainingRun, left out: as that run does.",
    )
    replicas: int = Field(default=1, ge=0, le=256, description="Replicas wanted; `kubectl scale` writes it.")
    gpu: ReplicaGpu | None = Field(default=None, description="The card of each replica. Left out: CPU.")
    sampler: Sampler = Field(default=Sampler(), description="How images are drawn if a request does not say.")
    profile: ProfileName = Field(
        default="strict-1",
        description="Numerics and batch shape, fixed by name: the same seed gives the same bytes. strict-1 "
        "is fp32; fast-1 computes in half precision on a GPU, and gives other bytes than strict-1.",
    )
    limits: Limits = Field(default=Limits(), description="What a request may ask for, and how much may wait.")
    jobs: JobStorage = Field(default=JobStorage(), description="Where long requests are kept.")
    token_secret_name: OptionalResourceName = Field(
        default="",
        description="Secret with the key token, of 16 or more printable characters, that every request must "
        "bring as `Authorization: Bearer`. A new token counts as soon as the Secret has it. Empty: whoever "
        "reaches the service may ask.",
    )
    service_account_name: OptionalResourceName = Field(
        default="",
        description="ServiceAccount of the replicas, for the identity of the pod as a credential for S3. It "
        "must be on the chart's list of allowed ones. On a laptop without effect.",
    )
    priority_class_name: OptionalResourceName = Field(
        default="",
        description="PriorityClass of the replicas. It must be on the chart's list of allowed ones. On a "
        "laptop without effect.",
    )

    @model_validator(mode="after")
    def _keep_the_rules_between_fields(self) -> "GenerationServiceSpec":
        broken = find_broken_service_rules(self)
        if broken:
            raise ValueError("\n".join(broken))
        return self


def find_broken_service_rules(spec: GenerationServiceSpec) -> list[str]:
    """A message for each rule between fields that is broken, empty if all hold."""
    broken = []
    if bool(spec.model.training_run) == bool(spec.model.uri):
        found = "both are given" if spec.model.uri else "neither is given"
        broken.append(
            f"spec.model needs exactly one of trainingRun and uri, and {found}; give one, for example "
            "trainingRun: ranzcr-512"
        )
    if spec.sampler.steps > spec.limits.max_steps:
        broken.append(
            f"spec.sampler.steps={spec.sampler.steps} is above spec.limits.maxSteps={spec.limits.max_steps}; "
            f"use {spec.limits.max_steps} or less"
        )
    if spec.limits.max_images_per_request > spec.limits.max_queued_images:
        broken.append(
            f"spec.limits.maxImagesPerRequest={spec.limits.max_images_per_request} is above "
            f"spec.limits.maxQueuedImages={spec.limits.max_queued_images}, so it could never be queued; "
            f"use {spec.limits.max_queued_images} or less"
        )
    return broken


class GenerationServiceStatus(StatusModel):
    """Where a service stands."""

    conditions: Annotated[tuple[Condition, ...], FromList] = Field(
        default=(), max_length=16, description="Answers by type: Ready, Progressing, Degraded, Blocked."
    )
    observed_generation: int = Field(
        default=0, ge=0, le=_MAX_COUNT, description="The generation of the spec that the status speaks of."
    )
    model: str = Field(default="", max_length=1024, description="Address of the model that is served.")
    model_digest: str = Field(default="", max_length=64, description="SHA-256 of its tensors.")
    replicas: int = Field(default=0, ge=0, le=_MAX_COUNT, description="Replicas that exist.")
    ready_replicas: int = Field(default=0, ge=0, le=_MAX_COUNT, description="Replicas that answer.")
    selector: str = Field(default="", max_length=512, description="Label selector of the replicas' pods.")
    queued_images: int = Field(default=0, ge=0, le=_MAX_COUNT, description="Images that wait.")
    url: str = Field(default="", max_length=512, description="Address inside the cluster.")


class GenerationService(ApiModel):
    """Synthetic images for seeds, over HTTP."""

    api_version: Literal["synthray.io/v1alpha1"] = Field(
        default=API_VERSION, description="Version of the object's form."
    )
    kind: Literal["GenerationService"] = Field(default="GenerationService", description="Kind of the object.")
    metadata: ObjectMeta = Field(description="Name, labels and annotations.")
    spec: GenerationServiceSpec = Field(description="What is served.")
    status: GenerationServiceStatus | None = Field(
        default=None, description="Where it stands; written by the operator."
    )
