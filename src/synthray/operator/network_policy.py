"""Who may talk to the pods of a run or a service, and whom they may talk to. Pure."""

from typing import Any, Final

from synthray.api.names import METRICS_PORT
from synthray.operator.configuration import NetworkPolicies
from synthray.operator.pod_parts import Manifest

# KubeRay asks the head's dashboard how things are.
_DASHBOARD_PORT: Final = 8265


def build_network_policy(
    metadata: Manifest,
    own_labels: dict[str, str],
    policies: NetworkPolicies,
    *,
    client_ports: tuple[int, ...] = (),
) -> Manifest:
    """The NetworkPolicy of the pods with `own_labels`; whole namespaces may reach their `client_ports`."""
    own_pods = {"podSelector": {"matchLabels": own_labels}}
    scrapers: dict[str, Any] = {"namespaceSelector": {}}
    if policies.metrics_namespace:
        labels = {"kubernetes.io/metadata.name": policies.metrics_namespace}
        scrapers = {"namespaceSelector": {"matchLabels": labels}}
    clients = [{"from": [{"namespaceSelector": {}}], "ports": _tcp(client_ports)}] if client_ports else []
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {
            "podSelector": {"matchLabels": own_labels},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [own_pods]},
                # KubeRay's chart and its manifests name it differently, and give it the same component.
                {
                    "from": [_pods_labelled("component", "kuberay-operator")],
                    "ports": _tcp((_DASHBOARD_PORT,)),
                },
                {
                    "from": [_pods_labelled("name", "synthray-operator"), scrapers],
                    "ports": _tcp((METRICS_PORT,)),
                },
                *clients,
            ],
            "egress": [
                {"to": [own_pods]},
                {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
                {"ports": _tcp(policies.storage_ports)},
            ],
        },
    }


def _pods_labelled(label: str, value: str) -> Manifest:
    selected = {"matchLabels": {f"app.kubernetes.io/{label}": value}}
    return {"namespaceSelector": {}, "podSelector": selected}


def _tcp(ports: tuple[int, ...]) -> list[Manifest]:
    return [{"protocol": "TCP", "port": port} for port in ports]
