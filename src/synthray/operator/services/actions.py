"""What the operator may do for a service: each action a value, and safe to apply twice."""

from dataclasses import dataclass

from synthray.operator.actions import SetReplicas
from synthray.operator.pod_parts import Manifest


@dataclass(frozen=True)
class StartService:
    """Create a RayService, after what stands around it."""

    ray_service: Manifest
    around: tuple[Manifest, ...]


@dataclass(frozen=True)
class ChangeService:
    """Change a RayService by a JSON patch, after what stands around it."""

    name: str
    patch: tuple[Manifest, ...]
    around: tuple[Manifest, ...]


@dataclass(frozen=True)
class EndService:
    """Delete one RayService and no namesake: its replicas finish what they accepted."""

    name: str
    uid: str


ServiceAction = StartService | ChangeService | EndService | SetReplicas
