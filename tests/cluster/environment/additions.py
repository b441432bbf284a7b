"""What a test may want in the cluster beside Kubernetes: KubeRay, an S3 server, a thousand fake nodes."""

import json
import os
from pathlib import Path
from shutil import copyfile, copytree, rmtree

from .cluster import KWOK, MANIFESTS, Cluster
from .commands import wait_until
from .images import make_program_image
from .node_files import GPU_LABELS
from .programs import find_module

_KUBERAY_IMAGE = "localhost/kuberay-operator"
_KUBERAY_NAMESPACE = "kuberay-system"
_KUBERAY_CONFIGURATION = "config"
_FAKE_NODES_SECONDS = 300.0
_STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")


def install_kuberay(cluster: Cluster) -> None:
    """The operator of KubeRay's Go module: its own CRDs, rights and Deployment, its binary as an image."""
    make_program_image(cluster.places, f"{_KUBERAY_IMAGE}:1", "kuberay-operator", "/manager")
    cluster.load(f"{_KUBERAY_IMAGE}:1")
    module = find_module("kuberay", "github.com/ray-project/kuberay/ray-operator")
    overlay = cluster.places.state / "kuberay"
    rmtree(overlay, ignore_errors=True)
    copytree(module / _KUBERAY_CONFIGURATION, overlay / _KUBERAY_CONFIGURATION, copy_function=copyfile)
    for folder, _, _ in os.walk(overlay):
        Path(folder).chmod(0o755)  # modules are read-only
    (overlay / "kustomization.yaml").write_text(json.dumps(build_kuberay_overlay()))
    if _KUBERAY_NAMESPACE not in cluster.kubectl("get", "namespaces", "-o", "name"):
        cluster.kubectl("create", "namespace", _KUBERAY_NAMESPACE)
    # Its CRDs are too large for a client-side apply.
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(overlay))
    rollout = ("rollout", "status", "deployment/kuberay-operator", "--timeout=120s")
    cluster.kubectl("-n", _KUBERAY_NAMESPACE, *rollout)
    cluster.say("the KubeRay operator is ready")


def build_kuberay_overlay() -> dict[str, object]:
    """KubeRay's own manifests with our image, and without a CPU limit that two cores make too tight."""
    no_limit = [{"op": "remove", "path": "/spec/template/spec/containers/0/resources/limits/cpu"}]
    return {
        "resources": [f"{_KUBERAY_CONFIGURATION}/{part}" for part in ("crd", "rbac", "manager")],
        "namespace": _KUBERAY_NAMESPACE,
        "images": [{"name": "kuberay/operator", "newName": _KUBERAY_IMAGE, "newTag": "1"}],
        "patches": [
            {
                "target": {"kind": "Deployment", "name": "kuberay-operator"},
                "patch": json.dumps(no_limit),
            }
        ],
    }


def install_storage(cluster: Cluster, image: str) -> None:
    """An S3 server in the namespace `storage`; what it holds is gone with its pod."""
    cluster.kubectl("apply", "-f", "-", given=render_storage(image))
    cluster.kubectl("-n", "storage", "rollout", "status", "deployment/storage", "--timeout=120s")
    cluster.say("S3 answers in the cluster at http://storage.storage:8333")


def render_storage(image: str) -> str:
    """The manifest of the S3 server with this image."""
    return (MANIFESTS / "storage.yaml").read_text().replace("STORAGE_IMAGE", image)


def set_fake_nodes(cluster: Cluster, count: int) -> None:
    """kwok's nodes beside the real ones, each with one GPU; 0 removes them."""
    if cluster.daemon(KWOK).pid is None:
        _start_kwok(cluster)
    there = cluster.kubectl("get", "nodes", "--selector=type=kwok", "-o", "name").split()
    if len(there) > count:  # by label, all at once: many names in one command take minutes
        cluster.kubectl("delete", "nodes", "--wait=false", "--selector=type=kwok")
        there = []
    names = sorted({f"fake-{index}" for index in range(count)} - {name.split("/")[1] for name in there})
    if names:
        nodes = {"apiVersion": "v1", "kind": "List", "items": [build_fake_node(name) for name in names]}
        cluster.kubectl("create", "-f", "-", given=json.dumps(nodes))
    wait_until(
        f"{count} fake nodes",
        lambda: sum(name.startswith("fake-") for name in cluster.observe_ready_nodes()) == count,
        seconds=_FAKE_NODES_SECONDS,
        logs=cluster.places.control,
        every_seconds=2,
    )
    cluster.say(f"{count} fake nodes")


def build_fake_node(name: str) -> dict[str, object]:
    """A node that kwok says is healthy; its taint keeps pods away that do not ask for it."""
    size = {"cpu": "32", "memory": "256Gi", "pods": "110", "nvidia.com/gpu": "1"}
    labels = {
        "type": "kwok",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        **GPU_LABELS,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": labels},
        "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
        "status": {"capacity": size, "allocatable": size},
    }


def _start_kwok(cluster: Cluster) -> None:
    """kwok makes nothing happen by itself: its module's stages say what."""
    stages = find_module("kwok", "sigs.k8s.io/kwok") / "kustomize" / "stage"
    files = [path for folder in _STAGES for path in sorted((stages / folder).glob("*-*.yaml"))]
    cluster.daemon(KWOK).start(
        [
            cluster.places.programs / "kwok",
            *(f"--config={path}" for path in files),
            f"--kubeconfig={cluster.places.kubeconfig}",
            "--manage-all-nodes=false",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            "--node-lease-duration-seconds=40",
            "--cidr=10.128.0.0/12",
            "--server-address=127.0.0.1:10247",
        ],
        log=cluster.places.control / "kwok.log",
    )
