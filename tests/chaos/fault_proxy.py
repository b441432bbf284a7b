"""A proxy before an S3 server that spoils exchanges by rules, in a process of its own.

Every exchange gets a connection of its own to the server, and passes byte by byte, so that signatures stay
valid: clients sign the proxy's address as the host, and the server checks what it was sent. Rules are set and
cleared over a second port; see `control_app`.

    python -m tests.chaos.fault_proxy --upstream 127.0.0.1:8333 --port 9000 --control-port 9001 [--seed 0]
"""

import argparse
import asyncio
import socket
import struct
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

from aiohttp import web

from .fault_rules import Rule, RuleBook, Spoil, parse_rule, spoil_piece
from .http_messages import Head, read_body, read_head, request_has_body, response_has_body

_BUFFER_BYTES = 2**18
_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected</Message></Error>"


class _Dropped(Exception):
    """This exchange ends here, with or without a reset."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__()
        self.reset = reset


class FaultProxy:
    """Passes connections on to the host and port of `upstream`, spoiled by the rules of `book`."""

    def __init__(self, upstream: tuple[str, int], book: RuleBook) -> None:
        self.upstream = upstream
        self.book = book
        self.requests: Counter[str] = Counter()
        self.body_bytes: Counter[str] = Counter()
        self.open_connections = 0
        self._cleared = asyncio.Event()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Exchanges of one client's connection until it or a rule ends it."""
        self.open_connections += 1
        try:
            while (head := await read_head(reader)) is not None:
                method, path, *_ = head.first_line
                self.requests[method] += 1
                if not await _Exchange(self, reader, writer, head, self.book.draw(method, path)).run():
                    break
            writer.close()
        except _Dropped as drop:
            _end(writer, reset=drop.reset)
        except (OSError, IncompleteReadError):
            _end(writer, reset=True)
        finally:
            self.open_connections -= 1

    async def pause(self, seconds: float) -> None:
        """Hold something up, but not longer than the rules stand."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._cleared.wait(), seconds)

    def clear(self, name: str | None) -> None:
        """Take rules away and let go what they hold up."""
        self.book.clear(name)
        self._cleared.set()
        self._cleared = asyncio.Event()


class _Exchange:
    """One request and its answer."""

    def __init__(
        self,
        proxy: FaultProxy,
        reader: StreamReader,
        writer: StreamWriter,
        head: Head,
        strikes: tuple[Rule, ...],
    ) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._head = head
        self._strikes = strikes

    async def run(self) -> bool:
        """Whether the connection can carry another exchange."""
        rules = self._rules("request")
        if Spoil.BLACK_HOLE in rules:
            await self._swallow()
        if Spoil.LATENCY in rules:
            await self._proxy.pause(rules[Spoil.LATENCY].seconds)
        if Spoil.STATUS in rules:
            return await self._refuse(rules[Spoil.STATUS])
        upstream_reader, upstream_writer = await asyncio.open_connection(
            *self._proxy.upstream, limit=_BUFFER_BYTES
        )
        try:
            keep = await self._exchange(upstream_reader, upstream_writer)
        except _Dropped as drop:
            _end(upstream_writer, reset=drop.reset)
            raise
        finally:
            upstream_writer.close()
        return keep and not self._strikes

    async def _exchange(self, upstream_reader: StreamReader, upstream_writer: StreamWriter) -> bool:
        """Request and answer pass at once: a server may answer before it has heard all."""
        has_body = request_has_body(self._head)
        sending = asyncio.create_task(
            self._pass_on("request", self._head, self._reader, upstream_writer, has_body=has_body)
        )
        answering = asyncio.create_task(self._answer(upstream_reader))
        try:
            await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            keep = await answering
            return keep and sending.done()
        finally:
            sending.cancel()
            answering.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)

    async def _answer(self, upstream: StreamReader) -> bool:
        rules = self._rules("response")
        while True:
            head = await read_head(upstream)
            if head is None:
                raise _Dropped(reset=True)
            if head.status >= 200:
                break
            self._writer.write(head.raw)
        method = self._head.first_line[0]
        has_body = response_has_body(head, method)
        if Spoil.BLACK_HOLE in rules:
            await self._swallow()
        if Spoil.LATENCY in rules:
            await self._proxy.pause(rules[Spoil.LATENCY].seconds)
        if Spoil.STATUS in rules:
            self._write_status(rules[Spoil.STATUS])
            return False
        await self._pass_on("response", head, upstream, self._writer, has_body=has_body)
        return not has_body or head.content_length is not None or head.has("transfer-encoding", "chunked")

    async def _pass_on(
        self, direction: str, head: Head, reader: StreamReader, writer: StreamWriter, *, has_body: bool
    ) -> None:
        """Send a message on, spoiled by the direction's rules; raises _Dropped where they end it."""
        rules = self._rules(direction)
        end = next((rules[spoil] for spoil in (Spoil.CUT, Spoil.RESET) if spoil in rules), None)
        if end is not None and end.bytes == 0:
            raise _Dropped(reset=end.spoil is Spoil.RESET)
        truncate, length = rules.get(Spoil.TRUNCATE), head.content_length
        cuts_short = truncate is not None and length is not None and truncate.bytes < length and has_body
        if truncate is not None and cuts_short:
            writer.write(head.with_content_length(truncate.bytes).raw)
            end = truncate
        else:
            writer.write(head.raw)
        if has_body:
            await self._pass_body(direction, head, reader, writer, end)
        await writer.drain()

    async def _pass_body(
        self, direction: str, head: Head, reader: StreamReader, writer: StreamWriter, end: Rule | None
    ) -> None:
        rules, sent = self._rules(direction), 0
        async for piece in read_body(reader, head):
            if piece.is_framing:
                writer.write(piece.data)
                continue
            data = spoil_piece(piece.data, sent, flip=rules.get(Spoil.FLIP), end=end)
            if Spoil.BANDWIDTH in rules:
                await self._proxy.pause(len(data) / rules[Spoil.BANDWIDTH].bytes_per_second)
            writer.write(data)
            await writer.drain()
            sent += len(piece.data)
            self._proxy.body_bytes[direction] += len(data)
            if end is not None and sent >= end.bytes:
                if end.spoil is Spoil.TRUNCATE:
                    return
                raise _Dropped(reset=end.spoil is Spoil.RESET)

    async def _refuse(self, rule: Rule) -> bool:
        """Answer for the server, which never hears of the request."""
        if self._head.has("expect", "100-continue"):
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request_has_body(self._head):
            async for _ in read_body(self._reader, self._head):
                pass
        self._write_status(rule)
        await self._writer.drain()
        return False

    def _write_status(self, rule: Rule) -> None:
        body = _ERROR.format(code=rule.code).encode() if self._head.first_line[0] != "HEAD" else b""
        self._writer.write(
            f"HTTP/1.1 {rule.status} Injected\r\nContent-Type: application/xml\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )

    async def _swallow(self) -> None:
        """Say nothing until the client has had enough."""
        while await self._reader.read(_BUFFER_BYTES):
            pass
        raise _Dropped(reset=False)

    def _rules(self, direction: str) -> Mapping[Spoil, Rule]:
        return {rule.spoil: rule for rule in self._strikes if rule.direction == direction}


def _end(writer: StreamWriter, *, reset: bool) -> None:
    """Close a connection in order, or reset it."""
    if not reset:
        writer.close()
        return
    linger_not = struct.pack("ii", 1, 0)
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None:
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
    writer.transport.abort()


def control_app(proxy: FaultProxy) -> web.Application:
    """`POST /rules` sets one (JSON), `DELETE /rules[/name]` clears all or one, `GET /counters` counts."""

    async def set_rule(request: web.Request) -> web.Response:
        try:
            proxy.book.set(parse_rule(await request.json()))
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({})

    async def clear(request: web.Request) -> web.Response:
        proxy.clear(request.match_info.get("name"))
        return web.json_response({})

    async def counters(_: web.Request) -> web.Response:
        return web.json_response(
            {
                "requests": proxy.requests,
                "body_bytes": proxy.body_bytes,
                "strikes": proxy.book.strikes,
                "open_connections": proxy.open_connections,
            }
        )

    app = web.Application()
    app.add_routes(
        [
            web.post("/rules", set_rule),
            web.delete("/rules", clear),
            web.delete("/rules/{name}", clear),
            web.get("/counters", counters),
        ]
    )
    return app


async def _run(options: argparse.Namespace) -> None:
    host, _, port = options.upstream.rpartition(":")
    proxy = FaultProxy((host, int(port)), RuleBook(options.seed))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", options.port, limit=_BUFFER_BYTES)
    runner = web.AppRunner(control_app(proxy), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", options.control_port).start()
    await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--control-port", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
