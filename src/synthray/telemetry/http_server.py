"""A small HTTP server in threads of its own, for metrics, progress and probes beside a process's real work.

It exists once, so that the driver and the operator fail alike on a port that is taken and are silent alike on
clients that hang up. It must not know what it serves.
"""

import errno
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any, Final, Self

from synthray.errors import InvalidInput, Reason

_REQUEST_SECONDS: Final = 10.0


@dataclass(frozen=True)
class HttpAnswer:
    """What a request gets; text ends with a line feed."""

    status: HTTPStatus
    content_type: str
    body: bytes

    @classmethod
    def text(cls, status: HTTPStatus, line: str) -> Self:
        """One line of plain text."""
        return cls(status, "text/plain", f"{line}\n".encode())


Getter = Callable[[str, Message], HttpAnswer]
"""Answers a GET from its path, without the query, and its headers."""
Poster = Callable[[str, Message, BufferedIOBase], HttpAnswer]
"""Answers a POST from its path, its headers and its body, of which Content-Length bytes may be read."""


def take_no_post(_path: str, _headers: Message, _body: BufferedIOBase) -> HttpAnswer:
    """The answer of a server that only tells."""
    return HttpAnswer.text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is answered here")


class HttpServer:
    """Answers on `host`:`port` from entering until leaving; port 0 picks a free one.

    Raises InvalidInput, with `port_option` as the remedy, if the port is taken or not for this user.
    """

    def __init__(
        self, host: str, port: int, *, get: Getter, post: Poster = take_no_post, port_option: str
    ) -> None:
        try:
            self._server = _Server((host, port), _build_handler(get, post))
        except OSError as error:
            if error.errno == errno.EACCES:
                raise InvalidInput(
                    f"port {port} on {host} is not for this user; choose one above 1023 with {port_option}"
                ) from error
            if error.errno != errno.EADDRINUSE:
                raise
            raise InvalidInput(
                f"port {port} is in use on {host}; stop what uses it or choose another with {port_option}",
                reason=Reason.PORT_IN_USE,
            ) from error

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """The base URL."""
        return f"http://{self._server.server_address[0]!s}:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="http", daemon=True).start()
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


def _build_handler(get: Getter, post: Poster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_SECONDS

        def do_GET(self) -> None:
            self._answer(get(self.path.partition("?")[0], self.headers))

        def do_POST(self) -> None:
            self._answer(post(self.path, self.headers, self.rfile))

        def _answer(self, answer: HttpAnswer) -> None:
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base's name
            """Scrapes and probes every few seconds are not worth a log line."""

    return Handler
