"""The page for people: its own few files, and a policy that lets a browser load nothing else.

The page holds no data; what it shows it asks of the routes that programs ask, too.
"""

from importlib.resources import files
from typing import Final

from fastapi import FastAPI, Response
from starlette.exceptions import HTTPException

_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Another version of the service brings another page under the same address.
    "Cache-Control": "no-cache",
}
_STATIC: Final = {
    "look.css": ("synthray.generation", "look.css", "text/css"),
    "page.css": ("synthray.serving", "page/page.css", "text/css"),
    "icon.svg": ("synthray.serving", "page/icon.svg", "image/svg+xml"),
    "page.js": ("synthray.serving", "page/page.js", "text/javascript"),
    "service.js": ("synthray.serving", "page/service.js", "text/javascript"),
    "check.js": ("synthray.serving", "page/check.js", "text/javascript"),
    "lapse.js": ("synthray.serving", "page/lapse.js", "text/javascript"),
}


def add_page(app: FastAPI) -> None:
    """Add the page and its files, read once."""
    page = _read("synthray.serving", "page/page.html")
    static = {name: (_read(room, path), kind) for name, (room, path, kind) in _STATIC.items()}

    @app.get("/", include_in_schema=False)
    async def show() -> Response:
        return Response(page, media_type="text/html", headers=_HEADERS)

    @app.get("/static/{name}", include_in_schema=False)
    async def read(name: str) -> Response:
        if name not in static:
            raise HTTPException(404, f"there is no {name[:64]!r} here")
        data, kind = static[name]
        return Response(data, media_type=kind, headers=_HEADERS)


def _read(room: str, path: str) -> bytes:
    return files(room).joinpath(path).read_bytes()
