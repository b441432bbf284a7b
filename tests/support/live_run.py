"""A TrainingRun on a cluster, as its user sees and changes it by kubectl."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cluster_programs import Programs
from tiny_run import TinyRun

from synthray.training.ledger import Ledger

# A run that is in one of these gets out of it by a person alone, or never.
_DEAD_ENDS = frozenset({"Failed", "Fenced", "Blocked"})

Status = dict[str, Any]


@dataclass(frozen=True)
class LiveRun:
    """One run by name; `kubectl` must answer, but where a method says otherwise."""

    programs: Programs
    namespace: str
    name: str

    def kubectl(self, *arguments: str) -> str:
        """In the run's namespace."""
        return self.programs.kubectl("--namespace", self.namespace, *arguments)

    def apply(self, run: TinyRun) -> None:
        """As a user would."""
        self.kubectl("apply", "--filename", str(run.file))

    def scale(self, replicas: int) -> None:
        """As a user would."""
        self.kubectl("scale", f"trainingrun/{self.name}", f"--replicas={replicas}")

    def patch(self, **spec: object) -> None:
        """Change fields of the spec."""
        patch = json.dumps({"spec": spec})
        self.kubectl("patch", "trainingrun", self.name, "--type=merge", f"--patch={patch}")

    def status(self) -> Status:
        """Empty before the operator has seen it."""
        document = json.loads(self.kubectl("get", "trainingrun", self.name, "--output=json"))
        status: Status = document.get("status", {})
        return status

    def wait_for(
        self,
        what: str,
        is_so: Callable[[Status], bool],
        *,
        may_be_blocked: bool = False,
        deadline_seconds: float = 300.0,
    ) -> Status:
        """The first status of which it is true."""
        deadline = time.monotonic() + deadline_seconds
        dead_ends = _DEAD_ENDS - {"Blocked"} if may_be_blocked else _DEAD_ENDS
        while not is_so(status := self.status()):
            assert status.get("state") not in dead_ends, status["conditions"]
            assert time.monotonic() < deadline, f"no {what}: {status}\n{self.kubectl('get', 'pods,events')}"
            time.sleep(0.5)
        return status

    def wait_for_work(self, num_workers: int, *, beyond: int = 0) -> Status:
        """So many workers that train, and images beyond those seen before."""
        return self.wait_for(
            f"work by {num_workers}",
            lambda status: (
                status.get("state") == "Running"
                and status["workers"]["ready"] == num_workers
                and status["imagesSeen"] > beyond
            ),
        )

    def wait_for_end(self, *, deadline_seconds: float) -> Status:
        """All epochs are done."""
        return self.wait_for(
            "end", lambda status: status.get("state") == "Complete", deadline_seconds=deadline_seconds
        )

    def wait_for_block(self, reason: str) -> str:
        """The one sentence why it doesn't run."""
        status = self.wait_for(
            f"block by {reason}",
            lambda status: condition(status, "Blocked").get("reason") == reason,
            may_be_blocked=True,
        )
        return str(condition(status, "Blocked")["message"])

    def wait_for_another_try(self) -> None:
        """What blocked it is tried again."""
        self.wait_for("another try", lambda status: status["state"] != "Blocked", may_be_blocked=True)

    def read_all_that_is_told(self) -> str:
        """Objects of the namespace but Secrets, its events, and the logs of its pods and of the operator."""
        kinds = "trainingruns,rayclusters,pods,services,configmaps,networkpolicies,events"
        told = [self.kubectl("get", kinds, "--output=yaml", "--show-managed-fields")]
        operators = ("--selector=app.kubernetes.io/name=synthray-operator", "--tail=-1")
        told.append(self.programs.kubectl("--namespace=synthray-system", "logs", *operators))
        names = self.kubectl("get", "pods", "--output=name").split()
        told += [self.kubectl("logs", name, "--all-containers") for name in names]
        return "\n".join(told)

    def pods(self, role: str) -> dict[str, str]:
        """Its pods of that role, but those being deleted, and their nodes: empty while they have none."""
        selector = f"synthray.io/run={self.name},synthray.io/role={role}"
        items = json.loads(self.kubectl("get", "pods", f"--selector={selector}", "--output=json"))["items"]
        return {
            item["metadata"]["name"]: item["spec"].get("nodeName", "")
            for item in items
            if "deletionTimestamp" not in item["metadata"]
        }

    def kill(self, role: str) -> None:
        """Delete one pod without grace: its processes get SIGKILL."""
        self.kubectl("delete", "pod", min(self.pods(role)), "--grace-period=0", "--force")


def condition(status: Status, kind: str) -> dict[str, Any]:
    """One condition, empty if it was never said."""
    found = [one for one in status.get("conditions", []) if one["type"] == kind]
    return found[0] if found else {}


def redone_images(run: TinyRun) -> int:
    """What the ledger of the newest state says."""
    return int(Ledger.from_json(run.checkpoints().list_states()[-1].ledger).redone_images)
