"""The pods of an attempt: a head that drives and workers that compute. Pure; KubeRay adds what starts Ray."""

import json
from typing import Final

from synthray.api.names import (
    ATTEMPT_LABEL,
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
from synthray.operator.configuration import OperatorConfiguration
from synthray.operator.pod_parts import (
    Manifest,
    build_container,
    build_pod,
    build_probe,
    build_tolerations,
    build_volumes,
)

_AGENT_PORT: Final = 52365
# After its drain a worker still has this long to end by itself.
_AFTER_DRAIN_SECONDS: Final = 15
# A head that is gone never comes back; the next attempt wants this worker's card.
_HEADLESS_SECONDS: Final = 20
_HEAD_CACHE: Final = "2Gi"


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
        **build_container("ray-head", run.spec.object_storage, configuration, image),
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
        "readinessProbe": build_probe("/healthz", METRICS_PORT, period_seconds=5, failures=3),
        "livenessProbe": build_probe("/healthz", METRICS_PORT, period_seconds=10, failures=6),
    }
    # A head takes no card, even where the runtime would give it all of them.
    container["env"].append({"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"})
    container["volumeMounts"].append({"name": "run", "mountPath": RUN_DIRECTORY, "readOnly": True})
    volumes = [
        *build_volumes(run.spec.object_storage, shared_memory="256Mi", cache_size=_HEAD_CACHE),
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
            **build_pod(run.spec, configuration, container, volumes),
            "nodeSelector": dict(head.node_selector),
            "tolerations": build_tolerations(head.tolerations),
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
        **build_container("ray-worker", run.spec.object_storage, configuration, image),
        "resources": {"requests": {"cpu": workers.cpu, **limits}, "limits": limits},
        "readinessProbe": build_probe("/api/healthz", _AGENT_PORT, period_seconds=5, failures=3),
        "livenessProbe": build_probe("/api/healthz", _AGENT_PORT, period_seconds=10, failures=12),
    }
    drain_seconds = configuration.workers.grace_seconds - _AFTER_DRAIN_SECONDS
    container["env"] += [
        {"name": "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "value": str(drain_seconds)},
        {"name": "RAY_gcs_rpc_server_reconnect_timeout_s", "value": str(_HEADLESS_SECONDS)},
    ]
    if workers.gpu is None:
        container["env"].append({"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"})
    volumes = build_volumes(
        run.spec.object_storage,
        shared_memory=configuration.workers.shared_memory,
        cache_size=workers.cache_size,
    )
    labels = {**build_labels(run, attempt), ROLE_LABEL: WORKER_ROLE}
    return {
        "metadata": {"labels": labels},
        "spec": {
            **build_pod(run.spec, configuration, container, volumes),
            "nodeSelector": selector,
            "tolerations": build_tolerations(configuration.workers.tolerations),
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


def _run_file() -> Manifest:
    return {
        "path": RUN_FILE_NAME,
        "fieldRef": {"fieldPath": f"metadata.annotations['{RUN_DOCUMENT_ANNOTATION}']"},
    }
