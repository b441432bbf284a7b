"""One line of log for each request, under an id that its answer carries: who asks why has a thing to name.

Logs hold the method, the path, the status and the time, and never a body: no image, no token.
"""

import logging
import re
import secrets
import time
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER: Final = "X-Request-ID"
# What a client or a proxy names is taken over if it can do no harm in a log.
_HARMLESS: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_QUIET_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})

log = logging.getLogger(__name__)


class RequestIds:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _HARMLESS.fullmatch(given) else secrets.token_hex(8)
        status, begun = 0, time.monotonic()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            if scope["path"] not in _QUIET_PATHS:
                milliseconds = (time.monotonic() - begun) * 1000
                log.info(
                    "%s %s %.200r %s %.0f ms",
                    request_id,
                    scope["method"],
                    scope["path"],
                    status,
                    milliseconds,
                )
