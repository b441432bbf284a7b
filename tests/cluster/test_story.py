"""The whole way of a user, on a real cluster: install, train, scale, lose a worker and the head, complete.

At its end stand the same bits as from one undisturbed process, and the ledger that says what was redone.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cluster_programs import Programs
from cluster_runs import move_to_cluster, write_cluster_run
from cluster_storage import ClusterStorage
from tiny_run import TinyRun, train

from synthray.training.ledger import Ledger

from .conftest import ProjectImages

CHART = Path(__file__).parents[2] / "helm" / "synthray"
SYSTEM = "synthray-system"
DEADLINE_SECONDS = 300.0

Status = dict[str, Any]


@dataclass(frozen=True)
class LiveRun:
    """A TrainingRun as `kubectl` shows it."""

    programs: Programs
    namespace: str
    name: str

    def kubectl(self, *arguments: str) -> str:
        """In the run's namespace."""
        return self.programs.kubectl("--namespace", self.namespace, *arguments)

    def scale(self, replicas: int) -> None:
        """As a user would."""
        self.kubectl("scale", f"trainingrun/{self.name}", f"--replicas={replicas}")

    def status(self) -> Status:
        """Empty before the operator has seen it."""
        document = json.loads(self.kubectl("get", "trainingrun", self.name, "--output=json"))
        status: Status = document.get("status", {})
        return status

    def wait_for(self, what: str, is_so: Callable[[Status], bool]) -> Status:
        """The first status of which it is true."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not is_so(status := self.status()):
            assert status.get("state") not in {"Failed", "Blocked"}, status["conditions"]
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

    def kill(self, role: str) -> None:
        """Delete one pod without grace: its processes get SIGKILL."""
        selector = f"synthray.io/run={self.name},synthray.io/role={role}"
        pod = self.kubectl("get", "pods", f"--selector={selector}", "--output=name").split()[0]
        self.kubectl("delete", pod, "--grace-period=0", "--force")


def redone_images(run: TinyRun) -> int:
    """What the ledger of the newest state says."""
    return int(Ledger.from_json(run.checkpoints().list_states()[-1].ledger).redone_images)


@pytest.fixture
def programs(cluster_kubeconfig: Path) -> Programs:
    return Programs(cluster_kubeconfig)


@pytest.fixture
def namespace(programs: Programs) -> Iterator[str]:
    with programs.namespace() as name:
        yield name


@pytest.fixture
def installation(programs: Programs, images: ProjectImages) -> Iterator[None]:
    """The chart, as a user installs it, with small heads and cards that are names only."""
    operator, _, tag = images.operator.rpartition(":")
    worker = images.worker.rpartition(":")[0]
    values = {
        "image.registry": operator.partition("/")[0],
        "image.repository": operator.partition("/")[2],
        "image.tag": tag,
        "workerImage.registry": worker.partition("/")[0],
        "workerImage.repository": worker.partition("/")[2],
        "workerImage.tag": tag,
        "config.head.cpu": "200m",
        "config.head.memory": "2Gi",
        "config.environment.SYNTHRAY_DEVICE": "cpu",
    }
    settings = [part for name, value in values.items() for part in ("--set-string", f"{name}={value}")]
    place = ("--namespace", SYSTEM, "--create-namespace")
    programs.helm("upgrade", "synthray", str(CHART), "--install", "--wait", *place, *settings)
    yield
    programs.helm("uninstall", "synthray", "--namespace", SYSTEM, "--wait")


@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("installation")
def test_a_run_that_is_scaled_and_loses_a_worker_and_its_head_ends_as_one_that_is_left_alone(
    programs: Programs,
    namespace: str,
    images: ProjectImages,
    cluster_storage: ClusterStorage,
    tmp_path: Path,
) -> None:
    alone = write_cluster_run(tmp_path, cluster_storage, epochs=200)
    gpu = {"product": "Quadro-RTX-6000"}
    moved = move_to_cluster(
        alone, namespace, cluster_storage.make_secret(programs, namespace), replicas=1, gpu=gpu
    )
    run = LiveRun(programs, namespace, "tiny")
    run.kubectl("apply", "--filename", str(moved.file))
    alone_status = run.wait_for_work(1)

    run.scale(2)
    two = run.wait_for_work(2, beyond=alone_status["imagesSeen"])
    run.scale(1)
    one = run.wait_for_work(1, beyond=two["imagesSeen"])
    assert redone_images(moved) == 0, "scaling computes nothing twice"

    run.kill("worker")
    recovered = run.wait_for_work(1, beyond=one["imagesSeen"])
    run.kill("head")
    second = run.wait_for("second attempt", lambda status: status["attempt"] == 2)
    assert second["recovery"]["failures"] == 0
    run.wait_for_work(1, beyond=recovered["imagesSeen"])

    end = run.wait_for("end", lambda status: status["state"] == "Complete")
    assert end["progress"] == "100%"
    train(alone)
    assert moved.digests() == alone.digests()
