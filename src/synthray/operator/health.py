"""/metrics, /healthz and /readyz of the operator's pod."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from synthray.errors import InvalidInput, Reason

_REQUEST_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Health:
    """Two questions about the process: does it get on, and may it be relied on."""

    is_alive: Callable[[], bool]
    is_ready: Callable[[], bool]


@contextmanager
def serve_health(host: str, port: int, registry: CollectorRegistry, health: Health) -> Iterator[int]:
    """Answer in threads of its own; yields the port. Raises InvalidInput if it is taken."""

    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_SECONDS

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_LATEST)
            elif path in {"/healthz", "/readyz"}:
                good = health.is_alive() if path == "/healthz" else health.is_ready()
                status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
                self._answer(status, b"ok\n" if good else b"no\n", "text/plain")
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"/metrics, /healthz, /readyz\n", "text/plain")

        def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base's signature
            """Probes every few seconds are no news."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise InvalidInput(
            f"port {port} can't be served ({error.strerror}); choose another with --port",
            reason=Reason.PORT_IN_USE,
        ) from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
