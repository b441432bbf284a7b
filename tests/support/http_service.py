"""A service behind a real HTTP server, in a thread of the test."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from synthray.serving.http import build_http
from synthray.serving.metrics import RequestCounts
from synthray.serving.service import Service
from synthray.storage import S3Settings


@contextmanager
def answering(service: Service) -> Iterator[str]:
    """The service's URL, until the context ends."""
    app = build_http(service, S3Settings(), RequestCounts())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()
