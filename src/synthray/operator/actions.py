"""What the operator may do to the cluster: each action a value, and safe to apply twice."""

from dataclasses import dataclass

from synthray.api.v1alpha1 import TrainingRunStatus
from synthray.operator.pod_parts import Manifest


@dataclass(frozen=True)
class StartAttempt:
    """Create a RayCluster, and the NetworkPolicy around it where one is wanted."""

    ray_cluster: Manifest
    network_policy: Manifest | None


@dataclass(frozen=True)
class EndAttempt:
    """Delete one RayCluster and no namesake: its pods get SIGTERM and save."""

    name: str
    uid: str


@dataclass(frozen=True)
class SetReplicas:
    """Change a RayCluster's workers from `current` to `wanted`, pods that wait for a node first."""

    name: str
    current: int
    wanted: int
    pods_to_delete: tuple[str, ...]


@dataclass(frozen=True)
class DeleteRun:
    """Delete a finished run whose time to live is over; its checkpoints stay."""

    uid: str


Action = StartAttempt | EndAttempt | SetReplicas | DeleteRun


@dataclass(frozen=True)
class Decision:
    """The status to write first (None: as it is), the actions to take then, and when to look again anyway."""

    status: TrainingRunStatus | None
    actions: tuple[Action, ...] = ()
    look_again_seconds: float | None = None


@dataclass(frozen=True)
class Tell:
    """Write an Event for people."""

    reason: str
    message: str
    is_warning: bool
