"""A program for the lab's hosts: a worker's punching, driven by one JSON object a line on its standard input.

``{"open": {...}}`` connects to the rendezvous as one attempt of a task, ``{"want": TASK}`` wants a link,
``{"close": true}`` ends that attempt. Links are tried: each end sends a message and hears the other's. Its argument, if
there is one, are seconds that take the place of the worker's own time limits.
"""

import json
import os
import selectors
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mu_twisted.wire import Decoder, encode
from mu_twisted.wire.links import LinkGreeting, parse_link_welcome
from mu_twisted.wire.punching import PREFIX, PUNCH
from worker_lambda.connection import (
    RENDEZVOUS,
    FrameConnection,
    Partner,
    SocketWatch,
    client_context,
    link_contexts,
    resolve,
)
from worker_lambda.punching import Link, LinkIdentity, LocalPort, Puncher, _handshake, _probe, _puncher
from worker_lambda.punching._puncher import PAUSE

MESSAGE = 100_000
"""Bytes that each end sends on a link."""


def say(what: Any) -> None:
    """Write one line of JSON."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Attempt:
    """One attempt of a task, from its connection to the rendezvous on.

    :param order: ``job``, ``task``, ``attempt``, ``address`` (host and port), ``tls`` (base64 bodies), and ``late``:
        seconds for which orders to punch are kept, as if they came so much later. ``longer``: seconds by which
        punches may last longer than ordered. ``pause``: see :class:`Puncher`.
    """

    def __init__(self, selector: selectors.BaseSelector, order: dict[str, Any]) -> None:
        self._selector = selector
        self._late = float(order.get("late", 0.0))
        self._longer = float(order.get("longer", 0.0))
        self._pause = float(order.get("pause", PAUSE))
        self._kept: list[tuple[float, bytes]] = []
        self.puncher: Puncher | None = None
        self._links: list[Trial] = []
        self._begun = 0.0
        self.settling = False
        """Whether to say so once no punch is under way."""
        self._told = False
        self._mapped = b""
        job, task, attempt = order["job"], order["task"], order["attempt"]
        with tempfile.TemporaryDirectory() as directory:
            context = client_context(order["tls"], Path(directory))
            client, server = link_contexts(order["tls"], Path(directory))
        self._identity = LinkIdentity(job, task, attempt, client, server)
        self._port = LocalPort()
        self._control = FrameConnection(
            selector,
            resolve(*order["address"]),
            context,
            Partner("rendezvous", RENDEZVOUS, 1 << 20),
            came_up=lambda: None,
            received=self._received,
            prepare=self._port.prepare,
        )
        self._control.send(LinkGreeting(job.encode("ascii"), task, attempt, {PUNCH: True}).encode())

    def step(self) -> float | None:
        waits = [self._control.step()]
        if self._control.lost is not None:
            say({"lost": str(self._control.lost)})
            sys.exit(1)
        now = time.monotonic()
        while self.puncher is not None and self._kept and self._kept[0][0] <= now:
            self._begin(self._kept.pop(0)[1])
        if self._kept:
            waits.append(self._kept[0][0] - now)
        if self.puncher is not None:
            waits.append(self.puncher.step())
            if not self._told and self._mapped and self.puncher.probed:
                self._told = True
                say({"opened": self._mapped.decode("ascii")})
            if self.settling and not self._kept and not self.puncher._punches:
                self.settling = False
                say("settled")
        for link in self._links:
            link.step()
        waits.append(self._control.step())  # what was just sent goes out now
        return min((wait for wait in waits if wait is not None), default=None)

    def close(self) -> None:
        if self.puncher is not None:
            say({"report": self.puncher.report.encode().decode("ascii")})
            self.puncher.close()
        self._control.close(flush=1.0)
        for link in self._links:
            link.close()

    def _welcomed(self) -> None:
        control = self._control.sock
        assert control is not None
        self.puncher = Puncher(
            self._selector,
            self._identity,
            self._port,
            control,
            self._control.send,
            connected=self._connected,
            failed=lambda task, reason: say({"failed": [task, reason]}),
            pause=self._pause,
        )

    def _received(self, message: bytes) -> None:
        puncher = self.puncher
        if puncher is None:
            assert parse_link_welcome(message).announced[PUNCH] is True
            self._welcomed()
            return
        if message.startswith(b"PUNCH_PROBE:"):
            self._mapped = message
        if message.startswith(b"PUNCH_GO:") and self._late:
            self._kept.append((time.monotonic() + self._late, message))
        elif message.startswith(PREFIX):
            self._begin(message)

    def _begin(self, message: bytes) -> None:
        assert self.puncher is not None
        self._begun = time.monotonic()
        before = set(self.puncher._punches)
        self.puncher.receive(message)
        for nonce in self.puncher._punches.keys() - before:
            self.puncher._punches[nonce]._deadline += self._longer

    def _connected(self, link: Link) -> None:
        self._links.append(Trial(self._selector, link, self._identity, time.monotonic() - self._begun))


class Trial:
    """A link, on which each end sends its message and hears the other's."""

    def __init__(self, selector: selectors.BaseSelector, link: Link, me: LinkIdentity, seconds: float) -> None:
        self._link = link
        self._seconds = seconds
        self._decoder = Decoder(1 << 20)
        self._unsent = memoryview(encode(b"%d" % me.task * MESSAGE))
        self._heard = False
        self._watch = SocketWatch(selector, self._ready)
        self._ready(selectors.EVENT_READ)

    def step(self) -> None:
        stream = self._link.stream
        while self._unsent:
            count = stream.send(self._unsent)
            if not count:
                break
            self._unsent = self._unsent[count:]
        stream.flush()
        writing = selectors.EVENT_WRITE if stream.unsent or self._unsent else 0
        self._watch.set(stream.socket, selectors.EVENT_READ | writing)

    def close(self) -> None:
        self._watch.clear()
        self._link.stream.close()

    def _ready(self, events: int) -> None:
        while events & selectors.EVENT_READ and not self._heard:
            data = self._link.stream.receive()
            if not data:
                return
            for payload in self._decoder.feed(data):
                self._heard = True
                peer = self._link.peer.task
                say(
                    {
                        "linked": peer,
                        "tcp": self._link.tcp_seconds,
                        "whole": self._seconds,
                        "by": self._link.stream.socket.getpeername()[0],
                        "heard": payload == b"%d" % peer * MESSAGE,
                    }
                )


def main(limit: str = "") -> None:
    """Carry out orders until there are no more."""
    if limit:
        _handshake.TLS_TIMEOUT = _handshake.GREETING_TIMEOUT = _probe.PROBE_TIMEOUT = float(limit)
        _puncher.ANSWER_TIMEOUT = _puncher.EARLY_TIMEOUT = float(limit)
    selector = selectors.DefaultSelector()
    attempt: Attempt | None = None
    pending = b""
    ended = False

    def orders(_: int) -> None:
        nonlocal attempt, pending, ended
        data = os.read(0, 65536)
        ended = not data
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if "open" in order:
                attempt = Attempt(selector, order["open"])
            elif "want" in order:
                assert attempt is not None
                assert attempt.puncher is not None
                attempt.puncher.want(order["want"])
            elif "settle" in order:
                assert attempt is not None
                attempt.settling = True
            elif attempt is not None:
                attempt.close()
                attempt = None
                say("closed")

    selector.register(0, selectors.EVENT_READ, orders)
    while not ended:
        wait = None if attempt is None else attempt.step()
        for key, events in selector.select(wait):
            if selector.get_map().get(key.fd) is key:
                call: Callable[[int], None] = key.data
                call(events)


if __name__ == "__main__":
    main(*sys.argv[1:])
