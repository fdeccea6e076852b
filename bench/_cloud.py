"""A fake Lambda and S3 accept everything and do nothing, in a thread: for benches that are not about them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

from mu_twisted.base.json_types import JsonObject

_CONFIGURATION = json.dumps({"FunctionName": "any", "Timeout": 900, "MemorySize": 128}).encode()


@dataclass
class FakeCloud:
    """Where it answers, and what came.

    :ivar invoked: fires with the first invocation.
    :ivar event: the first invocation's.
    :ivar invocations: how many there were.
    """

    port: int = 0
    invoked: threading.Event = field(default_factory=threading.Event)
    event: JsonObject = field(default_factory=dict)
    invocations: int = 0

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(OSError, asyncio.IncompleteReadError), closing(writer):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if ": " in line)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                status, answer = "200 OK", _CONFIGURATION
                if head.startswith("POST"):
                    status, answer = "202 Accepted", b""
                    self._invoked(body)
                elif head.startswith("HEAD"):
                    answer = b""
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(answer)}\r\n\r\n".encode() + answer)

    def _invoked(self, body: bytes) -> None:
        self.invocations += 1
        if not self.event:
            self.event = json.loads(body)
            self.invoked.set()


@contextmanager
def yes() -> Iterator[FakeCloud]:
    """Run one."""
    cloud = FakeCloud()
    ready = threading.Event()
    ends: list[Callable[[], object]] = []

    async def serve() -> None:
        end = asyncio.Event()
        loop = asyncio.get_running_loop()
        ends.append(lambda: loop.call_soon_threadsafe(end.set))
        server = await asyncio.start_server(cloud.serve, "127.0.0.1", 0, backlog=1000)
        cloud.port = server.sockets[0].getsockname()[1]
        ready.set()
        await end.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield cloud
    finally:
        ends[0]()
        thread.join()
