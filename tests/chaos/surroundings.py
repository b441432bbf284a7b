"""What a run stands on and what can go wrong with it: the S3 server, the disk, the clock.

Each is a small thing that breaks and mends on request. What this machine doesn't allow says why.
"""

import os
import signal
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from synthray.storage import EmbeddedS3


class Server:
    """An S3 server that can be paused, and killed and started again on the same folder and port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = EmbeddedS3(folder, port=0)
        self._is_killed = False
        self._starting: threading.Thread | None = None
        self._failure: BaseException | None = None

    def __enter__(self) -> "Server":
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._starting is not None:
            self._starting.join()
        self._server.__exit__(None, None, None)

    @property
    def endpoint_url(self) -> str:
        """The same over restarts."""
        return self._server.endpoint_url

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which S3 clients find it."""
        return self._server.environment

    def pause(self) -> None:
        """SIGSTOP."""
        os.kill(self._server.pid, signal.SIGSTOP)

    def wake(self) -> None:
        """SIGCONT."""
        os.kill(self._server.pid, signal.SIGCONT)

    @property
    def is_up(self) -> bool:
        """Whether it runs and no restart is under way; raises what kept it from that."""
        if self._starting is not None and not self._starting.is_alive():
            self.wait()
        return self._starting is None and not self._is_killed

    def kill(self) -> None:
        """SIGKILL; what it had answered for is on disk or lost."""
        self.wait()
        if not self._is_killed:
            self._is_killed = True
            os.kill(self._server.pid, signal.SIGKILL)
            self._server.__exit__(None, None, None)

    def begin_restart(self) -> None:
        """Start it again, beside whatever else is going on; one that runs stays as it is."""
        self.wait()
        if not self._is_killed:
            return
        port = int(self._server.endpoint_url.rpartition(":")[2])
        self._server = EmbeddedS3(self._folder, port=port)
        self._starting = threading.Thread(target=self._start)
        self._starting.start()
        self._is_killed = False

    def wait(self) -> None:
        """Until a restart is over; raises what kept it from that."""
        if self._starting is not None:
            self._starting.join()
            self._starting = None
        if self._failure is not None:
            raise self._failure

    def _start(self) -> None:
        try:
            self._server.__enter__()
        except BaseException as failure:  # noqa: BLE001 told by wait()
            self._failure = failure


class SmallDisk:
    """A folder that is a small disk of its own, in memory, and can be filled to the last byte."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave no room."""
        with self._ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(2**16))

    def empty(self) -> None:
        """Make room again."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, size_mib: int) -> Iterator[SmallDisk]:
    """Mount one; raises CalledProcessError where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "synthray-chaos", str(folder)]
    subprocess.run(mount, check=True, capture_output=True, text=True)
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


def why_no_small_disk() -> str:
    """Why none can be mounted here; empty if it can."""
    try:
        with tempfile.TemporaryDirectory() as folder, small_disk(Path(folder) / "disk", 1):
            return ""
    except (OSError, subprocess.CalledProcessError) as refusal:
        told = getattr(refusal, "stderr", "") or str(refusal)
        return f"a tmpfs can't be mounted here: {told.strip()}"


class SkewedClock:
    """The wall clock of a run's processes (see skewed_clock.c); time that is measured stays true."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "skew"
        self._file.write_bytes(bytes(8))
        self._library = build_clock_library(folder)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which processes see it."""
        return {"LD_PRELOAD": str(self._library), "SKEWED_CLOCK_FILE": str(self._file)}

    def skew(self, seconds: int) -> None:
        """Set the clock off by so much, at once."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", seconds))


def build_clock_library(folder: Path) -> Path:
    """Compile it; raises OSError or CalledProcessError where there is no C compiler."""
    source, library = Path(__file__).with_name("skewed_clock.c"), folder / "skewed_clock.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return library


def why_no_skewed_clock() -> str:
    """Why no clock can be skewed here; empty if it can."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            build_clock_library(Path(folder))
    except (OSError, subprocess.CalledProcessError) as refusal:
        return f"skewed_clock.c can't be compiled here: {refusal}"
    return ""
