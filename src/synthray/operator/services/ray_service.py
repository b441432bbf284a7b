"""A service as KubeRay's RayService, with what stands around it. Pure.

A head without a card carries Serve's controller; each replica has a pod of its own, so one pod is one card.
What replicas are started with stands in Serve's configuration, as JSON, and changes there in place; what
their pods look like makes a new cluster, and KubeRay moves over when it answers.
"""

import hashlib
import json
from typing import Any, Final

from synthray.api.names import (
    GENERATION_PORT,
    GPU_PRODUCT_LABEL,
    GPU_RESOURCE,
    METRICS_PORT,
    REPLICA_PORT_NAME,
    REPLICA_ROLE,
    REPLICAS_DIGEST_ANNOTATION,
    ROLE_LABEL,
    SERVICE_LABEL,
    SPEC_DIGEST_ANNOTATION,
    TOKEN_DIRECTORY,
    TOKEN_KEY,
)
from synthray.api.replica_arguments import ReplicaArguments
from synthray.api.v1alpha1 import GenerationService, GenerationServiceSpec
from synthray.api.v1alpha1.placement import ObjectStorage
from synthray.operator.configuration import NetworkPolicies, OperatorConfiguration
from synthray.operator.kuberay import (
    OBJECT_STORE_BYTES,
    RAY_API_VERSION,
    RAY_VERSION,
    WORKER_GROUP,
    build_owner,
)
from synthray.operator.network_policy import build_network_policy
from synthray.operator.pod_parts import (
    Manifest,
    build_container,
    build_pod,
    build_probe,
    build_tolerations,
    build_volumes,
)

_APPLICATION: Final = "synthray"
_BUILDER: Final = "synthray.serving.cluster_replica:build"
_AGENT_PORT: Final = 52365
_NO_LIMIT: Final = 2147483647
_AFTER_DRAIN_SECONDS: Final = 15
_SHARED_MEMORY: Final = "512Mi"
_CACHE: Final = "1Gi"


def build_ray_service(
    service: GenerationService,
    arguments: ReplicaArguments,
    storage: ObjectStorage,
    configuration: OperatorConfiguration,
) -> Manifest:
    """The RayService of a service whose model lies in `storage`."""
    spec = service.spec
    return {
        "apiVersion": RAY_API_VERSION,
        "kind": "RayService",
        "metadata": {
            "name": service.metadata.name,
            "namespace": service.metadata.namespace,
            "labels": _labels(service),
            "annotations": {
                SPEC_DIGEST_ANNOTATION: digest_pods(spec, storage),
                REPLICAS_DIGEST_ANNOTATION: digest_arguments(arguments),
            },
            "ownerReferences": [build_owner(service)],
        },
        "spec": {
            "serveConfigV2": build_serve_configuration(arguments, spec.replicas),
            "excludeHeadPodFromServeSvc": True,
            "upgradeStrategy": {"type": "NewCluster"},
            "rayClusterConfig": {
                "rayVersion": RAY_VERSION,
                "authOptions": {"mode": "token"},
                "headGroupSpec": {
                    "serviceType": "ClusterIP",
                    "rayStartParams": {
                        "num-cpus": "0",
                        "num-gpus": "0",
                        "dashboard-host": "0.0.0.0",  # noqa: S104 KubeRay asks from outside, with Ray's token
                        "object-store-memory": str(OBJECT_STORE_BYTES),
                    },
                    "template": _build_head_template(service, storage, configuration),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": WORKER_GROUP,
                        "replicas": spec.replicas,
                        "minReplicas": 0,
                        "maxReplicas": _NO_LIMIT,
                        "scaleStrategy": {"workersToDelete": []},
                        "rayStartParams": {
                            # One pod is one place for a replica, however many cores it has.
                            "num-cpus": "1",
                            "object-store-memory": str(OBJECT_STORE_BYTES),
                        },
                        "template": _build_replica_template(service, storage, configuration),
                    }
                ],
            },
        },
    }


def build_serve_configuration(arguments: ReplicaArguments, replicas: int) -> str:
    """Serve's configuration: one application of so many replicas."""
    document = {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": GENERATION_PORT},  # noqa: S104 in a pod
        "applications": [
            {
                "name": _APPLICATION,
                "route_prefix": "/",
                "import_path": _BUILDER,
                "args": arguments.model_dump(mode="json"),
                "deployments": [{"name": _APPLICATION, "num_replicas": replicas}],
            }
        ],
    }
    return json.dumps(document, sort_keys=True)


def set_replicas(serve_configuration: str, replicas: int) -> str:
    """The same configuration with another number of replicas; nothing else of it changes."""
    document = json.loads(serve_configuration)
    document["applications"][0]["deployments"][0]["num_replicas"] = replicas
    return json.dumps(document, sort_keys=True)


def build_service_network_policy(service: GenerationService, policies: NetworkPolicies) -> Manifest:
    """Who may talk to a service's pods; everybody in the cluster may ask for images."""
    own = {SERVICE_LABEL: service.metadata.name}
    return build_network_policy(_metadata(service), own, policies, client_ports=(GENERATION_PORT,))


def build_disruption_budget(service: GenerationService) -> Manifest:
    """At most one replica leaves at a time; a single one may, since nothing could be drained otherwise."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(service),
        "spec": {
            # RayClusters have no scale subresource: a percentage would block every drain.
            "minAvailable": max(0, service.spec.replicas - 1),
            "selector": {"matchLabels": {SERVICE_LABEL: service.metadata.name, ROLE_LABEL: REPLICA_ROLE}},
        },
    }


def build_replica_selector(service: str) -> str:
    """The label selector of a service's replicas, as an HPA reads it from the status."""
    return f"{SERVICE_LABEL}={service},{ROLE_LABEL}={REPLICA_ROLE}"


def digest_pods(spec: GenerationServiceSpec, storage: ObjectStorage) -> str:
    """SHA-256 of what pods are made from; defaults left out, so that a later release moves no service."""
    document = spec.model_dump(
        mode="json",
        exclude_defaults=True,
        include={"image", "gpu", "token_secret_name", "service_account_name", "priority_class_name"},
    )
    # The endpoint and the region travel with the arguments.
    mounts = storage.model_dump(mode="json", exclude_defaults=True, exclude={"endpoint_url", "region"})
    return _digest({**document, "storage": mounts})


def digest_arguments(arguments: ReplicaArguments) -> str:
    """SHA-256 of what replicas are started with."""
    return _digest(arguments.model_dump(mode="json", exclude_defaults=True))


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _labels(service: GenerationService) -> dict[str, str]:
    return {
        SERVICE_LABEL: service.metadata.name,
        "app.kubernetes.io/name": "synthray",
        "app.kubernetes.io/instance": service.metadata.name,
        "app.kubernetes.io/managed-by": "synthray-operator",
    }


def _metadata(service: GenerationService) -> Manifest:
    return {
        "name": f"synthray-{service.metadata.name}-generation",
        "namespace": service.metadata.namespace,
        "labels": {
            SERVICE_LABEL: service.metadata.name,
            "app.kubernetes.io/managed-by": "synthray-operator",
        },
        "ownerReferences": [build_owner(service)],
    }


def _build_head_template(
    service: GenerationService, storage: ObjectStorage, configuration: OperatorConfiguration
) -> Manifest:
    head = configuration.head
    container = {
        **build_container("ray-head", storage, configuration, _image(service, configuration)),
        "resources": {
            "requests": {"cpu": head.cpu, "memory": head.memory},
            "limits": {"memory": head.memory},
        },
        "readinessProbe": build_probe("/api/healthz", _AGENT_PORT, period_seconds=5, failures=3),
        "livenessProbe": build_probe("/api/healthz", _AGENT_PORT, period_seconds=10, failures=12),
    }
    container["env"].append({"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"})
    volumes = build_volumes(storage, shared_memory="256Mi", cache_size=_CACHE)
    return {
        "metadata": {"labels": {**_labels(service), ROLE_LABEL: "serve-head"}},
        "spec": {
            **build_pod(service.spec, configuration, container, volumes),
            "nodeSelector": dict(head.node_selector),
            "tolerations": build_tolerations(head.tolerations),
        },
    }


def _build_replica_template(
    service: GenerationService, storage: ObjectStorage, configuration: OperatorConfiguration
) -> Manifest:
    gpu, pods = service.spec.gpu, configuration.replicas
    limits = {"memory": pods.memory}
    selector = dict(configuration.workers.node_selector)
    if gpu is not None:
        limits[GPU_RESOURCE] = str(gpu.per_replica)
        selector[GPU_PRODUCT_LABEL] = gpu.product
    container = {
        **build_container("ray-worker", storage, configuration, _image(service, configuration)),
        "ports": [
            {"name": "http", "containerPort": GENERATION_PORT},
            {"name": REPLICA_PORT_NAME, "containerPort": METRICS_PORT},
        ],
        "resources": {"requests": {"cpu": pods.cpu, **limits}, "limits": limits},
        # Serve's proxy: a pod without one, or whose proxy drains, gets no requests.
        "readinessProbe": build_probe("/-/healthz", GENERATION_PORT, period_seconds=5, failures=3),
        "livenessProbe": build_probe("/api/healthz", _AGENT_PORT, period_seconds=10, failures=12),
    }
    drain_seconds = configuration.workers.grace_seconds - _AFTER_DRAIN_SECONDS
    container["env"] += [
        {"name": "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "value": str(drain_seconds)},
        # cuBLAS reads it when it starts; without it a product may differ from call to call.
        {"name": "CUBLAS_WORKSPACE_CONFIG", "value": ":4096:8"},
    ]
    if gpu is None:
        container["env"].append({"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"})
    labels = {**_labels(service), ROLE_LABEL: REPLICA_ROLE}
    volumes = build_volumes(storage, shared_memory=_SHARED_MEMORY, cache_size=_CACHE)
    if service.spec.token_secret_name:
        container["volumeMounts"].append({"name": "token", "mountPath": TOKEN_DIRECTORY, "readOnly": True})
        volumes.append(_build_token_volume(service.spec.token_secret_name))
    return {
        "metadata": {"labels": labels},
        "spec": {
            **build_pod(service.spec, configuration, container, volumes),
            "nodeSelector": selector,
            "tolerations": build_tolerations(configuration.workers.tolerations),
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {
                        "matchLabels": {SERVICE_LABEL: service.metadata.name, ROLE_LABEL: REPLICA_ROLE}
                    },
                }
            ],
        },
    }


def _build_token_volume(secret_name: str) -> Manifest:
    # The key by name, so that the kubelet says so where it is missing.
    items = [{"key": TOKEN_KEY, "path": TOKEN_KEY}]
    return {
        "name": "token",
        "secret": {"secretName": secret_name, "items": items, "defaultMode": 0o440},
    }


def _image(service: GenerationService, configuration: OperatorConfiguration) -> str:
    return service.spec.image or configuration.images.worker
