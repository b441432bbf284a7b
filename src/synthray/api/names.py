"""Every name that more than one part of synthray must agree on: labels, ports, keys, derived names.

Nothing else formats a label, a port or a name of a derived object; what only one room knows stays there.
"""

from typing import Final, Literal

API_GROUP: Final = "synthray.io"
API_VERSION: Final[Literal["synthray.io/v1alpha1"]] = "synthray.io/v1alpha1"

METRICS_PORT: Final = 8090
"""Port of a run's driver: /metrics, /progress, /healthz (KubeRay owns 8080)."""
METRICS_PORT_NAME: Final = "driver"
GENERATION_PORT: Final = 8000
STORAGE_PORT: Final = 8333
REPLICA_PORT_NAME: Final = "replica"
"""The same port of a service's replica: /metrics and /progress of that replica alone."""

RUN_LABEL: Final = "synthray.io/run"
SERVICE_LABEL: Final = "synthray.io/service"
ATTEMPT_LABEL: Final = "synthray.io/attempt"
ROLE_LABEL: Final = "synthray.io/role"
HEAD_ROLE: Final = "head"
WORKER_ROLE: Final = "worker"
REPLICA_ROLE: Final = "replica"
RUN_DOCUMENT_ANNOTATION: Final = "synthray.io/run-document"
"""On a head pod: the TrainingRun as JSON, which its driver reads from a mounted file."""
SPEC_DIGEST_ANNOTATION: Final = "synthray.io/spec-digest"
REPLICAS_DIGEST_ANNOTATION: Final = "synthray.io/replicas-digest"
"""On a RayService: of what its replicas were started with."""
RETRY_ANNOTATION: Final = "synthray.io/retry"
PAUSED_ANNOTATION: Final = "synthray.io/paused"
GPU_PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
GPU_RESOURCE: Final = "nvidia.com/gpu"


def ray_cluster_name(run: str, attempt: int) -> str:
    """The RayCluster of one attempt; with a run's 40 characters it leaves room for KubeRay's suffixes."""
    return f"{run}-{attempt}"


RUN_DIRECTORY: Final = "/etc/synthray"
RUN_FILE_NAME: Final = "run.json"
CREDENTIALS_DIRECTORY: Final = "/var/run/synthray/credentials"
CREDENTIALS_DIRECTORY_VARIABLE: Final = "SYNTHRAY_CREDENTIALS_DIRECTORY"
TOKEN_DIRECTORY: Final = "/var/run/synthray/token"  # noqa: S105 a place
TOKEN_KEY: Final = "token"  # noqa: S105 a name
CA_BUNDLE_DIRECTORY: Final = "/var/run/synthray/ca"
CACHE_DIRECTORY: Final = "/var/cache/synthray"
