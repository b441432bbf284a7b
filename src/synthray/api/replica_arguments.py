"""What a replica on a cluster is started with.

The operator writes it into Serve's configuration, the replica reads it there. No credentials: those are
mounted files.
"""

from pydantic import Field

from synthray.api.names import TOKEN_DIRECTORY, TOKEN_KEY
from synthray.api.v1alpha1 import GenerationServiceSpec
from synthray.api.v1alpha1.fields import ApiModel, CheckpointChoice
from synthray.api.v1alpha1.generation_service import Limits, ProfileName, Sampler
from synthray.api.v1alpha1.placement import ObjectStorage


class ReplicaArguments(ApiModel):
    """One model and how it is drawn with."""

    model_uri: str = Field(description="A run's prefix, one of its models, or a diffusers folder.")
    checkpoint: CheckpointChoice = Field(default="latest", description="Which of a run's models.")
    endpoint_url: str = Field(default="", description="S3 endpoint.")
    region: str = Field(default="", description="Its region.")
    gpus: int = Field(default=0, ge=0, description="Cards of a replica.")
    sampler: Sampler = Field(default=Sampler(), description="If a request does not say.")
    profile: ProfileName = Field(default="strict-1", description="Numerics and batch shape.")
    limits: Limits = Field(default=Limits(), description="What may be asked for.")
    jobs_uri: str = Field(default="", description="Where jobs are kept; empty: there are none.")
    token_file: str = Field(default="", description="Holds what requests must bring; empty: nothing.")


def build_replica_arguments(
    spec: GenerationServiceSpec, model_uri: str, storage: ObjectStorage
) -> ReplicaArguments:
    """The arguments of a service whose model lies at `model_uri` in `storage`."""
    return ReplicaArguments(
        model_uri=model_uri,
        checkpoint=spec.model.checkpoint if spec.model.training_run else "latest",
        endpoint_url=storage.endpoint_url,
        region=storage.region,
        gpus=spec.gpu.per_replica if spec.gpu else 0,
        sampler=spec.sampler,
        profile=spec.profile,
        limits=spec.limits,
        jobs_uri=spec.jobs.uri,
        token_file=f"{TOKEN_DIRECTORY}/{TOKEN_KEY}" if spec.token_secret_name else "",
    )
