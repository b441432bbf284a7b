"""synthray on a cluster, as its administrator installs, upgrades and removes it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster_programs import Programs

SYSTEM: Final = "synthray-system"
_OPERATOR: Final = "deployment/synthray-operator"
_OPERATOR_PODS: Final = "app.kubernetes.io/name=synthray-operator"
_CHART: Final = Path(__file__).parents[2] / "helm" / "synthray"


@dataclass(frozen=True)
class ProjectImages:
    """The project's images, as the cluster's nodes know them."""

    worker: str

    @property
    def operator(self) -> str:
        return self._sibling("operator")

    @property
    def storage(self) -> str:
        return self._sibling("storage")

    def _sibling(self, target: str) -> str:
        before, _, tag = self.worker.rpartition("worker")
        return f"{before}{target}{tag}"


@dataclass(frozen=True)
class Installation:
    """The chart with small heads, and with cards that are names only."""

    programs: Programs
    images: ProjectImages

    def install(self, *settings: str) -> None:
        """Install it, or upgrade what is installed; `settings` as `name=value`."""
        operator, _, tag = self.images.operator.rpartition(":")
        worker = self.images.worker.rpartition(":")[0]
        values = (
            f"image.registry={operator.partition('/')[0]}",
            f"image.repository={operator.partition('/')[2]}",
            f"image.tag={tag}",
            f"workerImage.registry={worker.partition('/')[0]}",
            f"workerImage.repository={worker.partition('/')[2]}",
            f"workerImage.tag={tag}",
            "config.head.cpu=200m",
            "config.head.memory=2Gi",
            "config.replicas.cpu=200m",
            "config.replicas.memory=3Gi",
            "config.environment.SYNTHRAY_DEVICE=cpu",
            *settings,
        )
        options = [part for value in values for part in ("--set-string", value)]
        place = ("--namespace", SYSTEM, "--create-namespace")
        self.programs.helm("upgrade", "synthray", str(_CHART), "--install", "--wait", *place, *options)

    def uninstall(self) -> None:
        """Remove all but what the chart keeps."""
        self.programs.helm("uninstall", "synthray", "--namespace", SYSTEM, "--wait")

    def stop_operator(self) -> None:
        """As many operators as an outage leaves: none."""
        self._system("scale", _OPERATOR, "--replicas=0")
        self._system("wait", "--for=delete", "pod", f"--selector={_OPERATOR_PODS}", "--timeout=100s")

    def start_operator(self) -> None:
        """Two of them; returns when they are ready."""
        self._system("scale", _OPERATOR, "--replicas=2")
        self._system("rollout", "status", _OPERATOR, "--timeout=100s")

    def leader(self) -> str:
        """The pod of the operator that leads; empty while none does."""
        jsonpath = "--output=jsonpath={.spec.holderIdentity}"
        holder = self._system("get", "lease", "synthray-operator", jsonpath)
        # The identity is the pod's name and a few digits of its start.
        return holder.rpartition("-")[0]

    def kill(self, pod: str) -> None:
        """Without grace."""
        self._system("delete", "pod", pod, "--grace-period=0", "--force")

    def _system(self, *arguments: str) -> str:
        return self.programs.kubectl("--namespace", SYSTEM, *arguments)
