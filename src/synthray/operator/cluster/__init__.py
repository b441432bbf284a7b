"""The Kubernetes API server, as the operator talks to it: the only part that imports the kubernetes client.

The client brings configuration, credentials and TLS; documents stay plain dictionaries, since building its
models costs more than the request.
"""

from synthray.operator.cluster.api_server import (
    ApiServer,
    Conflict,
    Missing,
    Refused,
    connect,
    find_kubeconfig,
)
from synthray.operator.cluster.lease import hold_lease
from synthray.operator.cluster.objects import Cluster
from synthray.operator.cluster.watching import follow

__all__ = [
    "ApiServer",
    "Cluster",
    "Conflict",
    "Missing",
    "Refused",
    "connect",
    "find_kubeconfig",
    "follow",
    "hold_lease",
]
