"""A piece of the caller's memory as the file that S3 libraries want to send, without a copy of it."""

import io
from collections.abc import Callable


class Body(io.RawIOBase):
    """Reads from a flat view of bytes; `on_read` hears of each read, which follows bytes that moved."""

    def __init__(self, data: memoryview, on_read: Callable[[], None]) -> None:
        self._data = data
        self._position = 0
        self._on_read = on_read

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True: libraries measure, hash and then send."""
        return True

    def tell(self) -> int:
        """How many bytes were read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; only whole bodies are ever sent, so it never lies outside."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._data)}[whence]
        self._position = min(max(origin + offset, 0), len(self._data))
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes; none at the end."""
        end = len(self._data) if size is None or size < 0 else self._position + size
        chunk = bytes(self._data[self._position : end])
        self._position += len(chunk)
        self._on_read()
        return chunk
