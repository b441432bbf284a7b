"""What a run said is told when nothing of it runs any more, and keeping it changes nothing."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from ray_run import DEADLINE_SECONDS, SYNTHRAY, Training
from tiny_run import TinyRun, train

from synthray.cli.entry import run as run_command

NewRun = Callable[..., TinyRun]
WITHOUT_RAY = ("--without-ray", "--workers", "2")
LONG = (*WITHOUT_RAY, "--set", "spec.optimization.epochs=400")


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Reading:
    """`synthray logs` in this process."""

    def __init__(self, run: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
        self._run = run
        self._capsys = capsys

    def ask(self, *options: str) -> tuple[int, str, str]:
        """Exit code, what it printed, what it complained of."""
        self._capsys.readouterr()
        code = run_command(["logs", str(self._run.file), *options])
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err

    def wait_for(self, words: str, *options: str) -> None:
        """Ask until the words are there."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while words not in (answer := self.ask(*options))[1]:
            assert time.monotonic() < deadline, answer
            time.sleep(0.5)


@pytest.mark.timeout(1500)
def test_a_killed_run_tells_what_its_driver_and_workers_said(
    new_run: NewRun,
    s3_environment: Mapping[str, str],
    free_port: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    run = new_run("killed", uri=f"s3://xray/{uuid4().hex}", environment=s3_environment)
    reading = Reading(run, capsys)
    with Training(run, *LONG, port=free_port, environment=s3_environment) as training:
        training.wait_for(lambda progress: progress["images_seen"] >= 28)
        training.kill_worker(0)
        training.wait_for(lambda progress: progress["attempt"] == 2)
        reading.wait_for("attempt 2: worker 1 of 0 to 1 begins", "--attempt", "2")
        reading.wait_for("Running, attempt 2, 2 of 2 workers", "--attempt", "2")
        interrupt_a_follower(run)
        training.kill_everything()

    code, told, complaint = reading.ask()
    assert (code, complaint) == (0, "")
    assert {line.split()[1] for line in told.splitlines()} == {"driver", "worker-0", "worker-1"}
    times = [line.split()[0] for line in told.splitlines()]
    assert times == sorted(times)
    code, told, _ = reading.ask("--attempt", "1", "--process", "driver")
    assert "a worker was lost" in told or "was killed by SIGKILL" in told
    assert {line.split()[1] for line in told.splitlines()} == {"driver"}
    code, told, _ = reading.ask("--attempt", "1", "--process", "worker-0", "--tail", "1", "--json")
    assert json.loads(told)["message"].startswith("attempt 1: worker 0 of 0 to 1 begins")

    code, _, complaint = reading.ask("--process", "worker-7")
    assert (code, complaint) == (
        3,
        (
            "synthray: --process worker-7: the log of attempt 2 has lines of driver, worker-0, worker-1; "
            "choose one of these, or another --attempt\n"
        ),
    )
    store = run.checkpoints().store
    kept = b"".join(store.read(info.key) for info in store.list("logs/"))
    assert s3_environment["AWS_SECRET_ACCESS_KEY"].encode() not in kept


def interrupt_a_follower(run: TinyRun) -> None:
    """Ctrl-C ends it at once and without a traceback."""
    command = [SYNTHRAY, "logs", str(run.file), "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert "attempt" in follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        _, complaint = follower.communicate(timeout=DEADLINE_SECONDS)
        assert (follower.returncode, complaint) == (130, "")


@pytest.mark.timeout(1500)
def test_following_ends_with_the_run(
    new_run: NewRun, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run = new_run("complete")
    with Training(run, *WITHOUT_RAY, port=free_port, environment={}) as training:
        assert training.wait() == 0, training.log
    code, told, _ = Reading(run, capsys).ask("--follow")
    assert code == 0
    assert "worker 0 is done: complete" in told
    assert "Complete, attempt 1, 2 of 2 workers, epoch 2 of 2" in told
    assert told.endswith("the driver ends: Complete\n")


@pytest.mark.timeout(1500)
def test_a_log_that_storage_does_not_take_changes_nothing(new_run: NewRun, free_port: int) -> None:
    alone, refused = new_run("alone"), new_run("refused")
    train(alone)
    Path(refused.checkpoints_uri).mkdir()
    (Path(refused.checkpoints_uri) / "logs").write_text("a file where the folder of logs should be")
    with Training(refused, *WITHOUT_RAY, port=free_port, environment={}) as training:
        assert training.wait() == 0, training.log
    assert refused.digests() == alone.digests()
