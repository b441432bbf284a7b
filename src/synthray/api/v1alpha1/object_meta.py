"""What every Kubernetes object carries: its metadata, and conditions in its status."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field, Strict

from synthray.api.v1alpha1.fields import ApiModel, ObjectName, StatusModel

# Fields that Kubernetes itself writes or reads in metadata; any other in a file is a typing error.
KUBERNETES_METADATA_FIELDS = frozenset(
    {
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)

Timestamp = Annotated[AwareDatetime, Strict(strict=False)]


class ObjectMeta(ApiModel):
    """The metadata that synthray reads; what else the API server sends is ignored, not refused."""

    model_config = ConfigDict(extra="ignore")

    name: ObjectName = Field(
        description="Name of the object. Names of clusters and pods are made from it.",
        examples=["ranzcr-512"],
    )
    namespace: str = Field(
        default="default",
        max_length=63,
        description="Namespace of the object; on a laptop a label of its metrics only.",
    )
    labels: dict[str, str] = Field(default={}, description="Labels of the object.")
    annotations: dict[str, str] = Field(
        default={}, description="Annotations; synthray.io/paused and synthray.io/retry are read."
    )
    uid: str = Field(default="", max_length=64, description="Written by the API server.")
    generation: int = Field(
        default=0, ge=0, le=2**63 - 1, description="Written by the API server: counts changes of the spec."
    )
    creation_timestamp: Timestamp | None = Field(default=None, description="Written by the API server.")
    deletion_timestamp: Timestamp | None = Field(default=None, description="Written by the API server.")


class Condition(StatusModel):
    """One answer about the object, in the form that `kubectl wait --for=condition=` reads."""

    type: str = Field(max_length=64, description="What the condition is about, for example Complete.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(max_length=64, description="Why, as a constant.")
    message: str = Field(default="", max_length=1024, description="Why, in a sentence, with the remedy.")
    last_transition_time: Timestamp = Field(description="When the status of the condition last changed.")
    observed_generation: int = Field(
        default=0, ge=0, le=2**63 - 1, description="The generation of the spec that it speaks of."
    )
