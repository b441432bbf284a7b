"""Nodes of a Ray cluster arrive and leave; a drain redoes no step and changes no bit."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray_run import Training
from tiny_run import TinyRun, train

pytestmark = pytest.mark.usefixtures("one_ray_at_a_time")

NewRun = Callable[..., TinyRun]
EPOCHS = "spec.optimization.epochs=1000"
RAY = str(Path(sys.executable).with_name("ray"))


class Cluster:
    """Real raylets on this machine, as many as a test adds; the head takes no worker."""

    def __init__(self) -> None:
        import ray.cluster_utils  # noqa: PLC0415 slow

        self._cluster = ray.cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self.address: str = self._cluster.address

    def add_node(self) -> str:
        """Another node with room for one worker; its id."""
        return str(self._cluster.add_node(num_cpus=1).node_id)

    def drain(self, node_id: str) -> None:
        """What a node does on SIGTERM: say that it goes, and when."""
        subprocess.run(
            [
                *(RAY, "drain-node", "--address", self.address, "--node-id", node_id),
                *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "a test"),
                *("--deadline-remaining-seconds", "60"),
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )

    def shutdown(self) -> None:
        self._cluster.shutdown()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_workers(training: Training, count: int) -> int:
    """Until `count` workers compute steps; the attempt that they do it in."""
    progress = training.wait_for(
        lambda progress: len(progress["workers"]["ranks"]) == count and progress["state"] == "Running"
    )
    seen = progress["images_seen"]
    return int(training.wait_for(lambda progress: progress["images_seen"] > seen)["attempt"])


@pytest.mark.timeout(400)
def test_nodes_arrive_and_leave_with_notice_and_no_step_is_redone(
    new_run: NewRun, cluster: Cluster, free_port: int
) -> None:
    alone, moved = new_run("alone"), new_run("moved")
    first = cluster.add_node()
    options = ("--ray-address", cluster.address, "--workers", "2", "--set", EPOCHS)
    with Training(moved, *options, port=free_port, environment={}) as training:
        wait_for_workers(training, 1)
        cluster.add_node()
        wait_for_workers(training, 2)
        cluster.drain(first)
        last = wait_for_workers(training, 1)
        redone = training.wait_for(lambda progress: progress["attempt"] == last)["goodput"]["redone_images"]
        training.process.send_signal(signal.SIGINT)
        assert training.wait() == 130, training.log
    assert redone == 0
    train(alone, EPOCHS, stop_after_steps=moved.checkpoints().list_states()[-1].step)
    assert moved.digests() == alone.digests()


@pytest.mark.filterwarnings("ignore")  # Ray's own, in this process
def test_a_crew_that_found_no_room_leaves_no_reservation_behind(cluster: Cluster, tmp_path: Path) -> None:
    """It would take the room of the next node that comes, and keep it from every later crew."""
    import ray  # noqa: PLC0415 slow

    from synthray.training.ray_cluster import attached_ray_platform  # noqa: PLC0415 slow

    def states() -> set[str]:
        return {group["state"] for group in ray.util.placement_group_table().values()}

    def wait_until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, states()
            time.sleep(0.1)

    cluster.add_node()
    with attached_ray_platform(
        tmp_path, tmp_path / "logs", address=cluster.address, use_gpu=False
    ) as platform:
        crew = platform.open_crew(1, 2)
        wait_until(lambda: "PENDING" in states())
        crew.close()
        crew.wait_closed()
        wait_until(lambda: platform.places() == 1 and states() == {"REMOVED"})
