"""What a run tells over HTTP: `/metrics`, `/progress`, `/healthz`, and on a laptop it takes `/workers`.

It answers from the newest snapshot alone, so a scrape never waits for training; the one thing that it takes
is a wish for another number of workers. It must not import torch, Ray or more of a run than its snapshot.
"""

import json
from collections.abc import Callable
from email.message import Message
from http import HTTPStatus
from io import BufferedIOBase
from typing import Final, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from synthray.telemetry.http_server import Getter, HttpAnswer, HttpServer, Poster
from synthray.telemetry.metrics import RunCollector
from synthray.telemetry.progress import build_progress
from synthray.telemetry.report import RunSnapshot

_MAX_BODY_BYTES: Final = 1024
_LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost")


class WorkerScale(Protocol):
    """Takes the wish for another number of workers."""

    limit: int

    def change(self, count: int) -> None:
        """Want `count` workers, at least 1 and at most the limit."""


def build_exporter(
    snapshot: Callable[[], RunSnapshot], *, host: str, port: int, scale: WorkerScale | None = None
) -> HttpServer:
    """The server of one run's snapshots on `host`:`port`; port 0 picks a free one.

    With a `scale` it also takes POST /workers with {"workers": N}: for loopback alone. Raises InvalidInput if
    the port can't be had.
    """
    return HttpServer(
        host, port, get=_build_getter(snapshot), post=_build_poster(scale), port_option="--metrics-port"
    )


def _build_getter(snapshot: Callable[[], RunSnapshot]) -> Getter:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(RunCollector(snapshot))

    def get(path: str, headers: Message) -> HttpAnswer:
        if path == "/metrics":
            encode, content_type = choose_encoder(headers.get("Accept", ""))
            return HttpAnswer(HTTPStatus.OK, content_type, encode(registry))
        if path == "/progress":
            progress = json.dumps(build_progress(snapshot())).encode()
            return HttpAnswer(HTTPStatus.OK, "application/json", progress)
        if path == "/healthz":
            return HttpAnswer.text(HTTPStatus.OK, "ok")
        return HttpAnswer.text(HTTPStatus.NOT_FOUND, "try /metrics, /progress or /healthz")

    return get


def _build_poster(scale: WorkerScale | None) -> Poster:
    def post(path: str, headers: Message, body: BufferedIOBase) -> HttpAnswer:
        if scale is None or path != "/workers":
            return HttpAnswer.text(HTTPStatus.NOT_FOUND, "only a run on this machine takes POST /workers")
        return _take_wish(scale, headers, body)

    return post


def _take_wish(scale: WorkerScale, headers: Message, body: BufferedIOBase) -> HttpAnswer:
    """Change the number of workers as the request says."""
    # A page in a browser can't send JSON to another origin unasked, and one that has given its own name this
    # address says that name: so no page can scale a run.
    if (headers.get("Host") or "").rpartition(":")[0] not in _LOOPBACK_NAMES:
        return HttpAnswer.text(
            HTTPStatus.FORBIDDEN, "workers are changed on this machine alone: ask 127.0.0.1"
        )
    length = int(declared) if (declared := headers.get("Content-Length") or "").isdecimal() else 0
    if headers.get_content_type() != "application/json" or not 0 < length <= _MAX_BODY_BYTES:
        return HttpAnswer.text(HTTPStatus.BAD_REQUEST, 'send {"workers": N} as application/json')
    try:
        document = json.loads(body.read(length))
    except ValueError:
        document = None
    count = document.get("workers") if isinstance(document, dict) else None
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= scale.limit:
        return HttpAnswer.text(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"workers={count!r} can't be: send a whole number from 1 to {scale.limit}, the micro-batches of "
            "a global batch",
        )
    scale.change(count)
    return HttpAnswer.text(HTTPStatus.OK, f"{count} workers are wanted")
