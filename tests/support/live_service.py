"""A GenerationService on a cluster, as its user sees it by kubectl and asks it over HTTP."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cluster_programs import Programs

_SCRIPT = Path(__file__).with_name("service_client.py")

Status = dict[str, Any]


@dataclass(frozen=True)
class LiveService:
    """One service by name."""

    programs: Programs
    namespace: str
    name: str

    def kubectl(self, *arguments: str) -> str:
        """In the service's namespace."""
        return self.programs.kubectl("--namespace", self.namespace, *arguments)

    def apply(self, **spec: Any) -> None:
        """As a user would."""
        document = {
            "apiVersion": "synthray.io/v1alpha1",
            "kind": "GenerationService",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": spec,
        }
        self.programs.kubectl("apply", "--filename=-", given=yaml.safe_dump(document))

    def status(self) -> Status:
        """Empty before the operator has seen it."""
        document = json.loads(self.kubectl("get", "gensvc", self.name, "--output=json"))
        status: Status = document.get("status", {})
        return status

    def wait_for(
        self, what: str, is_so: Callable[[Status], object], *, deadline_seconds: float = 400.0
    ) -> Status:
        """The first status of which it is true."""
        deadline = time.monotonic() + deadline_seconds
        while not is_so(status := self.status()):
            assert time.monotonic() < deadline, f"no {what}: {status}\n{self.kubectl('get', 'pods,events')}"
            time.sleep(1.0)
        return status

    def wait_for_replicas(self, number: int) -> Status:
        """So many that answer, and no other."""
        return self.wait_for(
            f"{number} replicas",
            lambda status: status.get("readyReplicas") == status.get("replicas") == number,
        )

    def replica_pods(self) -> list[str]:
        """Names, but of those being deleted."""
        selector = f"synthray.io/service={self.name},synthray.io/role=replica"
        items = json.loads(self.kubectl("get", "pods", f"--selector={selector}", "--output=json"))["items"]
        return [one["metadata"]["name"] for one in items if "deletionTimestamp" not in one["metadata"]]


@dataclass(frozen=True)
class Told:
    """What a client of the service has seen so far."""

    answers: int
    failures: list[str]
    digests: dict[str, list[list[str]]]


@dataclass(frozen=True)
class Client:
    """A pod that asks for the same seeds without end."""

    service: LiveService
    image: str
    seeds: int
    steps: int
    token: str

    def start(self, url: str) -> None:
        """Ask from now on."""
        command = self._command(url, self.token, str(self.seeds), str(self.steps))
        container = {
            "name": "client",
            "image": self.image,
            "command": command,
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "client", "namespace": self.service.namespace},
            "spec": {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 1},
        }
        self.service.programs.kubectl("apply", "--filename=-", given=yaml.safe_dump(pod))

    def ask(self, url: str, method: str, path: str, body: str = "", *, token: str) -> tuple[int, Any]:
        """Code and answer to one request from the same pod."""
        once = ("exec", "--stdin", "client", "--", *self._command(url, token, method, path))
        said = self.service.programs.kubectl("--namespace", self.service.namespace, *once, given=body)
        told = json.loads(said)
        return told["code"], told["answer"]

    @staticmethod
    def _command(*arguments: str) -> list[str]:
        return ["python", "-u", "-c", _SCRIPT.read_text(), *arguments]

    def told(self) -> Told:
        """The newest word."""
        lines = self.service.kubectl("logs", "client", "--tail=1").splitlines()
        return Told(**json.loads(lines[-1])) if lines else Told(0, [], {})

    def wait_for(
        self, what: str, is_so: Callable[[Told], object], *, deadline_seconds: float = 300.0
    ) -> Told:
        """The first word of which it is true."""
        deadline = time.monotonic() + deadline_seconds
        self.service.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=100s")
        while not is_so(told := self.told()):
            assert time.monotonic() < deadline, f"no {what}: {told}"
            time.sleep(1.0)
        return told
