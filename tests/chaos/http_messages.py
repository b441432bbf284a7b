"""HTTP/1.1 messages as the fault proxy passes them on: heads to look at, bodies in pieces.

Nothing is decoded or written anew, so that what a client signed reaches the server byte by byte, unless a
rule says otherwise.
"""

import re
from asyncio import IncompleteReadError, LimitOverrunError, StreamReader
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

_PIECE_BYTES = 16 * 1024
_BODILESS_STATUS = {204, 304}
_CONTENT_LENGTH = re.compile(rb"(?im)^(content-length:[ \t]*)(\d+)")


@dataclass(frozen=True)
class Head:
    """The first line and the headers, with the empty line that ends them."""

    raw: bytes

    @property
    def first_line(self) -> list[str]:
        """Its words: method, path, version; or version, status, reason."""
        return self.raw.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)

    @property
    def status(self) -> int:
        """Of a response."""
        return int(self.first_line[1])

    @property
    def content_length(self) -> int | None:
        """None if it doesn't say."""
        match = _CONTENT_LENGTH.search(self.raw)
        return int(match[2]) if match else None

    def has(self, name: str, value: str) -> bool:
        """Whether a header holds a value, in any case."""
        pattern = rf"(?im)^{re.escape(name)}:[^\r\n]*{re.escape(value)}"
        return re.search(pattern.encode(), self.raw) is not None

    def with_content_length(self, length: int) -> "Head":
        """The head of a message with another number of bytes."""
        return replace(self, raw=_CONTENT_LENGTH.sub(rb"\g<1>%d" % length, self.raw, count=1))


@dataclass(frozen=True)
class Piece:
    """Some bytes of a body; framing is what says where chunks begin and end."""

    data: bytes
    is_framing: bool = False


async def read_head(reader: StreamReader) -> Head | None:
    """The next message's head; None if the other side has ended or speaks no HTTP."""
    try:
        return Head(await reader.readuntil(b"\r\n\r\n"))
    except (IncompleteReadError, LimitOverrunError, ConnectionError):
        return None


def request_has_body(head: Head) -> bool:
    """Whether bytes follow a request's head."""
    return bool(head.content_length) or head.has("transfer-encoding", "chunked")


def response_has_body(head: Head, method: str) -> bool:
    """Whether bytes follow a response's head."""
    return method != "HEAD" and head.status not in _BODILESS_STATUS and head.content_length != 0


async def read_body(reader: StreamReader, head: Head) -> AsyncIterator[Piece]:
    """The pieces of a body, to its end; raises IncompleteReadError if the other side ends first."""
    if head.has("transfer-encoding", "chunked"):
        async for piece in _read_chunks(reader):
            yield piece
    elif (length := head.content_length) is not None:
        async for piece in _read_exactly(reader, length):
            yield piece
    else:
        while data := await reader.read(_PIECE_BYTES):
            yield Piece(data)


async def _read_exactly(reader: StreamReader, length: int) -> AsyncIterator[Piece]:
    left = length
    while left:
        data = await reader.read(min(left, _PIECE_BYTES))
        if not data:
            raise IncompleteReadError(b"", left)
        left -= len(data)
        yield Piece(data)


async def _read_chunks(reader: StreamReader) -> AsyncIterator[Piece]:
    while True:
        line = await reader.readuntil(b"\r\n")
        yield Piece(line, is_framing=True)
        size = int(line.split(b";", 1)[0], 16)
        async for piece in _read_exactly(reader, size):
            yield piece
        if size == 0:
            break
        yield Piece(await reader.readexactly(2), is_framing=True)
    while True:
        line = await reader.readuntil(b"\r\n")
        yield Piece(line, is_framing=True)
        if line == b"\r\n":
            return
