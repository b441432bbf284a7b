"""What the operator says of a TrainingRun."""

from typing import Annotated, Literal

from pydantic import Field

from synthray.api.v1alpha1.fields import FromList, StatusModel
from synthray.api.v1alpha1.object_meta import Condition, Timestamp

_MAX_COUNT = 2**63 - 1

RunState = Literal[
    "Pending",
    "Preflight",
    "Blocked",
    "Running",
    "Saving",
    "WaitingForStorage",
    "WaitingForWorkers",
    "Suspended",
    "Complete",
    "Failed",
    "Fenced",
]
RUN_CONDITION_TYPES = ("Ready", "Progressing", "Degraded", "Blocked", "Complete", "Failed", "Suspended")


class WorkersStatus(StatusModel):
    """Workers wanted and present."""

    desired: int = Field(default=0, ge=0, le=_MAX_COUNT, description="Workers that the spec asks for.")
    ready: int = Field(default=0, ge=0, le=_MAX_COUNT, description="Workers that compute.")
    possible: int = Field(
        default=0,
        ge=0,
        le=_MAX_COUNT,
        description="Workers that the cluster has room for, as far as it says.",
    )
    replicas: int = Field(default=0, ge=0, le=_MAX_COUNT, description="Worker pods that exist.")
    selector: str = Field(
        default="", max_length=512, description="Label selector of the worker pods, for an HPA."
    )


class Recovery(StatusModel):
    """How attempts ended of late, and when the next may begin."""

    failures: int = Field(
        default=0,
        ge=0,
        le=_MAX_COUNT,
        description="Attempts in a row that failed without saving anything; see spec.backoffLimit.",
    )
    reason: str = Field(default="", max_length=64, description="Why the last attempt ended, as a constant.")
    message: str = Field(default="", max_length=1024, description="Why the last attempt ended.")
    images_seen: int = Field(
        default=0, ge=0, le=_MAX_COUNT, description="Images seen in the newest state when it ended."
    )
    not_before: Timestamp | None = Field(default=None, description="The next attempt begins no earlier.")


class LastCheckpoint(StatusModel):
    """The newest state that a resume would start from."""

    epoch: int = Field(ge=0, le=_MAX_COUNT, description="Epoch in which it was saved.")
    images_seen: int = Field(ge=0, le=_MAX_COUNT, description="Images seen when it was saved.")
    uri: str = Field(max_length=1024, description="Where it is.")
    time: Timestamp = Field(description="When it was committed.")


class TrainingRunStatus(StatusModel):
    """Where a run stands."""

    conditions: Annotated[tuple[Condition, ...], FromList] = Field(
        default=(), max_length=16, description="Answers by type: " + ", ".join(RUN_CONDITION_TYPES) + "."
    )
    observed_generation: int = Field(
        default=0, ge=0, le=_MAX_COUNT, description="The generation of the spec that the status speaks of."
    )
    state: RunState = Field(default="Pending", description="What the run is doing, in a word.")
    epoch: int = Field(default=0, ge=0, le=_MAX_COUNT, description="Epochs finished.")
    epochs: int = Field(default=0, ge=0, le=_MAX_COUNT, description="Epochs wanted.")
    images_seen: int = Field(default=0, ge=0, le=_MAX_COUNT, description="Images learned from so far.")
    images_total: int = Field(
        default=0, ge=0, le=_MAX_COUNT, description="Images at the end of the last epoch."
    )
    progress: str = Field(default="", max_length=16, description="Share of the images, such as 41%.")
    loss: float | None = Field(default=None, description="Mean training loss of late.")
    images_per_second: float | None = Field(
        default=None, ge=0, description="Speed of late, all workers together."
    )
    eta: str = Field(default="", max_length=32, description="Time to the end at this speed, such as 3h12m.")
    workers: WorkersStatus = Field(default=WorkersStatus(), description="Workers wanted and present.")
    attempt: int = Field(default=0, ge=0, le=_MAX_COUNT, description="Number of the current or last attempt.")
    ray_cluster: str = Field(
        default="", max_length=63, description="RayCluster of the current attempt; empty between attempts."
    )
    recovery: Recovery = Field(
        default=Recovery(), description="How attempts ended, and when the next may begin."
    )
    below_minimum_since: Timestamp | None = Field(
        default=None, description="Since when fewer than minReplicas workers are ready."
    )
    finished: Timestamp | None = Field(default=None, description="When the run was Complete or Failed.")
    retried: str = Field(
        default="", max_length=256, description="Value of synthray.io/retry that was last heeded."
    )
    spec_digest: str = Field(
        default="",
        max_length=64,
        description="SHA-256 of what the last attempt was to do, for changes of it.",
    )
    image: str = Field(
        default="", max_length=512, description="Worker image with its digest, for the run's life."
    )
    last_checkpoint: LastCheckpoint | None = Field(
        default=None, description="The newest state that a resume would start from."
    )
    goodput: float | None = Field(
        default=None, ge=0, le=1, description="Time spent on new steps / time elapsed, over the run's life."
    )
