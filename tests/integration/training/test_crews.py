"""Worker processes come, go, hang and change their number; the result is that of a run left alone.

Through the driver with plain processes as workers, which start in tenths of a second.
"""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable

import psutil
import pytest
from ray_run import SYNTHRAY, Training
from tiny_run import TinyRun, train

NewRun = Callable[..., TinyRun]
EPOCHS = "spec.optimization.epochs=60"
OPTIONS = ("--without-ray", "--workers", "2", "--hang-after", "3", "--set", EPOCHS)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def alone(new_run: NewRun) -> TinyRun:
    run = new_run("alone")
    train(run, EPOCHS)
    return run


def start(run: TinyRun, port: int) -> Training:
    return Training(run, *OPTIONS, port=port, environment={})


def go_on(training: Training, images: int = 60) -> None:
    """Let a few more steps pass."""
    seen = training.wait_for(lambda progress: progress["state"] == "Running")["images_seen"]
    training.wait_for(lambda progress: progress["images_seen"] >= seen + images)


def wait_for_attempt(training: Training, number: int) -> None:
    training.wait_for(lambda progress: progress["attempt"] >= number)


def wait_for_workers(training: Training, count: int) -> None:
    training.wait_for(lambda progress: len(progress["workers"]["ranks"]) == count)


def signal_worker(training: Training, rank: int, number: signal.Signals) -> int:
    progress = training.wait_for(lambda progress: len(progress["workers"]["ranks"]) > rank)
    os.kill(progress["workers"]["ranks"][rank]["process_id"], number)
    attempt: int = progress["attempt"]
    return attempt


@pytest.mark.timeout(240)
def test_lost_and_hung_workers_and_a_lost_driver_change_nothing(
    new_run: NewRun, alone: TinyRun, free_port: int
) -> None:
    broken = new_run("broken")
    with start(broken, free_port) as training:
        go_on(training)
        for rank, number in ((1, signal.SIGKILL), (0, signal.SIGKILL), (1, signal.SIGSTOP)):
            attempt = signal_worker(training, rank, number)
            wait_for_attempt(training, attempt + 1)
            go_on(training)
        told = " ".join(training.log.split())
        assert re.search(r"no progress for 3 s .*: worker 1 on \S+ \(the process is stopped", told), told
        training.kill_driver()
    with start(broken, free_port) as training:
        assert training.wait() == 0, training.log
    assert broken.digests() == alone.digests()


@pytest.mark.timeout(240)
def test_notice_and_a_change_of_the_number_of_workers_redo_no_step_and_change_nothing(
    new_run: NewRun, alone: TinyRun, free_port: int
) -> None:
    resized = new_run("resized")
    with start(resized, free_port) as training:
        go_on(training)
        for count in (3, 1, 2):
            scale = [SYNTHRAY, "scale", str(resized.file), "--workers", str(count)]
            subprocess.run([*scale, "--metrics-port", str(free_port)], check=True, timeout=30)
            wait_for_workers(training, count)
            go_on(training)
        attempt = signal_worker(training, 1, signal.SIGTERM)
        wait_for_attempt(training, attempt + 1)
        go_on(training)
        redone = training.wait_for(lambda _: True)["goodput"]["redone_images"]
        assert training.wait() == 0, training.log
    assert redone == 0
    assert resized.digests() == alone.digests()


@pytest.mark.timeout(240)
def test_a_killed_standby_is_replaced_when_it_is_needed(new_run: NewRun, free_port: int) -> None:
    run = new_run("cold")
    with Training(
        run, *OPTIONS[:1], "--workers", "1", *OPTIONS[3:], port=free_port, environment={}
    ) as training:
        go_on(training)
        assert training.wait_for(lambda _: True)["attempt"] == 1
        worker = psutil.Process(training.wait_for(lambda _: True)["workers"]["ranks"][0]["process_id"])
        standby = worker.parent()
        assert standby is not None
        standby.kill()
        go_on(training)
        attempt = signal_worker(training, 0, signal.SIGKILL)
        wait_for_attempt(training, attempt + 1)
        go_on(training)


@pytest.mark.timeout(120)
def test_scaling_says_what_is_wrong(new_run: NewRun, free_port: int) -> None:
    run, other = new_run("here"), new_run("elsewhere")
    other.file.write_text(other.file.read_text().replace("name: tiny", "name: other"))

    def scale(file: str, workers: int) -> tuple[int, str]:
        command = [SYNTHRAY, "scale", file, "--workers", str(workers), "--metrics-port", str(free_port)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
        return done.returncode, " ".join(done.stderr.split())

    code, message = scale(str(run.file), 2)
    assert code == 3
    assert "nothing that trains answers" in message
    with start(run, free_port) as training:
        training.wait_for(lambda _: True)
        code, message = scale(str(run.file), 99)
        assert code == 2
        assert "workers=99 can't be: send a whole number from 1 to 7" in message
        code, message = scale(str(other.file), 2)
        assert code == 3
        assert "belongs to the run 'tiny', not to 'other'" in message


@pytest.mark.timeout(120)
def test_ctrl_c_saves_and_leaves_nothing_running(new_run: NewRun, free_port: int) -> None:
    run = new_run("stopped")
    with start(run, free_port) as training:
        go_on(training)
        assert len(training.processes()) > 2  # the workers run beside the command
        training.process.send_signal(signal.SIGINT)
        assert training.wait() == 130, training.log
        assert training.left_after(10) == []
    assert run.checkpoints().list_states()[-1].images_seen >= 60
