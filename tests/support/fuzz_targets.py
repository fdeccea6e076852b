"""What fuzzing tries, and the rules that each must keep whatever bytes a stranger sends.

A target takes a number, its parameter, and the bytes; it returns in few words what they led to.
"""

import argparse
import itertools
import random
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import fsm_vectors as vectors
import memory_links
from twisted.internet.task import Clock

import mu_twisted.coordinator._session as session
from mu_twisted import fsm, wire
from mu_twisted.coordinator._counters import ConnectionCounters
from mu_twisted.coordinator.output import JobTee
from mu_twisted.rendezvous import RelayLimits
from mu_twisted.rendezvous._message import Account
from mu_twisted.rendezvous._pipes import SMALL_WINDOW, WINDOW, Pipes, PipeSession
from mu_twisted.transport import FrameProtocol
from mu_twisted.wire import links, pipes, tee

E = TypeVar("E", bound=Exception)
T = TypeVar("T")
LIMIT = 1 << 16
SLOW = 5.0
"""Seconds of processor time that no input may take."""


def told(expected: type[E], call: Callable[..., T], *given: Any) -> T | E:
    """What it returns, or the error that it may raise, which must be one line."""
    try:
        return call(*given)
    except expected as error:
        text = str(error)
        assert text
        assert text.isprintable(), text
        assert len(text) < 2000
        return error


def pieces(cut: int, body: bytes) -> list[bytes]:
    """The body as reads bring it."""
    chance = random.Random(cut)
    cuts = sorted(chance.randrange(len(body) + 1) for _ in range(cut % 8))
    return [body[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(body)])]


def frames(cut: int, body: bytes) -> str:
    """However the stream is split, the same payloads come out of it, and the same complaint."""
    whole, split = wire.Decoder(LIMIT), wire.Decoder(LIMIT)
    outcome = told(wire.FrameError, whole.feed, body)
    once = outcome.completed if isinstance(outcome, Exception) else outcome
    got: list[bytes] = []
    error: Exception | None = None
    for piece in pieces(cut, body):
        parts = told(wire.FrameError, split.feed, piece)
        if isinstance(parts, Exception):
            error = parts
            got += parts.completed
            break
        got += parts
        assert split.pending <= wire.HEADER_SIZE + LIMIT
    assert got == once
    assert (error is None) == isinstance(outcome, list)
    assert body.startswith(b"".join(map(wire.encode, once)))
    if error is None:
        assert whole.pending == split.pending == len(body) - sum(wire.HEADER_SIZE + len(part) for part in once)
    return f"{min(len(once), 3)} {error is None} {bool(whole.pending)}"


def greeting(_: int, body: bytes) -> str:
    """A greeting or one line; what was read says the same when it is written again."""
    read = told(wire.WireError, wire.parse_greeting, body)
    if isinstance(read, Exception):
        return str(read)
    if read.version:
        assert wire.parse_greeting(read.encode()) == read
    return f"{read.version > 1} {bool(read.launch_id)} {read.deadline_ms > 0} {read.redial}"


def info(_: int, body: bytes) -> str:
    """Key and value or one line; put together they are the message."""
    read = told(wire.WireError, wire.parse_info, body)
    if not isinstance(read, Exception):
        assert read[0]
        assert b":" not in read[0]
        assert wire.info(*read) == body
    return type(read).__name__


def peer_greeting(_: int, body: bytes) -> str:
    """A peer's greeting of either kind, or one line; what was read says the same when it is written again."""
    read = told(wire.WireError, wire.parse_peer_greeting, body)
    if isinstance(read, Exception):
        return "none"
    assert wire.parse_peer_greeting(read.encode()) == read
    assert read.attempt is None or min(read.me, read.to, read.attempt) >= 0
    return f"{read.attempt is None} {read.replay}"


def notice(_: int, body: bytes) -> str:
    """What coordinator and rendezvous tell one another, or one line; written again it says the same."""
    read = told(wire.WireError, wire.parse_notice, body)
    if not isinstance(read, Exception):
        assert wire.parse_notice(read.encode()) == read
    return type(read).__name__


def state(cut: int, body: bytes) -> str:
    """A state within its limit, whatever a message would unpack to, or one line."""
    limit = cut << 8
    made = wire.state_message(cut, body)
    assert wire.parse_state(made, len(body)) == (cut, body)
    read = told(wire.WireError, wire.parse_state, body, limit)
    if isinstance(read, Exception):
        return str(read)
    number, found = read
    assert len(found) <= limit
    assert wire.parse_state(wire.state_message(number, found), limit) == read
    return f"{bool(found)}"


def run(cut: int, body: bytes) -> str:
    """A status and an output that stands in the reply, or one line; of what a worker would send, all of it."""
    head, _, tail = body.partition(b"\0")
    reply, command = (part.decode("utf-8", "surrogateescape") for part in (head, tail))
    made = f"OK:RETVAL({cut}):OUTPUT({reply}):COMMAND({command})"
    assert fsm.parse_run(made, command) == fsm.RunResult(cut, reply)
    read = told(fsm.FSMError, fsm.parse_run, reply, command if cut % 2 else "")
    if not isinstance(read, Exception):
        assert read.raw in head
        return f"{read.status < 0} {bool(read.output)} {len(read.output) == len(reply)}"
    return type(read).__name__


async def everything(w: Any) -> None:
    """A script that reads every kind of reply."""
    await w.all(w.set("a", "1"), w.get("a"), w.geti("k"), w.echo("1"))
    await w.all(w.retrieve("k", "f"), w.upload("k", "f"), w.run("x", check=False), w.run("y"))
    await w.informed()


def machines() -> list[Any]:
    """Of the recorded scenarios, and a script."""
    if not _MACHINES:
        _MACHINES.extend(
            [everything, *(scenario["machine"] for scenario in vectors.scenarios() if "machine" in scenario)]
        )
    return _MACHINES


_MACHINES: list[Any] = []


def begin(which: int) -> Any:
    described = machines()[which % len(machines())]
    return fsm.Machine(described if callable(described) else vectors.build(described, []))


def check(machine: Any, sent: list[bytes]) -> None:
    assert all(type(command) is bytes for command in sent)
    assert machine.text.startswith("0:")
    assert len(machine.info) <= 1100
    if machine.outcome is fsm.Outcome.FAILED:
        assert sent == []
        assert machine.error.isprintable()
        assert len(machine.error) < 2000
    else:
        assert machine.error is None
    if machine.outcome is not fsm.Outcome.RUNNING:
        assert machine.held == 0


def machine(cut: int, body: bytes) -> str:
    """No exception gets out, the error is one line, and nothing is held once it is over."""
    driven = begin(cut)
    check(driven, driven.start())
    check(driven, driven.receive([b"OK:HELLO"]))
    decoder = wire.Decoder(LIMIT)
    for piece in pieces(cut, body):
        over = driven.outcome is not fsm.Outcome.RUNNING
        came = told(wire.FrameError, decoder.feed, piece)
        sent = driven.receive(came.completed if isinstance(came, Exception) else came)
        check(driven, sent)
        assert not (over and sent)
        if isinstance(came, Exception):
            break
    where = (driven.error or "").partition("expected")[0]
    return f"{driven.outcome} {driven.state_name} {where} {bool(driven.held)}"


class Connection:
    """What a session writes to, and the listener that it reports to."""

    def __init__(self, which: int) -> None:
        self.which = which
        self.max_frame = LIMIT
        self.peer = argparse.Namespace(host="192.0.2.1", port=1, identity=None)
        self.counters = ConnectionCounters()
        self.reasons: list[str] = []
        self.events = ""

    def greeted(self) -> None:
        pass

    def send(self, *payloads: bytes) -> None:
        assert all(type(payload) is bytes for payload in payloads)

    def close(self, farewell: bytes | None = None) -> None:
        self.drop("closed here")

    def abort(self) -> None:
        self.drop("aborted here")

    def drop(self, reason: str) -> None:
        self.reasons.append(reason)

    def session_opened(self, _: Any) -> None:
        self.events += "o"

    def worker_greeted(self, by: Any) -> None:
        self.events += "g"
        by.listener = self
        if self.which % 2:
            by.give_token("5ec7e7")
        by.assign(begin(self.which))

    def token_taken(self, _: Any) -> None:
        self.events += "t"

    def heard(self, by: Any) -> None:
        pass

    def task_ended(self, by: Any, machine: Any) -> None:
        self.events += "e"
        error = machine.error
        assert error is None or error.isprintable()
        if self.which % 3:
            by.warm()

    def session_closed(self, _: Any, reason: str) -> None:
        assert reason.isprintable()

    def forget(self, _: Any) -> None:
        self.events += "c"


def conversation(cut: int, body: bytes) -> str:
    """A session survives whatever a worker says, and reports its end once."""
    connection = Connection(cut)
    talk = session.Session(0, connection)
    talk.connected(cast("FrameProtocol", connection))
    decoder = wire.Decoder(LIMIT)
    for piece in pieces(cut, body):
        decoder.max_frame = min(connection.max_frame, LIMIT)
        came = told(wire.FrameError, decoder.feed, piece)
        payloads = came.completed if isinstance(came, Exception) else came
        if payloads:
            talk.frames_received(payloads)
        if isinstance(came, Exception) or connection.reasons:
            break
    talk.disconnected((connection.reasons or ["closed by the peer"])[0])
    assert connection.events.count("c") == 1
    return connection.events[:8]


def output_piece(_: int, body: bytes) -> str:
    """A piece of output or one line; what was read is written as it came, but for zeros before its numbers."""
    read = told(wire.PeerError, tee.parse_piece, body)
    if isinstance(read, Exception):
        return "none"
    written = read.encode()
    assert len(written) <= len(body)
    assert tee.parse_piece(written).encode() == written
    return f"{bool(read.data)}"


def tee_store(cut: int, body: bytes) -> str:
    """A worker that was granted credit says anything: what is passed on is bounded by the credit, or it is dropped."""
    clock = Clock()
    store = JobTee(clock)
    granted: list[int] = []
    attempt = store.attempt(0, 0, granted.append)
    came = told(wire.FrameError, wire.Decoder(LIMIT).feed, body)
    payloads = came.completed if isinstance(came, Exception) else came
    outcome = told(wire.PeerError, attempt.received, payloads)
    attempt.close()
    page = store.page(None)
    replies = sum(map(len, payloads))
    assert sum(len(piece.data) for piece in page.pieces) <= sum(granted) + replies
    assert all(piece.skipped >= 0 for piece in page.pieces)
    clock.advance(cut)
    store.close()
    return f"{isinstance(outcome, Exception)} {min(len(page.pieces), 3)}"


def link_frame(_: int, body: bytes) -> str:
    """A frame of a link, its greeting or its welcome, or one line; what was read is written as it came."""
    parsers: list[Callable[[bytes], Any]] = [links.parse_link_greeting, links.parse_link_welcome]
    for parse in parsers:
        read = told(wire.PeerError, parse, body)
        if not isinstance(read, Exception):
            assert parse(read.encode()) == read
            return type(read).__name__
    read = told(wire.PeerError, links.parse_link_frame, body)
    if not isinstance(read, Exception):
        assert len(body) <= links.MAX_LINK_FRAME
        assert links.parse_link_frame(read.encode()) == read
    return type(read).__name__


def link_store(cut: int, body: bytes) -> str:
    """Three tasks say anything on their links, and lose them: what the store counts stays within its limits, and is
    nothing when the job is over."""
    store = memory_links.Store(RelayLimits(memory=1 << 17, links=1 << 18, disk=1 << 18, named=20))
    tasks = [memory_links.Task(store, task, may_repeat=True, may_lie=True) for task in range(3)]
    led_to, attempt = "", 0
    came = told(wire.FrameError, wire.Decoder(LIMIT).feed, body)
    for number, payload in enumerate(came.completed if isinstance(came, Exception) else came):
        task = tasks[(number + cut) % 3]
        frame = told(wire.PeerError, links.parse_link_frame, payload)
        if isinstance(frame, Exception) or isinstance(told(wire.PeerError, task.says, frame), Exception):
            attempt += cut % 2
            tasks[task.task] = memory_links.Task(store, task.task, attempt, may_repeat=True, may_lie=True)
            led_to += "!"
        else:
            led_to += type(frame).__name__[0]
        if number % (1 + cut % 5) == 0:
            led_to += "".join(type(each).__name__[0] for each in tasks[number % 3].hears(cut % 7))
        held = store.store
        assert held.memory.free >= 0
        assert min(held.stored.free, held.named.free) >= 0
    for task in tasks:
        task.hears()
        task.leaves()
    store.close()
    return led_to[:12]


def pipe_frame(_: int, body: bytes) -> str:
    """A frame of a pipe, or one line; what was read is written as it came."""
    read = told(wire.PeerError, pipes.parse_pipe_frame, body)
    if not isinstance(read, Exception):
        assert len(body) <= links.MAX_LINK_FRAME
        assert pipes.parse_pipe_frame(read.encode()) == read
    return type(read).__name__


class _Outlet:
    """A connection that takes nothing at once."""

    def deliver(self) -> None:
        """It is asked later."""


def pipe_store(cut: int, body: bytes) -> str:
    """Three tasks say anything of their pipes, and lose them: what waits stays within its limits, and is nothing when
    all are gone."""
    memory = Account(2 * WINDOW + SMALL_WINDOW)
    joined = Pipes(memory)
    sessions = [PipeSession(joined, task, 0, _Outlet()) for task in range(3)]
    led_to, attempt = "", 0
    came = told(wire.FrameError, wire.Decoder(LIMIT).feed, body)
    for number, payload in enumerate(came.completed if isinstance(came, Exception) else came):
        at = (number + cut) % 3
        frame = told(wire.PeerError, pipes.parse_pipe_frame, payload)
        if isinstance(frame, Exception) or isinstance(told(wire.PeerError, sessions[at].receive, frame), Exception):
            attempt += cut % 2
            sessions[at].close()
            sessions[at] = PipeSession(joined, at, attempt, _Outlet())
            led_to += "!"
        else:
            led_to += type(frame).__name__[0]
        if number % (1 + cut % 5) == 0:
            for _ in range(cut % 7):
                said = sessions[number % 3].next_frame()
                led_to += "" if said is None else type(pipes.parse_pipe_frame(said)).__name__[-1]
        assert memory.free >= 0
    for one in sessions:
        one.close()
        assert one.next_frame() is None
    assert memory.used == 0
    return led_to[:12]


STREAMS = [frames, machine, conversation, link_store, pipe_store, tee_store]
MESSAGES = [greeting, info, run, peer_greeting, notice, state, link_frame, pipe_frame, output_piece]
TARGETS: list[Callable[[int, bytes], str]] = [*STREAMS, *MESSAGES]


def one_input(data: bytes) -> str:
    """Try one: the first byte is the target, the second its parameter. Returns what it led to.

    :raises AssertionError: it broke a rule; any other exception is one that got out.
    """
    if len(data) < 2:
        return ""
    target = TARGETS[data[0] % len(TARGETS)]
    begun = time.process_time()
    led_to = f"{target.__name__} {target(data[1], data[2:])}"
    assert time.process_time() - begun < SLOW, "it took too long"
    # What an error quotes of an input is no other result.
    return re.sub(r"[0-9]+", "", re.split(r"['\"\\]", led_to)[0])[:200]
