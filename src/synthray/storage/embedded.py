"""A real S3 server for laptops, demos and tests: SeaweedFS as a child process, with its data in a folder.

Not for clusters, which have an S3 of their own. It listens on 127.0.0.1 alone, its secret is made once per
folder, and it dies with the process that started it.
"""

import fcntl
import json
import os
import secrets
import shlex
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from synthray.errors import InvalidInput, NotFound, Reason, Unavailable
from synthray.storage.child_process import ChildProcess
from synthray.storage.local_files import explain_os_error
from synthray.storage.opening import check_conditional_writes, open_store
from synthray.storage.ports import choose_free_ports, is_free_port
from synthray.storage.seaweed import (
    DATA_FOLDER,
    INTERNAL_PORTS,
    build_arguments,
    build_environment,
    find_seaweed,
)
from synthray.storage.settings import s3_settings_from_environment

DEFAULT_PORT = 8333
DEFAULT_BUCKET = "xray"
_START_SECONDS = 60.0
_START_TRIES = 3
_PROBE_SECONDS = 2.0
_PROBE_EVERY_SECONDS = 0.05
_GRACE_SECONDS = 3.0  # it loses nothing by being killed, it only ends its log in order
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
        self._credentials: dict[str, str] = {}
        self._lock: IO[str] | None = None
        self._process: ChildProcess | None = None

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
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def wait(self, timeout_seconds: float) -> None:
        """Return after the time; raise Unavailable as soon as the server has ended by itself."""
        if self._child().wait(timeout_seconds):
            raise Unavailable(self._obituary("the embedded S3 server ended by itself"))

    def _start(self) -> None:
        program = find_seaweed()
        if self._port and not is_free_port(self._port):
            raise InvalidInput(
                f"port {self._port} of 127.0.0.1 is in use; end its server, or name another port with --port",
                reason=Reason.PORT_IN_USE,
            )
        try:
            (self._directory / DATA_FOLDER).mkdir(parents=True, exist_ok=True)
            self._lock = _lock_folder(self._directory)
            self._credentials = _read_or_make_credentials(self._directory / "credentials.json")
        except OSError as error:
            raise explain_os_error(error, self._directory) from error
        for tries_left in reversed(range(_START_TRIES)):
            self._launch(program)
            if self._becomes_ready():
                return
            if not tries_left:
                raise Unavailable(self._obituary("the embedded S3 server ended while it started"))

    def _launch(self, program: str) -> None:
        """Start the process; one of its ports may be taken by others just now, so this may be tried anew."""
        spare, *internal = choose_free_ports(1 + len(INTERNAL_PORTS))
        self._port = self._port or spare
        arguments = build_arguments(s3_port=self._port, internal_ports=internal, bucket=self._bucket)
        self._process = ChildProcess(
            [program, *arguments],
            folder=self._directory,
            log=self._directory / "server.log",
            environment=build_environment(self._credentials),
        )

    def _becomes_ready(self) -> bool:
        """Wait until the bucket takes objects and refuses to create one twice; False if the server ends."""
        settings = replace(s3_settings_from_environment(self.environment), deadline_seconds=_PROBE_SECONDS)
        store = open_store(f"s3://{self._bucket}", settings)
        deadline = time.monotonic() + _START_SECONDS
        why = "nobody listens"
        while not self._child().wait(_PROBE_EVERY_SECONDS):
            if time.monotonic() > deadline:
                message = f"the embedded S3 server was not ready within {_START_SECONDS:g} s ({why})"
                raise Unavailable(self._obituary(message))
            if is_free_port(self._port):
                continue
            try:
                check_conditional_writes(store)
            except (Unavailable, NotFound, InvalidInput) as error:
                why = error.message  # while it starts, the bucket may be missing or the key unknown
            else:
                return True
        return False

    def _stop(self) -> None:
        if self._process is not None:
            self._process.stop(grace_seconds=_GRACE_SECONDS)
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _child(self) -> ChildProcess:
        if self._process is None:
            raise RuntimeError("EmbeddedS3 runs only while it is entered")
        return self._process

    def _obituary(self, what: str) -> str:
        log = self._directory / "server.log"
        lines = log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return "\n  ".join([f"{what}; the end of {log}:", *lines])


def build_export_lines(environment: Mapping[str, str]) -> list[str]:
    """The lines that set these variables in a shell."""
    return [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]


def serve_in_foreground(directory: Path, *, port: int, announce: Callable[[EmbeddedS3], None]) -> None:
    """Run the server until Ctrl-C or SIGTERM end it in good order; `announce` is called once it serves.

    Raises what EmbeddedS3 raises, and Unavailable if the server ends by itself. Main thread only.
    """
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt), EmbeddedS3(directory, port=port) as server:
            announce(server)
            while True:
                server.wait(threading.TIMEOUT_MAX)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _lock_folder(folder: Path) -> IO[str]:
    """Two servers in one folder would each ruin what the other writes."""
    lock = (folder / "lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise InvalidInput(
            f"an embedded S3 server runs in {folder} already; use that one, or name another --directory"
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
