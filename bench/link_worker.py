"""This program is the links of some tasks, for the bench: orders are lines of JSON on its standard input.

``{"task": T, "port": P, "tls": BODIES, "peer": T2}`` makes the links of a task; with ``"direct": true`` it may have a
direct path to that peer, and with ``"later": true`` only when ``{"pair": [T, ...]}`` names it. ``{"send": FILE}`` and
``{"receive": FILE}``, ``{"ping": N}``, ``{"echo": N}``, ``{"stream": N}`` and ``{"take": N}`` are about the last one.
``{"states": G, "port": P, "tls": BODIES}`` opens the state channel with that greeting, ``{"hand": N}`` sends
``final.state`` as state N on it, and ``{"await": N}`` waits for that state: of the program's directory, which its
command line may name. What comes of all of it is said in lines of JSON.
"""

import json
import os
import selectors
import sys
import tempfile
import time
from pathlib import Path

from mu_twisted.base.json_types import JsonObject
from worker_lambda._event import parse_event
from worker_lambda._lambda_context import Timing
from worker_lambda.connection import client_context, link_contexts
from worker_lambda.links import LinkChannel
from worker_lambda.peers import PeerChannel
from worker_lambda.peers._states import StateRun, message_of
from worker_lambda.programs import CommandRuns

JOB = "bench"
NOT_THERE = 999_999
"""No task."""


def say(what: object) -> None:
    """Write one line of JSON."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Tasks:
    """Those of this program.

    :param directory: a private one for all of them.
    """

    def __init__(self, directory: Path) -> None:
        self.selector = selectors.DefaultSelector()
        self.runs = CommandRuns(self.selector, Path("/"), None)
        self._directory = directory
        self._channels: list[LinkChannel] = []
        self._pairs: dict[int, tuple[LinkChannel, bytes]] = {}
        self._peer = 0
        self._echoes = self._pings = self._left = 0
        self._states: PeerChannel | None = None
        self._awaited: Path | None = None
        self._begun = 0.0
        self._times: list[float] = []

    def order(self, order: JsonObject) -> None:
        """Carry one out."""
        if "task" in order:
            self._open(**order)
        elif "states" in order:
            self._open_states(**order)
        elif "hand" in order:
            self._hand(order["hand"])
        elif "await" in order:
            self._awaited = self._directory / f"{order['await']}.state"
        elif "pair" in order:
            for task in order["pair"]:
                channel, link = self._pairs[task]
                channel.link(link)
        elif "send" in order:
            self._channels[-1].send(f"{self._peer}:x\0{order['send']}".encode())
        elif "receive" in order:
            self._channels[-1].receive(f"{self._peer}:x\0{order['receive']}".encode())
        elif "ping" in order:
            self._pings, self._times = order["ping"], []
            self._ping()
        elif "stream" in order:
            self._left = order["stream"]
            for _ in range(self._left):
                self._channels[-1].send(b"%d:stream\0\0%b" % (self._peer, bytes(1000)))
        elif "take" in order:
            self._left = order["take"]
            for _ in range(self._left):
                self._channels[-1].receive(f"{self._peer}:stream\0{self._directory}/stream".encode())
        else:
            self._echoes = order["echo"]
            self._channels[-1].receive(f"{self._peer}:ping\0{self._directory}/ping".encode())

    @property
    def pause(self) -> float:
        """Seconds from one step to the next."""
        return 100e-6 * len(self._channels) if len(self._channels) > 1 else 0.0

    def step(self) -> float | None:
        """Let all of them go on."""
        self.runs.tick()
        waits = [channel.step(busy=True) for channel in self._channels]
        if self._states is not None:
            waits.append(self._states.step())
        if self._awaited is not None and self._awaited.exists():
            self._awaited = None
            say("there")
        return min((wait for wait in waits if wait is not None), default=None)

    def _open(
        self, task: int, port: int, tls: dict[str, str], peer: int, direct: bool = False, later: bool = False
    ) -> None:
        folder = self._directory / str(task)
        folder.mkdir()
        contexts = link_contexts(tls, folder) if direct else None
        context = client_context(tls, folder)
        channel = LinkChannel(
            self.selector,
            self.runs,
            b"/",
            os.fsencode(folder),
            context=lambda: context,
            link_contexts=lambda: contexts,
            send=self._said,
            timing=Timing(),
        )
        self._channels.append(channel)
        self._peer = peer
        link = f"127.0.0.1:{port}:{JOB}:{task}:0{f':{peer}' if direct else ''}".encode()
        if later:
            self._pairs[task] = channel, link
            link = link[: link.rindex(b":") + 1] + b"%d" % NOT_THERE
        channel.link(link)

    def _open_states(self, states: str, port: int, tls: dict[str, str]) -> None:
        event = parse_event({"mode": 1, "addr": "127.0.0.1", "port": port, "job": JOB, **tls})
        channel = self._states = PeerChannel(
            self.selector,
            event,
            self.runs,
            lambda reply: say(reply.decode()),
            lambda: True,
            lambda line: say(line),
            Timing(),
        )
        channel.context = client_context(tls, self._directory)
        channel.begin(self._directory)
        channel.connect(f"127.0.0.1:{port}:{states}".encode())

    def _hand(self, number: int) -> None:
        made: list[bytes] = []

        def done(error: str | None) -> None:
            assert error is None, error
            assert self._states is not None
            self._states.send(made[0])
            say(len(made[0]))

        self.runs.chore(lambda _: made.append(message_of(StateRun(number, send=True), self._directory)), done)

    def _said(self, reply: bytes) -> None:
        if reply.startswith(b"OK:RECEIVE") and b"/ping" in reply:
            self._echoes -= 1
            self._channels[-1].send(b"%d:pong\0\0%b" % (self._peer, bytes(1000)))
            if self._echoes:
                self._channels[-1].receive(f"{self._peer}:ping\0{self._directory}/ping".encode())
        elif reply.startswith(b"OK:RECEIVE") and b"/pong" in reply:
            self._times.append(time.perf_counter() - self._begun)
            if len(self._times) < self._pings:
                self._ping()
            else:
                say(sorted(self._times))
        elif self._left:
            assert reply.startswith((b"OK:SEND", b"OK:RECEIVE")), reply
            self._left -= 1
            if not self._left:
                say("all")
        elif not reply.startswith((b"OK:SEND(%d/p" % self._peer, b"OK:LINK")):
            say(reply.decode())

    def _ping(self) -> None:
        self._begun = time.perf_counter()
        self._channels[-1].send(b"%d:ping\0\0%b" % (self._peer, bytes(1000)))
        self._channels[-1].receive(f"{self._peer}:pong\0{self._directory}/pong".encode())


def main() -> None:
    """Carry out orders until there are no more."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        directory.mkdir(exist_ok=True)
        tasks = Tasks(directory)
        pending, ended = b"", False

        def orders(_: int) -> None:
            nonlocal pending, ended
            data = os.read(0, 1 << 16)
            ended = not data
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                tasks.order(json.loads(line))

        tasks.selector.register(0, selectors.EVENT_READ, orders)
        wait, stepped = None, 0.0
        while not ended:
            for key, events in tasks.selector.select(wait):
                if tasks.selector.get_map().get(key.fd) is key:
                    key.data(events)
            # A worker has one task, and steps it in each pass; of many here, most have nothing to do in most passes.
            wait = stepped + tasks.pause - time.monotonic()
            if wait <= 0:
                wait, stepped = tasks.step(), time.monotonic()


if __name__ == "__main__":
    main()
