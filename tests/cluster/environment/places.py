"""Where the environment keeps what it makes, and the settings that a person may give it.

Binaries take a quarter of an hour to build, so all lives in the user's cache and not in the project's, which
`make clean` removes. It must not import anything that starts a process.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from synthray.errors import InvalidInput

STATE_VARIABLE = "SYNTHRAY_CLUSTER"
SOURCES = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Places:
    """The folders of one environment."""

    state: Path

    @property
    def programs(self) -> Path:
        """kube-apiserver, kubectl, helm and the others."""
        return self.state / "bin"

    @property
    def keys(self) -> Path:
        """Certificates of the full cluster."""
        return self.state / "pki"

    @property
    def control(self) -> Path:
        """Data, logs and process numbers of the full cluster's control plane."""
        return self.state / "control"

    @property
    def nodes(self) -> Path:
        """A folder for each node: its disk, its settings, its logs."""
        return self.state / "nodes"

    @property
    def images(self) -> Path:
        """buildah's store: every layer, unpacked."""
        return self.state / "images"

    @property
    def images_in_use(self) -> Path:
        """What buildah keeps while it works."""
        return self.state / "images-run"

    @property
    def kubeconfig(self) -> Path:
        """The full cluster's administrator."""
        return self.state / "kubeconfig"


@dataclass(frozen=True)
class ClusterSettings:
    """The full cluster's nodes, and how soon a silent one is lost; read when they start."""

    node_names: tuple[str, ...] = ("control", "gpu-1", "gpu-2")
    node_memory_gibibytes: int = 9
    node_grace_seconds: int = 50
    evict_after_seconds: int = 300


def find_places(environment: Mapping[str, str] = os.environ) -> Places:
    """$SYNTHRAY_CLUSTER, or a folder in the user's cache."""
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    chosen = environment.get(STATE_VARIABLE)
    return Places((Path(chosen).expanduser() if chosen else cache / "synthray-cluster").absolute())


def read_settings(environment: Mapping[str, str] = os.environ) -> ClusterSettings:
    """The settings that variables give; raises InvalidInput for one that is no number."""
    default = ClusterSettings()
    names = environment.get("SYNTHRAY_NODES")
    return ClusterSettings(
        node_names=tuple(names.split(",")) if names else default.node_names,
        node_memory_gibibytes=_read_number(
            environment, "SYNTHRAY_NODE_MEMORY", "Gi", default.node_memory_gibibytes
        ),
        node_grace_seconds=_read_number(environment, "SYNTHRAY_NODE_GRACE", "s", default.node_grace_seconds),
        evict_after_seconds=_read_number(
            environment, "SYNTHRAY_EVICT_AFTER", "s", default.evict_after_seconds
        ),
    )


def _read_number(environment: Mapping[str, str], name: str, unit: str, default: int) -> int:
    given = environment.get(name)
    if not given:
        return default
    number = given.removesuffix(unit)
    if not number.isdigit() or not int(number):
        raise InvalidInput(f"{name}={given} is no whole number above 0; write it like {default}{unit}")
    return int(number)
