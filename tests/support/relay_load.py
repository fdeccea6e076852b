"""Pairs of peers that move messages through a rendezvous, with receivers of unequal speed; content is checked.

``python relay_load.py PORT KEYS PAIRS SIZE MESSAGES LAST``: each sender sends MESSAGES of about SIZE bytes. One in four
receivers takes what comes, the others rest after each message, longer and longer ones; the first LAST read nothing
until all others have everything, or for a minute. Says how many messages arrived in order and unchanged.
"""

import sys
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.endpoints import HostnameEndpoint

from mu_twisted.daemons._limits import raise_descriptor_limit
from mu_twisted.tls import client_contexts, load_certificate, load_key_pair
from mu_twisted.transport import FrameProtocol, connect
from mu_twisted.wire import PeerGreeting

reactor: Any = installed
RESTS = (0.0, 0.002, 0.01, 0.03)
LONGEST = 60.0
"""Seconds for which the last read nothing at most: the system gives up a connection that takes nothing for two minutes,
as it is told to, and so long the others may take on a busy machine.
"""


class Load:
    """All pairs."""

    def __init__(self, words: list[str]) -> None:
        port, keys = int(words[0]), Path(words[1])
        self.pairs, self.size, self.messages, self.last = map(int, words[2:])
        pair = load_key_pair(keys / "server_cert.pem", keys / "server_key.pem")
        self.contexts = client_contexts(pair, load_certificate(keys / "ca_cert.pem"), expected=None)
        self.endpoint: Any = HostnameEndpoint(reactor, "127.0.0.1", port)
        self.good = self.ended = 0
        self.waiting: list[Receiver] = []

    def messages_of(self, pair: int) -> Any:
        """The same each time it is asked."""
        source = Random(pair)
        for _ in range(self.messages):
            yield source.randbytes(source.randint(self.size * 3 // 4, self.size * 5 // 4))

    def start(self, pair: int) -> None:
        """One pair; the next follows when both have connected."""
        if pair == self.pairs:
            return
        peers: list[Any] = [Receiver(self, pair), Sender(self, pair)]

        def connected(_: Any) -> None:
            if peers:
                connect(self.endpoint, self.contexts, peers.pop(0), reactor, 64 << 20).addCallbacks(connected, failed)
            else:
                self.start(pair + 1)

        connected(None)

    def finished(self) -> None:
        """A receiver has everything."""
        self.ended += 1
        if self.ended == self.pairs - self.last:
            for receiver in self.waiting:
                receiver.connection.resume_reading()
        if self.ended == self.pairs:
            sys.stdout.write(f"{self.good}\n")
            reactor.stop()

    def lost(self, which: str) -> None:
        """A connection is gone, so what it was for will not come about."""
        if self.ended < self.pairs:
            self.ended = self.pairs
            failed(f"the connection of {which}")


class Sender:
    """Sends as fast as it is taken."""

    def __init__(self, load: Load, pair: int) -> None:
        self.load = load
        self.messages = load.messages_of(pair)
        self.greeting = PeerGreeting(b"load", 2 * pair, 2 * pair + 1, 0)
        self.paused = False

    def connected(self, connection: FrameProtocol) -> None:
        self.connection = connection
        connection.send(self.greeting.encode())
        connection.register_producer(self, True)
        reactor.callLater(0, self.more)

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False
        self.more()

    def stopProducing(self) -> None:
        self.paused = True

    def more(self) -> None:
        while not self.paused:
            message = next(self.messages, None)
            if message is None:
                return
            self.connection.send(message)

    def frames_received(self, payloads: list[bytes]) -> None:
        failed(f"a sender got {payloads[0]!r}")

    def disconnected(self, reason: str) -> None:
        self.load.lost(f"sender {self.greeting.me}: {reason}")


class Receiver:
    """Takes, and rests."""

    def __init__(self, load: Load, pair: int) -> None:
        self.load = load
        self.expected = load.messages_of(pair)
        self.greeting = PeerGreeting(b"load", 2 * pair + 1, 2 * pair, 0)
        self.rest = RESTS[pair % len(RESTS)]
        self.last = pair < load.last
        self.got = 0

    def connected(self, connection: FrameProtocol) -> None:
        self.connection = connection
        connection.send(self.greeting.encode())
        if self.last:
            connection.pause_reading()
            self.load.waiting.append(self)
            reactor.callLater(LONGEST, connection.resume_reading)

    def frames_received(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            self.load.good += payload == next(self.expected)
            self.got += 1
        if self.got == self.load.messages:
            self.load.finished()
        elif self.rest and not self.last:
            self.connection.pause_reading()
            reactor.callLater(self.rest, self.connection.resume_reading)

    def disconnected(self, reason: str) -> None:
        self.load.lost(f"receiver {self.greeting.me}: {reason}")


def failed(reason: Any) -> None:
    sys.stdout.write(f"failed: {reason}\n")
    sys.stdout.flush()
    reactor.stop()


raise_descriptor_limit()
load = Load(sys.argv[1:])
reactor.callWhenRunning(load.start, 0)
reactor.run()
