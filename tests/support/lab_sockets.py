"""A program for the lab's hosts: plain sockets that show what a NAT does. Its first argument says which part it plays.

``mirror PORT...`` tells each caller the address that it comes from; ``map HOST PORT...`` calls all of these from one
local port, on which it then takes one connection; ``call HOST PORT`` says what comes of a connection;
``unanswered HOST PORT MIRROR PORT`` whether nothing has come of one by when the mirror has told a later caller.
"""

import errno
import json
import select
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

LIMIT = 180.0
"""Seconds after which a connection that must be answered is given up."""


def main(part: str, *words: str) -> None:
    """Play a part until it is over, or the standard input ends."""
    parts: dict[str, Callable[..., None]] = {
        "mirror": mirror,
        "map": map_port,
        "call": call,
        "unanswered": call_unanswered,
    }
    threading.Thread(target=parts[part], args=words, daemon=True).start()
    sys.stdin.read()


def say(what: Any) -> None:
    """Write one line of JSON."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def mirror(*ports: str) -> None:
    """Serve the callers of all ports."""
    selector = selectors.DefaultSelector()
    for port in ports:
        selector.register(socket.create_server(("", int(port)), backlog=128), selectors.EVENT_READ)
    say("ready")
    kept = []
    while True:
        for key, _ in selector.select():
            listener = key.fileobj
            assert isinstance(listener, socket.socket)
            caller, (host, port, *_) = listener.accept()
            caller.sendall(f"{host} {port}\n".encode())
            kept.append(caller)


def map_port(host: str, *ports: str) -> None:
    """Say by which addresses the callers of these ports see us, and then what comes in."""
    listener = shared_port(0)
    local = listener.getsockname()[1]
    kept = []
    seen = []
    for port in ports:
        sock = shared_port(local)
        seen.append(seen_by(sock, host, port))
        kept.append(sock)
    listener.listen()
    say({"local": local, "seen": seen})
    _, (address, port, *_) = listener.accept()
    say([address, port])


def seen_by(sock: socket.socket, host: str, port: str) -> tuple[str, int]:
    """The address that a mirror's port sees us by."""
    sock.connect((host, int(port)))
    with sock.makefile() as lines:
        address, number = lines.readline().split()
    return address, int(number)


def shared_port(port: int) -> socket.socket:
    """A socket on a port that others share."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("", port))
    return sock


def call(host: str, port: str) -> None:
    """Say what comes of one connection, and how long that took."""
    with socket.socket() as sock:
        sock.settimeout(LIMIT)
        begun = time.monotonic()
        try:
            sock.connect((host, int(port)))
            outcome = "connected"
        except OSError as error:
            outcome = errno.errorcode[error.errno or errno.ETIMEDOUT]
        say({"outcome": outcome, "seconds": time.monotonic() - begun})


def call_unanswered(host: str, port: str, mirror: str, mirror_port: str) -> None:
    """Say whether a connection is neither made nor refused while a later one comes to be and carries an answer.

    The way to the mirror must be no shorter than the one that is tried: what would answer there has done so by then.
    """
    with socket.socket() as sock, socket.socket() as later:
        sock.setblocking(False)
        sock.connect_ex((host, int(port)))
        seen_by(later, mirror, mirror_port)
        _, writable, _ = select.select((), (sock,), (), 0)
        say(not writable)


if __name__ == "__main__":
    main(*sys.argv[1:])
