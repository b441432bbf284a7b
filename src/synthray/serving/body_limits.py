"""Bodies of requests are small and come soon: what is larger or slower is refused before it is read whole."""

import asyncio
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from synthray.generation.receipts import MAX_PNG_BYTES

MAX_JSON_BYTES: Final = 64 << 10
BODY_SECONDS: Final = 30.0
_IMAGE_PATHS: Final = frozenset({"/v1/verify"})


class BodyLimits:
    """ASGI middleware; raises HTTPException (413, 408) into the application that reads a body."""

    def __init__(self, app: ASGIApp, *, body_seconds: float = BODY_SECONDS) -> None:
        self._app = app
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most_bytes = MAX_PNG_BYTES if scope["path"] in _IMAGE_PATHS else MAX_JSON_BYTES
        seen_bytes, is_complete = 0, False
        deadline = asyncio.get_running_loop().time() + self._body_seconds

        async def receive_some() -> Message:
            nonlocal seen_bytes, is_complete
            if is_complete:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(
                    408, f"the body did not come within {self._body_seconds:.0f} s"
                ) from error
            seen_bytes += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if seen_bytes > most_bytes:
                raise HTTPException(413, f"the body is larger than {most_bytes:,} bytes; send less")
            return message

        await self._app(scope, receive_some, send)
