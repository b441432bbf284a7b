"""The tutorial works: every command of its `console` blocks runs, in order, in one shell."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[3] / "docs" / "tutorial.md"
WRITTEN_PORT = "8333"
DEADLINE_SECONDS = 600


def commands_of(document: str) -> list[str]:
    """What stands after each `$ ` in the console blocks; other lines there are output."""
    blocks = re.findall(r"^```console\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def files_of(document: str) -> dict[str, str]:
    """The blocks that the reader is told to save, by name."""
    return dict(re.findall(r"^<!-- file: (\S+) -->\n```\w+\n(.*?)^```", document, re.MULTILINE | re.DOTALL))


def free_port() -> str:
    """A port below those that the system hands out by itself, so that nobody takes it meanwhile."""
    for port in range(21000, 30000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return str(port)
    raise AssertionError("no free port")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A reader's: the project's venv on PATH, no S3 settings yet, a home of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY_"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return inherited | {"PATH": path, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.fixture
def shells() -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Shells of the test, ended with all that they started."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for shell in started:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()


@pytest.mark.timeout(DEADLINE_SECONDS + 1200)
@pytest.mark.usefixtures("one_ray_at_a_time")
def test_every_command_of_the_tutorial_succeeds(
    tmp_path: Path, environment: dict[str, str], shells: list["subprocess.Popen[bytes]"]
) -> None:
    # Ports that a reader has to himself may be taken here.
    document = TUTORIAL.read_text().replace(WRITTEN_PORT, free_port())
    document = document.replace("synthray train run.yaml", "synthray train run.yaml --metrics-port 0")
    commands = commands_of(document)
    assert len(commands) > 15
    for name, text in files_of(document).items():
        (tmp_path / name).write_text(text)
    script = tmp_path / "tutorial.sh"
    script.write_text("\n".join(["set -e -o pipefail", "set -x", *commands, "wait || true", "echo all done"]))
    log = tmp_path / "output.txt"
    with log.open("w") as output:
        shell = subprocess.Popen(
            ["bash", str(script)],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    shells.append(shell)
    with suppress(subprocess.TimeoutExpired):
        shell.wait(DEADLINE_SECONDS)
    assert shell.poll() == 0, log.read_text()[-4000:]
    assert log.read_text().rstrip().endswith("all done")
    assert "weights_sha256" in (tmp_path / "one.txt").read_text()
    assert sorted(path.name for path in (tmp_path / "pictures").glob("seed*.png"))
    assert (tmp_path / "gallery" / "index.html").is_file()
