"""The operator's configuration: what the person who installs it decides for all runs.

The chart renders it into a ConfigMap from its values; the process reads the file once, at its start.
"""

from typing import Annotated, Literal

from pydantic import Field

from synthray.api.v1alpha1.fields import ApiModel, FromList, Quantity, Remedy

_Names = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=253)], ...], FromList]


class Toleration(ApiModel):
    """A taint that pods may be scheduled onto, in Kubernetes' own form."""

    key: str = Field(default="", max_length=316, description="Key of the taint; empty: every key.")
    operator: Literal["Equal", "Exists"] = Field(default="Equal", description="How the value is compared.")
    value: str = Field(default="", max_length=63, description="Value of the taint.")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        default="", description="Effect of the taint; empty: every effect."
    )


_Tolerations = Annotated[tuple[Toleration, ...], FromList]


class Images(ApiModel):
    """Which images runs use."""

    worker: str = Field(
        min_length=1,
        max_length=512,
        description="Image of heads and workers where a run names none.",
        examples=["synthray/worker:0.1.0"],
    )
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When nodes pull it."
    )
    pull_secret_names: _Names = Field(
        default=(), max_length=16, description="Secrets for the registry, in the run's namespace."
    )


class Allowed(ApiModel):
    """What runs may name beside the defaults. Whoever may create a run could otherwise use any of these."""

    images: _Names = Field(
        default=(),
        max_length=64,
        description="Images that a run may name: a whole reference, or a beginning that ends in *.",
    )
    service_account_names: _Names = Field(
        default=(), max_length=64, description="ServiceAccounts that a run may name."
    )
    priority_class_names: _Names = Field(
        default=(), max_length=64, description="PriorityClasses that a run may name."
    )


class Head(ApiModel):
    """The pod of a run's driver: no GPU."""

    cpu: Quantity = Field(default="1", description="CPU cores requested.")
    memory: Quantity = Field(default="4Gi", description="Memory, as request and limit.")
    node_selector: dict[str, str] = Field(
        default={}, max_length=16, description="Labels of the nodes that heads run on."
    )
    tolerations: _Tolerations = Field(default=(), max_length=16, description="Taints that heads tolerate.")


class WorkerPods(ApiModel):
    """What the pods of all workers have in common."""

    node_selector: dict[str, str] = Field(
        default={}, max_length=16, description="Labels of the nodes that workers run on, beside the GPU's."
    )
    tolerations: _Tolerations = Field(
        default=(Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"),),
        max_length=16,
        description="Taints that workers tolerate.",
    )
    shared_memory: Quantity = Field(default="1Gi", description="Size of /dev/shm, a part of the memory.")
    grace_seconds: Annotated[int, Remedy("use at least 30, so that a state can be saved")] = Field(
        default=90,
        ge=30,
        le=3600,
        description="terminationGracePeriodSeconds; workers stay 15 s less so that the state is saved.",
    )


class ReplicaPods(ApiModel):
    """What the pods of all replicas of generation services have in common."""

    cpu: Quantity = Field(default="2", description="CPU cores requested.")
    memory: Quantity = Field(default="8Gi", description="Memory, as request and limit.")


class Proxy(ApiModel):
    """The proxy through which pods reach object storage."""

    http: str = Field(default="", max_length=512, description="HTTP_PROXY.")
    https: str = Field(default="", max_length=512, description="HTTPS_PROXY.")
    exceptions: str = Field(
        default="", max_length=2048, description="NO_PROXY, beside the cluster's own names."
    )


_VariableName = Annotated[str, Field(max_length=128, pattern=r"^[A-Z_][A-Z0-9_]*$")]
_VariableValue = Annotated[str, Field(max_length=4096)]


class NetworkPolicies(ApiModel):
    """NetworkPolicies that the operator makes for each run."""

    enabled: bool = Field(default=True, description="Whether it makes them.")
    storage_ports: Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], FromList] = Field(
        default=(80, 443, 8333, 9000),
        max_length=16,
        description="Ports of object storage that pods may reach.",
    )
    metrics_namespace: str = Field(
        default="", max_length=63, description="Namespace that may scrape drivers; empty: every namespace."
    )


class OperatorConfiguration(ApiModel):
    """What the person who installs the operator decides for all runs."""

    namespaces: _Names = Field(
        default=(), max_length=64, description="Namespaces to watch; none: the whole cluster."
    )
    cluster_domain: str = Field(
        default="cluster.local", min_length=1, max_length=253, description="DNS domain of the cluster."
    )
    images: Images = Field(description="Which images runs use.")
    allowed: Allowed = Field(default=Allowed(), description="What runs may name beside the defaults.")
    head: Head = Field(default=Head(), description="The pod of a run's driver.")
    workers: WorkerPods = Field(default=WorkerPods(), description="The pods of workers.")
    replicas: ReplicaPods = Field(
        default=ReplicaPods(), description="The pods of replicas; nodes and grace are those of workers."
    )
    environment: dict[_VariableName, _VariableValue] = Field(
        default={},
        max_length=64,
        description="Environment variables of heads and workers, for example NCCL_SOCKET_IFNAME.",
    )
    proxy: Proxy = Field(default=Proxy(), description="The proxy to object storage.")
    network_policies: NetworkPolicies = Field(
        default=NetworkPolicies(), description="NetworkPolicies for each run."
    )
