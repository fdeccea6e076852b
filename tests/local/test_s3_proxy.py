"""The proxy before SeaweedFS, on loopback and with an S3 of few words behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

from free_ports import refusing_port
from warm_processes import LIMIT

from mu_twisted.local._s3_proxy import Caller, Connections

HOST = "127.0.0.1"


class Echo(asyncio.Protocol):
    """Says back what comes."""

    open: ClassVar[set[Echo]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.open.add(self)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.open.discard(self)


@asynccontextmanager
async def proxied(most: int = 100, *, away: bool = False) -> AsyncIterator[int]:
    """The port of a proxy before an echo."""
    loop = asyncio.get_running_loop()
    behind = await loop.create_server(Echo, HOST, 0)
    connections = Connections(most)
    with refusing_port() as nothing:
        inner = nothing if away else behind.sockets[0].getsockname()[1]
        async with await loop.create_server(lambda: Caller(connections, inner), HOST, 0) as server:
            yield server.sockets[0].getsockname()[1]
    behind.close()
    async with asyncio.timeout(LIMIT):
        while len(connections) or Echo.open:
            await asyncio.sleep(0)


def put(key: str, size: int) -> bytes:
    return f"PUT /bucket/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()


async def until_end(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.read(), LIMIT)


def test_bytes_pass_as_they_came_both_ways() -> None:
    async def go() -> None:
        async with proxied() as port:
            reader, writer = await asyncio.open_connection(HOST, port)
            for _ in range(2):
                whole = put("key", 8 << 20) + b"x" * (8 << 20)
                writer.write(whole)
                assert await asyncio.wait_for(reader.readexactly(len(whole)), LIMIT) == whole
            writer.write_eof()
            assert await until_end(reader) == b""
            writer.close()

    asyncio.run(go())


def test_a_refused_caller_reads_why_however_much_it_sends() -> None:
    async def go() -> None:
        async with proxied() as port:
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(put("a//b", 32 << 20))
            for _ in range(32):
                writer.write(b"x" * (1 << 20))
                await writer.drain()
            writer.write_eof()
            answer = await until_end(reader)
            assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
            assert b"'a//b'" in answer
            writer.close()

    asyncio.run(go())


def test_while_the_s3_is_away_callers_are_told_to_try_again() -> None:
    async def go() -> None:
        async with proxied(away=True) as port:
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(put("key", 1) + b"x")
            writer.write_eof()
            assert (await until_end(reader)).startswith(b"HTTP/1.1 503 ")
            writer.close()

    asyncio.run(go())


def test_the_connection_that_was_idle_the_longest_gives_way() -> None:
    async def go() -> None:
        async with proxied(most=3) as port:
            pairs = []
            for _ in range(3):
                reader, writer = await asyncio.open_connection(HOST, port)
                writer.write(put("key", 0))
                await asyncio.wait_for(reader.readexactly(len(put("key", 0))), LIMIT)
                pairs.append((reader, writer))
            first, second = pairs[0], pairs[1]
            first[1].write(put("key", 0))  # it is in use
            await asyncio.wait_for(first[0].readexactly(len(put("key", 0))), LIMIT)
            late_reader, late = await asyncio.open_connection(HOST, port)
            late.write(put("key", 0))
            await asyncio.wait_for(late_reader.readexactly(len(put("key", 0))), LIMIT)
            try:
                ended = await until_end(second[0])
            except ConnectionResetError:
                ended = b""
            assert ended == b""
            first[1].write(put("key", 0))
            assert await asyncio.wait_for(first[0].readexactly(len(put("key", 0))), LIMIT) == put("key", 0)
            for _, writer in [*pairs, (late_reader, late)]:
                writer.close()

    asyncio.run(go())
