"""What the pods of runs and of services have in common. Pure.

Everything that runs beside images of patients runs restricted: no root, no capabilities, a read-only root
file system, no token of a service account.
"""

from typing import Any, Final

from synthray.api.names import (
    CA_BUNDLE_DIRECTORY,
    CACHE_DIRECTORY,
    CREDENTIALS_DIRECTORY,
    CREDENTIALS_DIRECTORY_VARIABLE,
)
from synthray.api.v1alpha1 import GenerationServiceSpec, TrainingRunSpec
from synthray.api.v1alpha1.placement import ObjectStorage
from synthray.operator.configuration import OperatorConfiguration, Proxy, Toleration

_USER: Final = 10001
# Kubernetes notices a silent node after 50 s; its pods are given up this much later.
_NODE_LOSS_SECONDS: Final = 30

Manifest = dict[str, Any]
Spec = TrainingRunSpec | GenerationServiceSpec


def build_pod(
    spec: Spec, configuration: OperatorConfiguration, container: Manifest, volumes: list[Manifest]
) -> Manifest:
    """A pod's spec: one container, restricted."""
    pod: Manifest = {
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
    if spec.service_account_name:
        pod["serviceAccountName"] = spec.service_account_name
    if spec.priority_class_name:
        pod["priorityClassName"] = spec.priority_class_name
    if configuration.images.pull_secret_names:
        pod["imagePullSecrets"] = [{"name": name} for name in configuration.images.pull_secret_names]
    return pod


def build_container(
    name: str, storage: ObjectStorage, configuration: OperatorConfiguration, image: str
) -> Manifest:
    """A container with its environment and mounts, without command, ports, resources and probes."""
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


def build_volumes(storage: ObjectStorage, *, shared_memory: str, cache_size: str) -> list[Manifest]:
    """What a container's mounts refer to."""
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


def build_probe(path: str, port: int, *, period_seconds: int, failures: int) -> Manifest:
    """A probe over HTTP."""
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
        "initialDelaySeconds": period_seconds,
    }


def build_tolerations(tolerations: tuple[Toleration, ...]) -> list[Manifest]:
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
