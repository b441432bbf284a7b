"""Who may ask: whoever knows the token, where one is set.

The token lies in a file, as Kubernetes mounts a Secret, and is read again when the file changes, so that a
rotated token restarts nothing. What probes and Prometheus ask needs none, nor does the page, which holds
nothing of anybody. This module must not know engines or jobs.
"""

import hmac
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from synthray.errors import InvalidInput, Reason
from synthray.serving.failures import answer_problem

MIN_TOKEN_CHARACTERS: Final = 16
_MAX_TOKEN_BYTES: Final = 4096
_FREE_PATHS: Final = frozenset({"/", "/healthz", "/readyz", "/metrics"})
_FREE_PREFIX: Final = "/static/"

_Stamp = tuple[int, int, int]


class TokenFile:
    """The token in a file, without white space around it."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidInput for a file that can't be read or holds no good token."""
        self._path = path
        self._stamp, self._token = self._look(), self._read()

    def matches(self, given: bytes) -> bool:
        """Whether this is the token, in a time that tells nothing of where it differs."""
        self._refresh()
        return hmac.compare_digest(given, self._token)

    def _refresh(self) -> None:
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._token = self._read()
                self._stamp = stamp
        except InvalidInput:
            # Half a rotation: the former token counts until there is a whole new one.
            return

    def _look(self) -> _Stamp:
        try:
            status = self._path.stat()
        except OSError as error:
            raise self._unfit(f"can't be read ({error.strerror})") from error
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                token = file.read(_MAX_TOKEN_BYTES).strip()
        except OSError as error:
            raise self._unfit(f"can't be read ({error.strerror})") from error
        if len(token) < MIN_TOKEN_CHARACTERS or not all(33 <= byte <= 126 for byte in token):
            raise self._unfit(f"holds no token of {MIN_TOKEN_CHARACTERS} or more printable characters")
        return token

    def _unfit(self, problem: str) -> InvalidInput:
        return InvalidInput(
            f"the token file {self._path} {problem}; make one with: openssl rand -hex 32",
            reason=Reason.SECRET_MISSING,
        )


class Bearer:
    """ASGI middleware: 401 for who does not bring the token."""

    def __init__(self, app: ASGIApp, token: TokenFile) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or _is_free(scope["path"]) or self._is_known(scope):
            await self._app(scope, receive, send)
            return
        answer = answer_problem(
            401,
            "this service wants its token; send `Authorization: Bearer TOKEN` (OpenAI clients: api_key)",
            code="invalid_api_key",
        )
        answer.headers["WWW-Authenticate"] = "Bearer"
        await answer(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        scheme, _, given = Headers(scope=scope).get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._token.matches(given.strip().encode("latin-1"))


def _is_free(path: str) -> bool:
    return path in _FREE_PATHS or path.startswith(_FREE_PREFIX)
