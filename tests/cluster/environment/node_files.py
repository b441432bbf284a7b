"""The settings of a node's containerd, kubelet and kube-proxy, written before it starts.

Each odd value answers a restriction of a machine without systemd, cgroup v2 or CAP_SYS_RESOURCE.
"""

import json
from pathlib import Path
from typing import Any

from .addresses import CLUSTER_ENDPOINTS, DNS_ADDRESS, POD_NETWORK, NodePlan
from .certificates import CLUSTER_CA, KeyPair, KeyRing

GPU_PRODUCT = "Quadro-RTX-6000"
GPU_LABELS = {"nvidia.com/gpu.present": "true", "nvidia.com/gpu.product": GPU_PRODUCT}
PAUSE_IMAGE = "localhost/pause:1"
_MAX_OPEN_FILES = 20000
_UNUSED_PLUGINS = (
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.internal.v1.opt",
    "io.containerd.tracing.processor.v1.otlp",
)


def write_node_files(plan: NodePlan, folder: Path, *, keys: KeyRing, reserved_memory_mebibytes: int) -> None:
    """All that `node-init.sh` reads."""
    (folder / "cni").mkdir(parents=True, exist_ok=True)
    user = f"system:node:{plan.name}"
    certificate = f"node-{plan.name}"
    pair = keys.make_pair(certificate, user=user, group="system:nodes", hosts=[plan.name, str(plan.address)])
    url = CLUSTER_ENDPOINTS.api_url
    keys.write_kubeconfig(
        folder / "kubelet.kubeconfig", url=url, name=certificate, user=user, group="system:nodes"
    )
    proxy = keys.write_kubeconfig(
        folder / "kube-proxy.kubeconfig", url=url, name="kube-proxy", user="system:kube-proxy"
    )
    labels = ",".join(f"{key}={value}" for key, value in GPU_LABELS.items()) if plan.has_gpu else ""
    (folder / "resolv.conf").write_text("")
    (folder / "containerd.toml").write_text(build_containerd_toml(folder))
    (folder / "cni" / "10-pods.conflist").write_text(json.dumps(build_pod_network(plan)))
    (folder / "kubelet.yaml").write_text(
        json.dumps(build_kubelet_settings(plan, folder, keys, pair, reserved_memory_mebibytes), indent=1)
    )
    (folder / "kubelet.flags").write_text(
        f"--node-ip={plan.address}" + (f" --node-labels={labels}" if labels else "")
    )
    (folder / "gpus").write_text("1" if plan.has_gpu else "0")
    (folder / "kube-proxy.yaml").write_text(json.dumps(build_proxy_settings(proxy), indent=1))


def build_containerd_toml(folder: Path) -> str:
    """containerd's settings, for version 1.6 and later."""
    unused = ", ".join(json.dumps(plugin) for plugin in _UNUSED_PLUGINS)
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [{unused}]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true  # without CAP_SYS_RESOURCE a score below one's own is refused
  enable_unprivileged_ports = true  # as containerd 2 does: no user of a pod needs root for port 53
  enable_unprivileged_icmp = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
"""


def build_pod_network(plan: NodePlan) -> dict[str, Any]:
    """A bridge in the node for its pods; other nodes' pods are reached by routes."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(plan.pods)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]}


def build_kubelet_settings(
    plan: NodePlan, folder: Path, keys: KeyRing, pair: KeyPair, reserved_memory_mebibytes: int
) -> dict[str, Any]:
    """The kubelet's KubeletConfiguration."""
    gpu_taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "x509": {"clientCAFile": str(keys.find(CLUSTER_CA).certificate)},
            "webhook": {"enabled": True},
            "anonymous": {"enabled": False},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pair.certificate),
        "tlsPrivateKeyFile": str(pair.key),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/synthray/{plan.name}",
        # Kubernetes 1.35 refuses cgroup v1 unless told otherwise, and wants one path in all its trees.
        "failCgroupV1": False,
        "kubeletCgroups": f"/synthray/{plan.name}/system",
        "failSwapOn": False,
        "clusterDNS": [str(DNS_ADDRESS)],
        "clusterDomain": "cluster.local",
        "resolvConf": str(folder / "resolv.conf"),
        "oomScoreAdj": 0,
        "maxOpenFiles": _MAX_OPEN_FILES,
        "volumePluginDir": "/var/lib/kubelet/volumeplugins",
        "systemReserved": {"memory": f"{reserved_memory_mebibytes}Mi"},
        "enforceNodeAllocatable": ["pods"],
        # An image that is collected cannot be pulled again: no collection, small absolute limits for disks.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "imageMaximumGCAge": "0s",
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1Gi",
            "imagefs.available": "1Gi",
        },
        **({"registerWithTaints": [gpu_taint]} if plan.has_gpu else {}),
    }


def build_proxy_settings(kubeconfig: Path) -> dict[str, Any]:
    """kube-proxy's KubeProxyConfiguration."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": str(POD_NETWORK),
        "oomScoreAdj": 0,
        # A network namespace may not set the machine's conntrack table.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
