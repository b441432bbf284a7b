"""Where a run reads, writes and computes: storage, workers, checkpoints, previews."""

from typing import Annotated

from pydantic import Field

from synthray.api.v1alpha1.fields import (
    SEED_MAX,
    ApiModel,
    FromList,
    LabelValue,
    OptionalEndpointUrl,
    OptionalResourceName,
    Quantity,
    Remedy,
    StorageUri,
)

MAX_WORKERS = 1024


class Dataset(ApiModel):
    """The images to learn from."""

    uri: StorageUri = Field(
        description="What `synthray prepare` wrote: s3://bucket/prefix or a local path. Its digest is kept "
        "with every checkpoint.",
        examples=["s3://xray/ranzcr-512"],
    )


class ObjectStorage(ApiModel):
    """How S3 is reached. On a laptop the AWS_* variables win over these fields."""

    endpoint_url: OptionalEndpointUrl = Field(default="", description="Address of the S3 server; empty: AWS.")
    region: str = Field(
        default="",
        max_length=64,
        pattern=r"^[a-z0-9-]*$",
        description="Region of the bucket; empty: us-east-1.",
    )
    credentials_secret_name: OptionalResourceName = Field(
        default="",
        description="Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and "
        "AWS_SESSION_TOKEN). Empty: the identity of the pod.",
    )
    ca_bundle_config_map_name: OptionalResourceName = Field(
        default="", description="ConfigMap with the key ca.crt that signs the server's certificate."
    )


class WorkerGpu(ApiModel):
    """The card that each worker computes on."""

    product: LabelValue = Field(
        description="Value of the node label nvidia.com/gpu.product; workers run on such nodes alone.",
        examples=["Quadro-RTX-6000"],
    )
    per_worker: Annotated[int, Remedy("use 1 and more spec.workers.replicas", when="above")] = Field(
        default=1, ge=1, le=1, description="Cards of one worker; a worker is one process on one card."
    )


class Workers(ApiModel):
    """The processes that compute gradients. Their number never changes the result."""

    replicas: Annotated[int, Remedy("to release all workers set spec.suspend: true", when="below")] = Field(
        default=1,
        ge=1,
        le=MAX_WORKERS,
        description="Workers wanted; `kubectl scale` writes it. Training goes on with what is there.",
    )
    min_replicas: int = Field(
        default=1,
        ge=1,
        le=MAX_WORKERS,
        description="With fewer workers than this for 5 minutes the run lets all go and tries again later.",
    )
    max_replicas: int | None = Field(
        default=None,
        ge=1,
        le=MAX_WORKERS,
        description="Most workers that scaling may ask for. Left out: globalBatchSize / microBatchSize.",
    )
    gpu: WorkerGpu | None = Field(default=None, description="The card of each worker. Left out: CPU workers.")
    cpu: Quantity = Field(default="4", description="CPU cores of each worker.")
    memory: Quantity = Field(default="16Gi", description="Memory of each worker.")
    cache_size: Quantity = Field(
        default="20Gi",
        description="Disk of each node for the dataset's shards. What does not fit is read from storage "
        "each time.",
    )
    threads: int = Field(
        default=1, ge=1, le=64, description="Threads of torch in each worker; part of the result on a CPU."
    )


class Keep(ApiModel):
    """Which checkpoints outlive the next one."""

    states: int = Field(default=3, ge=1, le=100, description="Newest states (all that a resume needs) kept.")
    models_every_nth_epoch: int = Field(
        default=1,
        ge=1,
        le=100_000,
        description="Keep the model of every n-th epoch; the newest stays anyway.",
    )
    best: int = Field(
        default=1, ge=0, le=100, description="Models with the lowest validation loss kept besides."
    )


class Checkpoints(ApiModel):
    """Where the run's results and its memory go."""

    uri: StorageUri = Field(
        description="Prefix of this run alone: s3://bucket/prefix or a local path. A prefix of another run "
        "or dataset is refused.",
        examples=["s3://xray/runs/ranzcr-512"],
    )
    max_work_at_risk_seconds: int = Field(
        default=600,
        ge=10,
        le=86_400,
        description="Save at least this often, so that a sudden loss costs no more work. Each epoch and each "
        "leaving with notice save anyway.",
    )
    keep: Keep = Field(default=Keep(), description="Which checkpoints outlive the next one.")


_Seed = Annotated[int, Field(ge=0, le=SEED_MAX)]


class Previews(ApiModel):
    """Images of fixed seeds, drawn while training, to watch a run learn."""

    seeds: Annotated[tuple[_Seed, ...], FromList] = Field(
        default=(1, 2, 3, 4), max_length=64, description="One image each; an empty list: no previews."
    )
    every_epochs: int = Field(default=1, ge=1, le=100_000, description="Draw them every so many epochs.")
    steps: int = Field(default=50, ge=1, le=1000, description="Denoising steps of the DDIM sampler.")
