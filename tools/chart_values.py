"""The values of the Helm chart, as a model: values.yaml, values.schema.json and the README follow from it.

`config` is the operator's own configuration, but for what the chart fills in by itself, so that a setting of
the operator is a value of the chart from the day that it exists.
"""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, create_model

from synthray.api.v1alpha1.fields import ApiModel, FromList, ObjectName, Quantity
from synthray.operator.configuration import OperatorConfiguration, Toleration

Name = Annotated[str, Field(max_length=253, pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")]
Names = Annotated[tuple[Name, ...], FromList]
Port = Annotated[int, Field(ge=1, le=65535)]
Ports = Annotated[tuple[Port, ...], FromList]
Mapping = dict[str, str]

# The chart fills these in from values of its own.
_FILLED_IN = ("namespaces", "images")
Config = create_model(
    "Config",
    __base__=ApiModel,
    __doc__="What the operator decides for all runs; its own configuration, rendered into a ConfigMap.",
    **{  # type: ignore[call-overload]  # the fields are another model's
        name: (field.annotation, field)
        for name, field in OperatorConfiguration.model_fields.items()
        if name not in _FILLED_IN
    },
)


class Global(ApiModel):
    """Shared by all charts of a release; other charts may put their own keys here."""

    model_config = ConfigDict(extra="allow")

    image_registry: str = Field(
        default="", max_length=253, description="Registry of all images, before each image's own."
    )
    image_pull_secrets: Names = Field(
        default=(), max_length=16, description="Secrets for the registry, beside each image's own."
    )


class Image(ApiModel):
    """A container image."""

    registry: str = Field(default="", max_length=253, description="Registry; empty: the runtime's default.")
    repository: str = Field(
        default="", min_length=1, max_length=253, description="Repository in the registry."
    )
    tag: str = Field(default="", max_length=128, description="Tag; empty: the chart's appVersion.")
    digest: str = Field(
        default="",
        max_length=71,
        pattern=r"^(sha256:[0-9a-f]{64})?$",
        description="Digest, sha256:...; given, it counts instead of the tag.",
    )
    pull_policy: str = Field(
        default="IfNotPresent",
        max_length=12,
        pattern="^(Always|IfNotPresent|Never)$",
        description="When nodes pull it: Always, IfNotPresent or Never.",
    )
    pull_secrets: Names = Field(
        default=(), max_length=16, description="Secrets for the registry, in the namespace of the pods."
    )


class Crds(ApiModel):
    """The CustomResourceDefinitions TrainingRun and GenerationService."""

    install: bool = Field(default=True, description="Whether the chart installs and upgrades them.")
    keep: bool = Field(
        default=True,
        description="Whether they, and with them every run and its status, outlive `helm uninstall`.",
    )


class ServiceAccount(ApiModel):
    """The operator's ServiceAccount."""

    create: bool = Field(default=True, description="Whether the chart makes it.")
    name: Name = Field(default="", description="Its name; empty: the release's.")
    annotations: Mapping = Field(default={}, max_length=32, description="Its annotations.")


class Rbac(ApiModel):
    """Who may do what."""

    create: bool = Field(default=True, description="Whether the chart makes the operator's roles.")
    aggregate_roles: bool = Field(
        default=True,
        description="Whether Kubernetes' own roles view, edit and admin include runs and services.",
    )


class Resources(ApiModel):
    """Requests and limits of a container."""

    requests: dict[str, Quantity] = Field(default={}, max_length=8, description="Requests.")
    limits: dict[str, Quantity] = Field(
        default={}, max_length=8, description="Limits. No CPU: an operator that is held back loses its Lease."
    )


class Pod(ApiModel):
    """The operator's pods."""

    labels: Mapping = Field(default={}, max_length=32, description="More labels.")
    annotations: Mapping = Field(default={}, max_length=32, description="More annotations.")
    resources: Resources = Field(
        default=Resources(requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "768Mi"}),
        description="Requests and limits.",
    )
    node_selector: Mapping = Field(default={}, max_length=32, description="Labels of the nodes they run on.")
    tolerations: Annotated[tuple[Toleration, ...], FromList] = Field(
        default=(), max_length=16, description="Taints that they tolerate."
    )
    affinity: dict[str, Any] = Field(
        default={}, description="Affinity, in Kubernetes' form; empty: replicas keep to different nodes."
    )
    priority_class_name: Name = Field(default="", description="Their PriorityClass.")


class PodDisruptionBudget(ApiModel):
    """Keeps one operator while nodes are drained."""

    enabled: bool = Field(default=True, description="Whether it is made, if there are several replicas.")


class NetworkPolicy(ApiModel):
    """The operator's NetworkPolicy; those of runs are in config.networkPolicies."""

    enabled: bool = Field(default=True, description="Whether it is made.")
    api_server_ports: Ports = Field(
        default=(443, 6443), max_length=8, description="Ports of the API server that the operator may reach."
    )
    metrics_namespace: Name = Field(
        default="", description="Namespace that may scrape the operator; empty: every namespace."
    )


class Monitor(ApiModel):
    """An object of the Prometheus operator."""

    enabled: bool = Field(default=False, description="Whether it is made; needs the Prometheus operator.")
    labels: Mapping = Field(
        default={},
        max_length=16,
        description="More labels; kube-prometheus-stack selects by `release: <its release>`.",
    )
    interval_seconds: int = Field(default=15, ge=1, le=3600, description="Time between scrapes.")


class PrometheusRule(ApiModel):
    """The alerts, as an object of the Prometheus operator; without it, load files/alerts.yaml."""

    enabled: bool = Field(default=False, description="Whether it is made; needs the Prometheus operator.")
    labels: Mapping = Field(
        default={},
        max_length=16,
        description="More labels; kube-prometheus-stack selects by `release: <its release>`.",
    )
    runbooks: str = Field(
        default="docs/runbooks",
        min_length=1,
        max_length=1024,
        description="Where runbook_url leads: the address at which you serve docs/runbooks.",
    )


class Dashboards(ApiModel):
    """Grafana's dashboards, as ConfigMaps that Grafana's sidecar finds by a label."""

    enabled: bool = Field(default=False, description="Whether they are made.")
    labels: Mapping = Field(
        default={"grafana_dashboard": "1"},
        max_length=16,
        description="Labels by which Grafana's sidecar finds them; null takes one away.",
    )
    annotations: Mapping = Field(
        default={}, max_length=16, description="Annotations, such as `grafana_folder: synthray`."
    )


class Metrics(ApiModel):
    """Who scrapes, and what is made of it."""

    service_monitor: Monitor = Field(default=Monitor(), description="ServiceMonitor of the operator.")
    pod_monitor: Monitor = Field(default=Monitor(), description="PodMonitor of the drivers of runs.")
    prometheus_rule: PrometheusRule = Field(
        default=PrometheusRule(), description="Alerts, each with a runbook."
    )
    dashboards: Dashboards = Field(default=Dashboards(), description="Grafana's dashboards.")


class Entrance(ApiModel):
    """Where one GenerationService answers from outside the cluster."""

    generation_service: ObjectName = Field(description="Name of the GenerationService.")
    namespace: Annotated[str, Field(min_length=1, max_length=63)] = Field(description="Its namespace.")
    host: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        description="DNS name; all paths of it.", examples=["images.example"]
    )
    tls_secret_name: Name = Field(default="", description="Secret of the host's certificate; empty: no TLS.")


class Ingress(ApiModel):
    """Ways in from outside the cluster; whoever comes in this way should bring a token."""

    class_name: Name = Field(default="", description="IngressClass; empty: the cluster's default.")
    annotations: Mapping = Field(
        default={},
        max_length=32,
        description="Of each Ingress: a controller's time limits must allow for what is drawn (minutes).",
    )
    entrances: Annotated[tuple[Entrance, ...], FromList] = Field(
        default=(), max_length=64, description="The services that are reached so."
    )


class DemoStorage(ApiModel):
    """An S3 server in one pod, whose data goes with the pod: for trying out."""

    enabled: bool = Field(default=False, description="Whether it is made, with the Secret of its key.")
    image: Image = Field(
        default=Image(repository="synthray/storage"),
        description="The project's image storage, or any with SeaweedFS's program weed on its PATH.",
    )
    bucket: str = Field(
        default="xray", max_length=63, pattern="^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", description="Its bucket."
    )
    size: Quantity = Field(default="20Gi", description="Most that it holds.")
    resources: Resources = Field(
        default=Resources(requests={"cpu": "200m", "memory": "256Mi"}, limits={"memory": "1Gi"}),
        description="Requests and limits.",
    )


class Demo(ApiModel):
    """What nobody needs who has the real thing."""

    storage: DemoStorage = Field(default=DemoStorage(), description="An S3 server for trying out.")


class ChartValues(ApiModel):
    """The values of the chart."""

    global_: Global = Field(
        default=Global(), alias="global", description="Shared by all charts of a release."
    )
    name_override: Name = Field(default="", description="Replaces the chart's name in names of objects.")
    fullname_override: Name = Field(default="", description="Replaces the beginning of names of objects.")
    common_labels: Mapping = Field(default={}, max_length=32, description="Labels of every object.")
    image: Image = Field(default=Image(repository="synthray/operator"), description="The operator's image.")
    worker_image: Image = Field(
        default=Image(repository="synthray/worker"),
        description="The image of runs that name none; its pull secrets lie in the runs' namespaces.",
    )
    replicas: int = Field(default=1, ge=1, le=5, description="Operators; one leads, the others stand by.")
    watch_namespaces: Names = Field(
        default=(),
        max_length=64,
        description="Namespaces whose runs are operated, with Roles in each; none: the whole cluster.",
    )
    crds: Crds = Field(default=Crds(), description="The CustomResourceDefinitions.")
    service_account: ServiceAccount = Field(default=ServiceAccount(), description="The operator's account.")
    rbac: Rbac = Field(default=Rbac(), description="Who may do what.")
    pod: Pod = Field(default=Pod(), description="The operator's pods.")
    pod_disruption_budget: PodDisruptionBudget = Field(
        default=PodDisruptionBudget(), description="Keeps one operator while nodes are drained."
    )
    network_policy: NetworkPolicy = Field(
        default=NetworkPolicy(), description="The operator's NetworkPolicy."
    )
    metrics: Metrics = Field(default=Metrics(), description="Who scrapes, and what is made of it.")
    config: Config = Field(  # type: ignore[valid-type]  # made from another model's fields
        default=Config(), description="What the operator decides for all runs."
    )
    ingress: Ingress = Field(
        default=Ingress(), description="Ways to GenerationServices from outside the cluster."
    )
    demo: Demo = Field(default=Demo(), description="What nobody needs who has the real thing.")
