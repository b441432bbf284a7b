"""The pods of an attempt: a head that drives and workers that compute. Pure; KubeRay adds what starts Ray.

Everything that runs beside images of patients runs restricted: no root, no capabilities, a read-only root
file system, no token of a service account.
"""

import json
from typing import Any, Final

from synthray.api.names import (
    ATTEMPT_LABEL,
    CA_BUNDLE_DIRECTORY,
    CACHE_DIRECTORY,
    CREDENTIALS_DIRECTORY,
    CREDENTIALS_DIRECTORY_VARIABLE,
    GPU_PRODUCT_LABEL,
    GPU_RESOURCE,
    HEAD_ROLE,
    METRICS_PORT,
    METRICS_PORT_NAME,
    ROLE_LABEL,
    RUN_DIRECTORY,
    RUN_DOCUMENT_ANNOTATION,
    RUN_FILE_NAME,
    RUN_LABEL,
    WORKER_ROLE,
)
from synthray.api.v1alpha1 import TrainingRun
from synthray.operator.configuration import OperatorConfiguration, Proxy, Toleration

_USER: Final = 10001
_AGENT_PORT: Final = 52365
# After its drain a worker still has this long to end by itself.
_AFTER_DRAIN_SECONDS: Final = 15
# Kubernetes notices a silent node after 50 s; its pods are given up this much later.
_NODE_LOSS_SECONDS: Final = 30
# A head that is gone never comes back; the next attempt wants this worker's card.
_HEADLESS_SECONDS: Final = 20
_HEAD_CACHE: Final = "2Gi"

Manifest = dict[str, Any]


def build_labels(run: TrainingRun, attempt: int) -> dict[str, str]:
    """What every object of an attempt is found by."""
    return {
        RUN_LABEL: run.metadata.name,
        ATTEMPT_LABEL: str(attempt),
        "app.kubernetes.io/name": "synthray",
        "app.kubernetes.io/instance": run.metadata.name,
        "app.kubernetes.io/managed-by": "synthray-operator",
    }


def build_head_template(
    run: TrainingRun, attempt: int, configuration: OperatorConfiguration, image: str
) -> Manifest:
    """The head's pod: `synthray driver`, which starts Ray's head by itself, on a CPU."""
    head = configuration.head
    container = {
        **_container("ray-head", run, configuration, image),
        "command": ["synthray", "driver", f"{RUN_DIRECTORY}/{RUN_FILE_NAME}"],
        "ports": [
            {"name": METRICS_PORT_NAME, "containerPort": METRICS_PORT},
            {"name": "gcs-server", "containerPort": 6379},
            {"name": "dashboard", "containerPort": 8265},
            {"name": "client", "containerPort": 10001},
        ],
        "resources": {
            "requests": {"cpu": head.cpu, "memory": head.memory},
            "limits": {"memory": head.memory},
        },
        "readinessProbe": _probe("/healthz", METRICS_PORT, period_seconds=5, failures=3),
        "livenessProbe": _probe("/healthz", METRICS_PORT, period_seconds=10, failures=6),
    }
    # A head takes no card, even where the runtime would give it all of them.
    container["env"].append({"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"})
    container["volumeMounts"].append({"name": "run", "mountPath": RUN_DIRECTORY, "readOnly": True})
    volumes = [
        *_volumes(run, shared_memory="256Mi", cache_size=_HEAD_CACHE),
        {"name": "run", "downwardAPI": {"items": [_run_file()]}},
    ]
    return {
        "metadata": {
            "labels": {**build_labels(run, attempt), ROLE_LABEL: HEAD_ROLE},
            "annotations": {
                # Our own process starts Ray: see $KUBERAY_GEN_RAY_START_CMD.
                "ray.io/overwrite-container-cmd": "true",
                RUN_DOCUMENT_ANNOTATION: build_run_document(run),
                # Moving a driver costs a restart of the whole run.
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                "karpenter.sh/do-not-disrupt": "true",
            },
        },
        "spec": {
            **_pod(run, configuration, container, volumes),
            "nodeSelector": dict(head.node_selector),
            "tolerations": _tolerations(head.tolerations),
        },
    }


def build_worker_template(
    run: TrainingRun, attempt: int, configuration: OperatorConfiguration, image: str
) -> Manifest:
    """A worker's pod: one node of Ray with one place, on a card where the run wants one."""
    workers = run.spec.workers
    limits = {"memory": workers.memory}
    selector = dict(configuration.workers.node_selector)
    if workers.gpu is not None:
        limits[GPU_RESOURCE] = str(workers.gpu.per_worker)
        selector[GPU_PRODUCT_LABEL] = workers.gpu.product
    container = {
        **_container("ray-worker", run, configuration, image),
        "resources": {"requests": {"cpu": workers.cpu, **limits}, "limits": limits},
        "readinessProbe": _probe("/api/healthz", _AGENT_PORT, period_seconds=5, failures=3),
        "livenessProbe": _probe("/api/healthz", _AGENT_PORT, period_seconds=10, failures=12),
    }
    drain_seconds = configuration.workers.grace_seconds - _AFTER_DRAIN_SECONDS
    container["env"] += [
        {"name": "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "value": str(drain_seconds)},
        {"name": "RAY_gcs_rpc_server_reconnect_timeout_s", "value": str(_HEADLESS_SECONDS)},
    ]
    if workers.gpu is None:
        container["env"].append({"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"})
    volumes = _volumes(run, shared_memory=configuration.workers.shared_memory, cache_size=workers.cache_size)
    labels = {**build_labels(run, attempt), ROLE_LABEL: WORKER_ROLE}
    return {
        "metadata": {"labels": labels},
        "spec": {
            **_pod(run, configuration, container, volumes),
            "nodeSelector": selector,
            "tolerations": _tolerations(configuration.workers.tolerations),
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": {RUN_LABEL: run.metadata.name, ROLE_LABEL: WORKER_ROLE}},
                }
            ],
        },
    }


def build_run_document(run: TrainingRun) -> str:
    """The run as its driver reads it: JSON, without status and without the API server's own metadata."""
    document = run.model_copy(
        update={
            "status": None,
            "metadata": run.metadata.model_copy(
                update={
                    "labels": {},
                    "annotations": {},
                    "generation": 0,
                    "creation_timestamp": None,
                    "deletion_timestamp": None,
                }
            ),
        }
    )
    # Defaults are left out: a worker image of another release may know fewer fields, or none of a new one.
    fields = document.model_dump(mode="json", exclude_defaults=True)
    return json.dumps({"apiVersion": run.api_version, "kind": run.kind, **fields})


def _pod(
    run: TrainingRun, configuration: OperatorConfiguration, container: Manifest, volumes: list[Manifest]
) -> Manifest:
    spec: Manifest = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": configuration.workers.grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
    if run.spec.service_account_name:
        spec["serviceAccountName"] = run.spec.service_account_name
    if run.spec.priority_class_name:
        spec["priorityClassName"] = run.spec.priority_class_name
    if configuration.images.pull_secret_names:
        spec["imagePullSecrets"] = [{"name": name} for name in configuration.images.pull_secret_names]
    return spec


def _container(name: str, run: TrainingRun, configuration: OperatorConfiguration, image: str) -> Manifest:
    environment = [
        {"name": "HOME", "value": "/home/synthray"},
        *_proxy_environment(configuration.proxy, configuration.cluster_domain),
        *({"name": name, "value": value} for name, value in sorted(configuration.environment.items())),
    ]
    mounts: list[Manifest] = [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 a volume of the pod's own
        {"name": "home", "mountPath": "/home/synthray"},
        {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108 a volume of the pod's own
        {"name": "cache", "mountPath": CACHE_DIRECTORY},
    ]
    storage = run.spec.object_storage
    if storage.credentials_secret_name:
        environment.append({"name": CREDENTIALS_DIRECTORY_VARIABLE, "value": CREDENTIALS_DIRECTORY})
        mounts.append({"name": "credentials", "mountPath": CREDENTIALS_DIRECTORY, "readOnly": True})
    if storage.ca_bundle_config_map_name:
        environment.append({"name": "AWS_CA_BUNDLE", "value": f"{CA_BUNDLE_DIRECTORY}/ca.crt"})
        mounts.append({"name": "ca-bundle", "mountPath": CA_BUNDLE_DIRECTORY, "readOnly": True})
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": configuration.images.pull_policy,
        "env": environment,
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _volumes(run: TrainingRun, *, shared_memory: str, cache_size: str) -> list[Manifest]:
    storage = run.spec.object_storage
    volumes: list[Manifest] = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "home", "emptyDir": {}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory}},
        {"name": "cache", "emptyDir": {"sizeLimit": cache_size}},
    ]
    if storage.credentials_secret_name:
        secret = {"secretName": storage.credentials_secret_name, "defaultMode": 0o440}
        volumes.append({"name": "credentials", "secret": secret})
    if storage.ca_bundle_config_map_name:
        volumes.append({"name": "ca-bundle", "configMap": {"name": storage.ca_bundle_config_map_name}})
    return volumes


def _run_file() -> Manifest:
    return {
        "path": RUN_FILE_NAME,
        "fieldRef": {"fieldPath": f"metadata.annotations['{RUN_DOCUMENT_ANNOTATION}']"},
    }


def _probe(path: str, port: int, *, period_seconds: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
        "initialDelaySeconds": period_seconds,
    }


def _tolerations(tolerations: tuple[Toleration, ...]) -> list[Manifest]:
    """The configured ones, and short patience with nodes that are gone."""
    lost = [
        {
            "key": f"node.kubernetes.io/{condition}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": _NODE_LOSS_SECONDS,
        }
        for condition in ("not-ready", "unreachable")
    ]
    return [*(toleration.model_dump(exclude_defaults=True) for toleration in tolerations), *lost]


def _proxy_environment(proxy: Proxy, cluster_domain: str) -> list[Manifest]:
    if not proxy.http and not proxy.https:
        return []
    inside = f"localhost,127.0.0.1,.svc,.{cluster_domain}"
    values = {
        "HTTP_PROXY": proxy.http,
        "HTTPS_PROXY": proxy.https,
        "NO_PROXY": f"{inside},{proxy.exceptions}" if proxy.exceptions else inside,
    }
    return [{"name": name, "value": value} for name, value in values.items() if value]
