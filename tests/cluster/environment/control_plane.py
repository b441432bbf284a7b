"""The command lines of etcd, the API server, the controllers and the scheduler, and the keys they share.

Both kinds of cluster are made of these; who keeps the processes is theirs to decide.
"""

from dataclasses import dataclass
from pathlib import Path

from .addresses import KUBERNETES_SERVICE_ADDRESS, SERVICE_NETWORK, Endpoints
from .certificates import CLUSTER_CA, FRONT_PROXY_CA, KeyPair, KeyRing
from .commands import succeeds

ETCD = "etcd"
API_SERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
READY_SECONDS = 120.0

_SERVICE_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
_AUDIT_POLICY = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, verbs: [get, list, watch]}
- {level: None, resources: [{group: coordination.k8s.io}]}
- {level: Metadata}
"""


@dataclass(frozen=True)
class ApiServerKeys:
    """What the API server needs to know others and to be known."""

    ring: KeyRing
    server: KeyPair
    kubelet_client: KeyPair
    front_proxy_client: KeyPair


@dataclass(frozen=True)
class ControlPlane:
    """The files of one control plane and where it listens."""

    programs: Path
    folder: Path
    kubeconfig: Path
    endpoints: Endpoints
    keys: ApiServerKeys

    def build_etcd_command(self) -> list[str]:
        """Without fsync: nobody keeps what a test wrote."""
        endpoints = self.endpoints
        return [
            str(self.programs / ETCD),
            f"--data-dir={self.folder / ETCD}",
            f"--listen-client-urls={endpoints.etcd_url}",
            f"--advertise-client-urls={endpoints.etcd_url}",
            f"--listen-peer-urls={endpoints.etcd_peer_url}",
            f"--initial-advertise-peer-urls={endpoints.etcd_peer_url}",
            f"--initial-cluster=default={endpoints.etcd_peer_url}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            "--quota-backend-bytes=4294967296",
            "--auto-compaction-retention=1h",
        ]

    def build_api_server_command(self, *, evict_after_seconds: int) -> list[str]:
        """With RBAC, the Node authorizer, PodSecurity and an audit log of what is written."""
        keys, ring = self.keys, self.keys.ring
        audit_policy = self.folder / "audit.yaml"
        audit_policy.write_text(_AUDIT_POLICY)
        return [
            str(self.programs / API_SERVER),
            f"--etcd-servers={self.endpoints.etcd_url}",
            f"--bind-address={self.endpoints.host}",
            f"--advertise-address={self.endpoints.host}",
            f"--secure-port={self.endpoints.api_port}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--client-ca-file={ring.find(CLUSTER_CA).certificate}",
            f"--tls-cert-file={keys.server.certificate}",
            f"--tls-private-key-file={keys.server.key}",
            f"--kubelet-client-certificate={keys.kubelet_client.certificate}",
            f"--kubelet-client-key={keys.kubelet_client.key}",
            f"--kubelet-certificate-authority={ring.find(CLUSTER_CA).certificate}",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={ring.make_service_account_keys()[1]}",
            f"--service-account-signing-key-file={ring.make_service_account_keys()[0]}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            f"--requestheader-client-ca-file={ring.find(FRONT_PROXY_CA).certificate}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={keys.front_proxy_client.certificate}",
            f"--proxy-client-key-file={keys.front_proxy_client.key}",
            "--enable-aggregator-routing=true",  # webhooks by pod address: the machine has no kube-proxy
            f"--default-not-ready-toleration-seconds={evict_after_seconds}",
            f"--default-unreachable-toleration-seconds={evict_after_seconds}",
            f"--audit-policy-file={audit_policy}",
            f"--audit-log-path={self.folder / 'audit.log'}",
            "--audit-log-maxsize=50",
            "--audit-log-maxbackup=2",
        ]

    def build_controller_manager_command(self, *, node_grace_seconds: int, secure_port: int) -> list[str]:
        """`secure_port` 0 serves no metrics, so that many can stand side by side."""
        kubeconfig = self._component_kubeconfig("kcm", "system:kube-controller-manager")
        ring = self.keys.ring
        authority = ring.find(CLUSTER_CA)
        return [
            str(self.programs / CONTROLLER_MANAGER),
            *_as_component(kubeconfig, secure_port),
            f"--cluster-signing-cert-file={authority.certificate}",
            f"--cluster-signing-key-file={authority.key}",
            f"--root-ca-file={authority.certificate}",
            f"--service-account-private-key-file={ring.make_service_account_keys()[0]}",
            "--use-service-account-credentials=true",
            f"--node-monitor-grace-period={node_grace_seconds}s",
        ]

    def build_scheduler_command(self, *, secure_port: int) -> list[str]:
        """The scheduler with its own defaults."""
        kubeconfig = self._component_kubeconfig("scheduler", "system:kube-scheduler")
        return [str(self.programs / SCHEDULER), *_as_component(kubeconfig, secure_port)]

    def is_ready(self) -> bool:
        """Whether the API server says so."""
        kubectl = self.programs / "kubectl"
        return succeeds(
            [kubectl, f"--kubeconfig={self.kubeconfig}", "--request-timeout=5s", "get", "--raw=/readyz"]
        )

    def _component_kubeconfig(self, name: str, user: str) -> Path:
        path = self.folder / f"{name}.kubeconfig"
        return self.keys.ring.write_kubeconfig(path, url=self.endpoints.api_url, name=name, user=user)


def make_control_plane(
    *, programs: Path, folder: Path, keys: Path, kubeconfig: Path, endpoints: Endpoints
) -> ControlPlane:
    """Make the folder, the keys and the administrator's kubeconfig, where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    ring = KeyRing(keys)
    ring.make_authority(CLUSTER_CA)
    ring.make_authority(FRONT_PROXY_CA)
    ring.make_service_account_keys()
    hosts = dict.fromkeys(
        [str(endpoints.host), str(KUBERNETES_SERVICE_ADDRESS), "127.0.0.1", *_SERVICE_NAMES]
    )
    server_keys = ApiServerKeys(
        ring=ring,
        server=ring.make_pair("apiserver", user=API_SERVER, hosts=list(hosts)),
        kubelet_client=ring.make_pair(
            "apiserver-kubelet-client", user="kube-apiserver-kubelet-client", group="system:masters"
        ),
        front_proxy_client=ring.make_pair(
            "front-proxy-client", user="front-proxy-client", authority=FRONT_PROXY_CA
        ),
    )
    ring.write_kubeconfig(
        kubeconfig, url=endpoints.api_url, name="admin", user="admin", group="system:masters"
    )
    return ControlPlane(programs, folder, kubeconfig, endpoints, server_keys)


def _as_component(kubeconfig: Path, secure_port: int) -> list[str]:
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={secure_port}",
        "--leader-elect=false",
    ]
