"""The promise, with real processes: whatever is killed, and when, the result is that of a run left alone."""

import random
import signal
import socket
from collections.abc import Callable, Mapping
from uuid import uuid4

import pytest
from ray_run import Training
from tiny_run import TinyRun, train

pytestmark = pytest.mark.usefixtures("one_ray_at_a_time")

NewRun = Callable[..., TinyRun]
EPOCHS = "spec.optimization.epochs=40"
LONG = ("--set", EPOCHS)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.timeout(1500)
def test_five_kills_at_random_moments_change_nothing(
    new_run: NewRun, s3_environment: Mapping[str, str], free_port: int
) -> None:
    alone = new_run("alone")
    train(alone, EPOCHS)
    broken = new_run("broken", uri=f"s3://xray/{uuid4().hex}", environment=s3_environment)
    moments = random.Random(0)  # noqa: S311 the same moments in each run of the test

    def start() -> Training:
        return Training(broken, "--workers", "2", *LONG, port=free_port, environment=s3_environment)

    def reach(training: Training, least_images: int) -> None:
        target = least_images + moments.randrange(40)
        training.wait_for(lambda progress: progress["images_seen"] >= target)

    with start() as training:
        reach(training, 30)
        training.kill_worker(0)
        reach(training, 130)
        training.kill_worker(1)
        reach(training, 230)
        training.kill_driver()
    with start() as training:
        reach(training, 330)
        training.kill_everything()
    with start() as training:
        reach(training, 430)
        training.kill_worker(1)
        assert training.wait() == 0, training.log
    assert broken.digests() == alone.digests()


@pytest.mark.timeout(1500)
def test_ctrl_c_saves_and_leaves_nothing_running(
    new_run: NewRun, s3_environment: Mapping[str, str], free_port: int
) -> None:
    run = new_run("stopped", uri=f"s3://xray/{uuid4().hex}", environment=s3_environment)
    environment = {**s3_environment, "RAY_ADDRESS": "127.0.0.1:1"}  # a Ray of somebody else's is not joined
    with Training(run, *LONG, port=free_port, environment=environment) as training:
        progress = training.wait_for(lambda progress: progress["images_seen"] >= 28)
        workers = {rank["process_id"] for rank in progress["workers"]["ranks"]}
        running = {process.pid: "".join(process.cmdline()) for process in training.processes()}
        assert workers <= running.keys()
        assert any("raylet" in command for command in running.values())
        training.process.send_signal(signal.SIGINT)
        assert training.wait() == 130, training.log
        assert training.left_after(60) == []
    assert run.checkpoints().list_states()[-1].images_seen >= 28
