"""How one try of a request knows whether anything moves."""

import asyncio

import pytest

from synthray.storage.s3_connection import Exchange
from synthray.storage.s3_filesystem import is_on_this_machine


class Pieces:
    """An answer's body that arrives in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = [*pieces, b""]
        self.closed = False

    async def read(self, _size_bytes: int) -> bytes:
        return self.pieces.pop(0)

    def close(self) -> None:
        self.closed = True


def test_each_piece_that_arrives_postpones_the_end() -> None:
    async def receive() -> None:
        async with asyncio.timeout(5) as watch:
            ends = [watch.when() or 0]
            exchange = Exchange(None, watch, stall_seconds=1000)
            body = Pieces(b"abc", b"de")
            ends += [watch.when() or 0 async for _ in exchange.chunks({"Body": body})]
        assert ends[1] > ends[0] + 900
        assert ends[2] >= ends[1]
        assert exchange.read_bytes == 5
        assert body.closed

    asyncio.run(receive())


def test_a_report_from_a_thread_postpones_it_too_and_one_after_the_end_is_harmless() -> None:
    async def send() -> None:
        async with asyncio.timeout(5) as watch:
            before = watch.when() or 0
            exchange = Exchange(None, watch, stall_seconds=1000)
            await asyncio.to_thread(exchange.moved_in_thread)
            await asyncio.sleep(0)
            assert (watch.when() or 0) > before + 900
        exchange.moved()

    asyncio.run(send())


@pytest.mark.parametrize(
    ("endpoint", "here"),
    [
        ("http://127.0.0.1:8333", True),
        ("http://localhost:8333", True),
        ("http://[::1]:8333", True),
        ("https://s3.storage:8333", False),
        ("http://10.0.0.1", False),
        (None, False),
    ],
)
def test_only_loopback_is_this_machine(endpoint: str | None, here: bool) -> None:
    assert is_on_this_machine(endpoint) is here
