"""A run's attempt as KubeRay's RayCluster, and the NetworkPolicy around it: pure, rendered once.

Nothing here is applied again while an attempt runs, so that a new release of the operator restarts no run.
"""

from typing import Final

from synthray.api.names import (
    API_VERSION,
    ROLE_LABEL,
    RUN_LABEL,
    SPEC_DIGEST_ANNOTATION,
    ray_cluster_name,
)
from synthray.api.v1alpha1 import GenerationService, TrainingRun
from synthray.operator.configuration import NetworkPolicies, OperatorConfiguration
from synthray.operator.digest import digest_spec
from synthray.operator.network_policy import build_network_policy
from synthray.operator.pod_parts import Manifest
from synthray.operator.pods import build_head_template, build_labels, build_worker_template

RAY_API_VERSION: Final = "ray.io/v1"
RAY_VERSION: Final = "2.60.0"
WORKER_GROUP: Final = "workers"
# An empty group may grow to any size: the operator alone sets its replicas.
_NO_LIMIT: Final = 2147483647
OBJECT_STORE_BYTES: Final = 128 * 1024 * 1024


def build_ray_cluster(
    run: TrainingRun, attempt: int, configuration: OperatorConfiguration, *, image: str
) -> Manifest:
    """The RayCluster of one attempt: a head, and workers of which none is wanted yet."""
    return {
        "apiVersion": RAY_API_VERSION,
        "kind": "RayCluster",
        "metadata": {
            "name": ray_cluster_name(run.metadata.name, attempt),
            "namespace": run.metadata.namespace,
            "labels": build_labels(run, attempt),
            "annotations": {
                # A second head would be a second driver of the same attempt.
                "ray.io/disable-provisioned-head-restart": "true",
                SPEC_DIGEST_ANNOTATION: digest_spec(run.spec),
            },
            "ownerReferences": [build_owner(run)],
        },
        "spec": {
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
                "template": build_head_template(run, attempt, configuration, image),
            },
            "workerGroupSpecs": [
                {
                    "groupName": WORKER_GROUP,
                    "replicas": 0,
                    "minReplicas": 0,
                    "maxReplicas": _NO_LIMIT,
                    "scaleStrategy": {"workersToDelete": []},
                    "rayStartParams": {
                        # One pod is one place for a worker, however many cores it has.
                        "num-cpus": "1",
                        "object-store-memory": str(OBJECT_STORE_BYTES),
                    },
                    "template": build_worker_template(run, attempt, configuration, image),
                }
            ],
        },
    }


def build_run_network_policy(run: TrainingRun, policies: NetworkPolicies) -> Manifest:
    """Who may talk to a run's pods, and whom they may talk to."""
    metadata = {
        "name": f"synthray-{run.metadata.name}",
        "namespace": run.metadata.namespace,
        "labels": {RUN_LABEL: run.metadata.name, "app.kubernetes.io/managed-by": "synthray-operator"},
        "ownerReferences": [build_owner(run)],
    }
    return build_network_policy(metadata, {RUN_LABEL: run.metadata.name}, policies)


def build_worker_selector(run: str) -> str:
    """The label selector of a run's workers, as an HPA reads it from the status."""
    return f"{RUN_LABEL}={run},{ROLE_LABEL}=worker"


def build_replicas_patch(current: int, wanted: int, pods_to_delete: tuple[str, ...]) -> list[Manifest]:
    """JSON patch from `current` to `wanted` workers; refused by the server if another hand was quicker.

    `pods_to_delete` are pods that wait for a node: KubeRay would otherwise take running ones before them.
    """
    group = "/spec/workerGroupSpecs/0"
    return [
        {"op": "test", "path": f"{group}/replicas", "value": current},
        {"op": "replace", "path": f"{group}/replicas", "value": wanted},
        {"op": "add", "path": f"{group}/scaleStrategy", "value": {"workersToDelete": list(pods_to_delete)}},
    ]


def build_owner(owner: TrainingRun | GenerationService) -> Manifest:
    """The reference by which what is made goes with its owner."""
    return {
        "apiVersion": API_VERSION,
        "kind": owner.kind,
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
