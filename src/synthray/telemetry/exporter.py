"""One small HTTP server beside the driver: `/metrics`, `/progress`, `/healthz`, and on a laptop `/workers`.

It answers from the newest snapshot alone, so a scrape never waits for training; the one thing that it takes
is a wish for another number of workers. It must not import torch, Ray or more of a run than its snapshot.
"""

import errno
import json
import sys
import threading
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any, Protocol, Self

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from synthray.errors import InvalidInput, Reason
from synthray.telemetry.metrics import RunCollector
from synthray.telemetry.progress import build_progress
from synthray.telemetry.report import RunSnapshot

_MAX_BODY_BYTES = 1024
_LOOPBACK_NAMES = ("127.0.0.1", "localhost")


class WorkerScale(Protocol):
    """Takes the wish for another number of workers."""

    limit: int

    def change(self, count: int) -> None:
        """Want `count` workers, at least 1 and at most the limit."""


class Exporter:
    """Serves the snapshots of one run on `host`:`port` until closed; port 0 picks a free one.

    With a `scale` it also takes POST /workers with {"workers": N}: for loopback alone.
    """

    def __init__(
        self,
        snapshot: Callable[[], RunSnapshot],
        *,
        host: str,
        port: int,
        scale: WorkerScale | None = None,
    ) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(RunCollector(snapshot))
        try:
            self._server = _Server((host, port), _build_handler(snapshot, registry, scale))
        except OSError as error:
            if error.errno == errno.EACCES:
                raise InvalidInput(
                    f"port {port} on {host} is not for this user; choose one above 1023 with --metrics-port"
                ) from error
            if error.errno != errno.EADDRINUSE:
                raise
            raise InvalidInput(
                f"port {port} is in use on {host}; stop what uses it or choose another with --metrics-port",
                reason=Reason.PORT_IN_USE,
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="exporter", daemon=True)

    @property
    def address(self) -> str:
        """The base URL."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Answers each client in a thread; one that hangs up early is no news."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _take_wish(scale: WorkerScale, headers: Message, body: BufferedIOBase) -> tuple[int, str]:
    """Change the number of workers as the request says; the status and the answer."""
    # A page in a browser can't send JSON to another origin unasked, and one that has given its own name this
    # address says that name: so no page can scale a run.
    if (headers.get("Host") or "").rpartition(":")[0] not in _LOOPBACK_NAMES:
        return 403, "workers are changed on this machine alone: ask 127.0.0.1"
    length = int(declared) if (declared := headers.get("Content-Length") or "").isdecimal() else 0
    if headers.get_content_type() != "application/json" or not 0 < length <= _MAX_BODY_BYTES:
        return 400, 'send {"workers": N} as application/json'
    try:
        document = json.loads(body.read(length))
    except ValueError:
        document = None
    count = document.get("workers") if isinstance(document, dict) else None
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= scale.limit:
        return 422, (
            f"workers={count!r} can't be: send a whole number from 1 to {scale.limit}, the micro-batches of "
            "a global batch"
        )
    scale.change(count)
    return 200, f"{count} workers are wanted"


def _build_handler(
    snapshot: Callable[[], RunSnapshot], registry: CollectorRegistry, scale: WorkerScale | None
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(200, content_type, encode(registry))
            elif self.path == "/progress":
                self._answer(200, "application/json", json.dumps(build_progress(snapshot())).encode())
            elif self.path == "/healthz":
                self._answer(200, "text/plain", b"ok\n")
            else:
                self._answer(404, "text/plain", b"try /metrics, /progress or /healthz\n")

        def do_POST(self) -> None:
            status, answer = 404, "only a run on this machine takes POST /workers"
            if scale is not None and self.path == "/workers":
                status, answer = _take_wish(scale, self.headers, self.rfile)
            self._answer(status, "text/plain", f"{answer}\n".encode())

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base's name
            """Scrapes are not worth a log line."""

    return Handler
