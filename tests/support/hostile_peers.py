"""Peers over real sockets: a good worker, and the daemon that it and the bad ones dial."""

import contextlib
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from mu_twisted.tls import Authority, LaunchIdentity
from mu_twisted.wire import Decoder, Greeting, encode

TIMEOUT = 180.0
"""Seconds after which what should have happened is taken for never."""


class Target:
    """A daemon that was started to be attacked.

    :param process: it.
    :param log: the file of its output; a line that ends with ``port N`` says where it listens.
    :param state_dir: holds its CA in ``tls``.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path, state_dir: Path) -> None:
        self.process = process
        self._log = log
        self._state_dir = state_dir
        self.port = 0
        self.context: ssl.SSLContext

    def wait_until_ready(self) -> None:
        ready = self.wait_for(r"port (\d+)$")
        self.port = int(ready[1])
        authority = Authority.open(self._state_dir / "tls")
        pair = authority.issue(LaunchIdentity("j"), lifetime=timedelta(hours=1))
        path = self._state_dir / "worker.pem"
        path.write_bytes(pair.certificate + pair.key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.load_verify_locations(cadata=authority.certificate.decode())
        self.context.load_cert_chain(path)

    def wait_for(self, pattern: str) -> "re.Match[str]":
        """The first line of the log that this is found in."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            found = re.search(pattern, self.log, re.MULTILINE)
            if found is not None:
                return found
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, f"{pattern} is not in {self.log}"
            time.sleep(0.02)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def memory(self) -> int:
        """The most that it has held in memory since ``forget_peak``, bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [kilobytes] = re.findall(r"VmHWM:\s*(\d+) kB", status)
        return int(kilobytes) << 10

    def forget_peak(self) -> int:
        """Count the peak anew; what it is now."""
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.memory()

    def dial(self, launch_id: str, *, buffer: int | None = None) -> "Wire":
        """A worker that has been through the handshake and has greeted.

        :param buffer: bytes that the kernel may hold for it.
        """
        plain = socket.socket()
        plain.settimeout(TIMEOUT)
        if buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        plain.connect(("127.0.0.1", self.port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(self.context.wrap_socket(plain))
        wire.send(Greeting(1, launch_id, 10_000, 128).encode())
        return wire


class Wire:
    """A worker's end."""

    def __init__(self, stream: ssl.SSLSocket) -> None:
        self.stream = stream
        self._decoder = Decoder(1 << 30)

    def send(self, *payloads: bytes) -> None:
        self.stream.sendall(b"".join(map(encode, payloads)))

    def commands(self) -> Iterator[bytes]:
        """What comes, until the connection ends."""
        while data := self.stream.recv(1 << 16):
            yield from self._decoder.feed(data)

    def some(self, size: int) -> list[bytes] | None:
        """The commands that so many bytes more complete; None where the connection has ended."""
        data = self.stream.recv(size)
        return self._decoder.feed(data) if data else None

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
