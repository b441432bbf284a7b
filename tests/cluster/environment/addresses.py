"""Which addresses and ports a cluster on this machine uses: pure but for the choice of free ports.

The full cluster has fixed networks, so there is one for each machine; an API server alone takes any free
ports of the loopback, so many stand side by side.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from synthray.errors import InvalidInput
from synthray.storage.ports import choose_free_ports

NODE_NETWORK = IPv4Network("10.111.0.0/24")
POD_NETWORK = IPv4Network("10.112.0.0/16")
SERVICE_NETWORK = IPv4Network("10.113.0.0/16")
HOST_ADDRESS = NODE_NETWORK[1]
KUBERNETES_SERVICE_ADDRESS = SERVICE_NETWORK[1]
DNS_ADDRESS = SERVICE_NETWORK[10]
_FIRST_NODE = 10
_MAX_NODES = 200
# The kernel allows 15 characters for an interface, of which "syn-" takes four.
_NODE_NAME = re.compile(r"[a-z]([a-z0-9-]{0,9}[a-z0-9])?")


@dataclass(frozen=True)
class NodePlan:
    """One node's name, its address on the common bridge and the network of its pods."""

    name: str
    address: IPv4Address
    pods: IPv4Network

    @property
    def has_gpu(self) -> bool:
        """A name that begins with gpu makes a GPU node."""
        return self.name.startswith("gpu")

    @property
    def network_namespace(self) -> str:
        """The kernel's name of its network."""
        return f"synthray-{self.name}"

    @property
    def interface(self) -> str:
        """The machine's end of its cable."""
        return f"syn-{self.name}"


@dataclass(frozen=True)
class Endpoints:
    """Where a control plane listens."""

    host: IPv4Address
    api_port: int
    etcd_port: int
    etcd_peer_port: int

    @property
    def api_url(self) -> str:
        """What a kubeconfig names."""
        return f"https://{self.host}:{self.api_port}"

    @property
    def etcd_url(self) -> str:
        """etcd speaks plain HTTP on the loopback."""
        return f"http://127.0.0.1:{self.etcd_port}"

    @property
    def etcd_peer_url(self) -> str:
        """Nobody but itself calls it there."""
        return f"http://127.0.0.1:{self.etcd_peer_port}"


CLUSTER_ENDPOINTS = Endpoints(HOST_ADDRESS, api_port=6443, etcd_port=12379, etcd_peer_port=12380)


def choose_endpoints() -> Endpoints:
    """Free ports of the loopback, for an API server alone."""
    api_port, etcd_port, etcd_peer_port = choose_free_ports(3)
    return Endpoints(
        IPv4Address("127.0.0.1"), api_port=api_port, etcd_port=etcd_port, etcd_peer_port=etcd_peer_port
    )


def plan_nodes(names: Sequence[str]) -> tuple[NodePlan, ...]:
    """Addresses by the place in the list; raises InvalidInput for names that nodes can't have."""
    if bad := [name for name in names if not _NODE_NAME.fullmatch(name)]:
        raise InvalidInput(
            f"node name {bad[0]!r}: use at most 11 lower-case letters, digits and hyphens, a letter first"
        )
    if len(set(names)) != len(names):
        raise InvalidInput(f"nodes {', '.join(names)}: each name once")
    if not 0 < len(names) <= _MAX_NODES:
        raise InvalidInput(f"{len(names)} nodes: from 1 to {_MAX_NODES} fit into {NODE_NETWORK}")
    pod_networks = list(POD_NETWORK.subnets(new_prefix=24))
    plans = tuple(
        NodePlan(name, NODE_NETWORK[_FIRST_NODE + index], pod_networks[index])
        for index, name in enumerate(names)
    )
    if all(plan.has_gpu for plan in plans):
        raise InvalidInput(f"nodes {', '.join(names)}: one must be no GPU node, for DNS and the operators")
    return plans
