"""Named messages between real workers through the real rendezvous, and what a worker says where that fails."""

import hashlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_ports
from rendezvous_daemons import Daemon

from mu_twisted.wire.links import (
    LINKS,
    MAX_PART,
    PINGS,
    Ack,
    Begin,
    End,
    LinkWelcome,
    Nak,
    Part,
    WantAny,
    parse_link_frame,
    parse_paths,
)
from mu_twisted.wire.pipes import PIPES
from mu_twisted.wire.punching import PUNCH
from worker_lambda import _worker

pytestmark = pytest.mark.process
MIB = 1 << 20
WELCOME = LinkWelcome({"store": "s"}).encode()


@pytest.fixture(scope="module")
def begin_rendezvous(tmp_path_factory: pytest.TempPathFactory, keys: Any) -> Iterator[Callable[..., Daemon]]:
    started: list[Daemon] = []

    def begin(port: int = 0, *words: str) -> Daemon:
        folder = tmp_path_factory.mktemp("rendezvous")
        pair = keys.rendezvous
        for name, content in (("ca", keys.authority.certificate), ("cert", pair.certificate), ("key", pair.key)):
            (folder / name).touch(0o600)
            (folder / name).write_bytes(content)
        where = f"tcp:{port}:interface=127.0.0.1"
        started.append(Daemon(folder, "-t", where, "-c", "ca", "-s", "cert", "-k", "key", *words))
        return started[-1]

    yield begin
    for daemon in started:
        daemon.kill()


@pytest.fixture(scope="module")
def rendezvous(begin_rendezvous: Callable[..., Daemon]) -> int:
    return begin_rendezvous().port


class Task:
    """A worker of job j that was given a task, and the coordinator's talk with it."""

    def __init__(self, talk: Any, keys: Any, port: int, number: int, attempt: int, peers: bytes | None = None) -> None:
        self.talk = talk
        self.where = b"127.0.0.1:%d:j:%d:%d" % (port, number, attempt)
        self.where += b"" if peers is None else b":" + peers
        self.paths: dict[int, str] = {}
        greeting = talk.hear()
        assert json.loads(greeting.removeprefix(b"OK:HELLO:"))["supports"] == [
            "token",
            LINKS,
            PUNCH,
            "punches",
            PIPES,
            "tee",
            "processes",
            "presign",
        ]
        assert talk.ask(b"identity:" + keys.task(number, attempt)) == b"OK:IDENTITY"
        assert talk.ask(b"link:" + self.where) == b"OK:LINK"
        talk.say(b"run:echo -n ##TMPDIR##")
        run = self.hears()
        self.directory = Path(re.search(r"OUTPUT\((.*?)\)", run.decode())[1])  # type: ignore[index]

    def send(self, to: int, name: str, data: bytes) -> bytes:
        reply: bytes = self.talk.ask(b"send:%d:%b\0\0%b" % (to, name.encode(), data))
        return reply

    def send_file(self, to: int, name: str, file: str) -> bytes:
        reply: bytes = self.talk.ask(f"send:{to}:{name}\0##TMPDIR##/{file}".encode())
        return reply

    def asks(self, frm: int | str, name: str, file: str = "got") -> None:
        self.talk.say(f"receive:{frm}:{name}\0##TMPDIR##/{file}".encode())

    def hears(self) -> bytes:
        """The next reply that is no INFO."""
        while (reply := self.talk.hear()).startswith(b"INFO:"):
            if reply.startswith(b"INFO:paths:"):
                self.paths.update(parse_paths(reply))
        return bytes(reply)

    def until(self, path: dict[int, str]) -> None:
        """Wait until this has become of its direct paths."""
        while self.paths != path:
            reply = self.talk.hear()
            assert reply.startswith(b"INFO:")
            if reply.startswith(b"INFO:paths:"):
                self.paths.update(parse_paths(reply))

    def receive(self, frm: int | str, name: str, file: str = "got") -> bytes:
        self.asks(frm, name, file)
        assert re.fullmatch(rb"OK:RECEIVE\(\d+/%b\)" % name.encode(), self.hears())
        return (self.directory / file).read_bytes()


@pytest.fixture
def task(tls_coordinator: Any, start: Callable, keys: Any, event: Callable) -> Callable[..., Task]:
    def begin(port: int, number: int, attempt: int = 1, *, peers: bytes | None = None, **more: Any) -> Task:
        start(event(tls_coordinator, job="j", **keys.event(), **more))
        return Task(tls_coordinator.accept(), keys, port, number, attempt, peers)

    return begin


def test_the_word_that_is_announced_is_that_of_the_wire() -> None:
    assert (_worker.LINKS, _worker.PUNCH) == (LINKS, PUNCH)


def test_bytes_and_files_of_any_size_come_as_they_were_sent(task: Callable[..., Task], rendezvous: int) -> None:
    one, two = task(rendezvous, 1), task(rendezvous, 2)
    assert one.send(2, "a", b"") == b"OK:SEND(2/a)"
    assert one.send(2, "a", b"\0bytes\0") == b"OK:SEND(2/a)"
    assert two.receive(1, "a") == b""
    assert two.receive(1, "a") == b"\0bytes\0"
    two.asks(1, "h\u00e9llo:")
    for size in (1, MAX_PART, MAX_PART + 1, 8 * MAX_PART, 5_000_000):
        body = os.urandom(size)
        (one.directory / "out").write_bytes(body)
        assert one.send_file(2, "h\u00e9llo:", "out") == "OK:SEND(2/h\u00e9llo:)".encode()
        assert two.hears() == "OK:RECEIVE(1/h\u00e9llo:)".encode()
        assert (two.directory / "got").read_bytes() == body
        two.asks(1, "h\u00e9llo:")
    assert not list(two.directory.glob(".*"))


def test_workers_that_reach_each_other_send_directly_and_leave_nothing_behind(
    task: Callable[..., Task], rendezvous: int
) -> None:
    one, two = task(rendezvous, 121, peers=b"122"), task(rendezvous, 122, peers=b"120-121")
    one.until({122: "direct"})
    two.until({121: "direct", 120: "absent"})
    assert one.talk.ask(b"link:" + one.where.rpartition(b":")[0] + b":119") == b"OK:LINK"
    one.until({122: "direct", 119: "absent"})  # nothing else happens meanwhile that would wake it
    bodies = [os.urandom(size) for size in (0, 1000, 5_000_000)]
    for number in range(len(bodies)):
        two.asks(121, "x", f"got{number}")
    # What is not known to be wanted goes by the rendezvous: by then the wants are there.
    for each in (two, one, one):
        assert each.talk.ask(b"ping:1") == b"OK:PONG(1)"
    for number, body in enumerate(bodies):
        (one.directory / f"out{number}").write_bytes(body)
        assert one.send_file(122, "x", f"out{number}") == b"OK:SEND(122/x)"
        (one.directory / f"out{number}").unlink()
        assert two.hears() == b"OK:RECEIVE(121/x)"
        assert (two.directory / f"got{number}").read_bytes() == body
    assert len(list(one.directory.glob(".sent*"))) == len(bodies)
    assert one.talk.ask(b"hand_over:0-5,122") == b"OK:HAND_OVER"
    assert not list(one.directory.iterdir())
    assert one.talk.ask(b"reset:").startswith(b"OK:HELLO")
    again = task(rendezvous, 122, 2)
    assert [again.receive(121, "x") for _ in bodies] == bodies


def test_commands_of_real_workers_are_joined_by_a_pipe(task: Callable[..., Task], rendezvous: int) -> None:
    one, two = task(rendezvous, 131, peers=b"132"), task(rendezvous, 132, peers=b"131")
    one.until({132: "direct"})
    two.until({131: "direct"})
    assert one.talk.ask(b"pipe:to:132:1:x") == b"OK:PIPE(x)"
    assert two.talk.ask(b"pipe:from:131:1:x") == b"OK:PIPE(x)"
    one.talk.say(b"run:seq 200000 | gzip -1 > ##PIPE:x##")
    two.talk.say(b"run:gunzip < ##PIPE:x## | sha256sum")
    body = "".join(f"{number}\n" for number in range(1, 200_001)).encode()
    assert one.hears().startswith(b"OK:RETVAL(0):OUTPUT():")
    assert two.hears().startswith(b"OK:RETVAL(0):OUTPUT(%b" % hashlib.sha256(body).hexdigest().encode())


def test_messages_go_to_and_fro_directly_and_none_waits_for_another_event(
    task: Callable[..., Task], rendezvous: int
) -> None:
    one, two = task(rendezvous, 141, peers=b"142"), task(rendezvous, 142, peers=b"141")
    one.until({142: "direct"})
    two.until({141: "direct"})
    for number in range(30):
        two.asks(141, "ping")
        one.talk.say(b"send:142:ping\0\0%d" % number, b"receive:142:pong\0##TMPDIR##/got")
        assert two.hears() == b"OK:RECEIVE(141/ping)"
        assert (two.directory / "got").read_bytes() == b"%d" % number
        two.talk.say(b"send:141:pong\0\0%d" % number)
        assert two.hears() == b"OK:SEND(141/pong)"
        assert {one.hears() for _ in range(2)} == {b"OK:SEND(142/ping)", b"OK:RECEIVE(142/pong)"}
        assert (one.directory / "got").read_bytes() == b"%d" % number


def test_a_message_of_any_task_names_its_sender(task: Callable[..., Task], rendezvous: int) -> None:
    workers = {number: task(rendezvous, number) for number in (11, 12, 13)}
    for number in (12, 13):
        for text in (b"first", b"second"):
            assert workers[number].send(11, "x", b"%d %b" % (number, text)) == b"OK:SEND(11/x)"
    got = [workers[11].receive("*", "x") for _ in range(3)]
    workers[11].talk.say(b"receive:*:x\0##TMPDIR##/last")
    reply = workers[11].hears()
    got.append((workers[11].directory / "last").read_bytes())
    assert reply == b"OK:RECEIVE(" + got[-1][:2] + b"/x)"
    for number in (b"12", b"13"):
        assert [text[3:] for text in got if text[:2] == number] == [b"first", b"second"]


def test_many_messages_travel_at_once_and_pings_pass_them(task: Callable[..., Task], rendezvous: int) -> None:
    one, two = task(rendezvous, 21), task(rendezvous, 22)
    (one.directory / "out").write_bytes(os.urandom(30 * MIB))
    for number in range(60):
        two.asks(21, f"n{number}", f"f{number}")
    one.talk.say(b"send:22:n0\0##TMPDIR##/out")
    one.talk.say(*(b"send:22:n%d\0\0%d" % (number, number) for number in range(1, 60)), b"ping:1")
    two.talk.say(b"ping:2")
    assert one.hears() == b"OK:PONG(1)"
    replies = {one.hears() for _ in range(60)}
    assert replies == {b"OK:SEND(22/n%d)" % number for number in range(60)}
    assert {two.hears() for _ in range(61)} >= {b"OK:RECEIVE(21/n%d)" % number for number in range(60)}
    assert (two.directory / "f59").read_bytes() == b"59"
    assert (two.directory / "f0").read_bytes() == (one.directory / "out").read_bytes()


def test_a_later_attempt_receives_all_again_and_what_it_sends_again_is_dropped(
    task: Callable[..., Task], rendezvous: int
) -> None:
    one, two = task(rendezvous, 31), task(rendezvous, 32)
    assert one.send(32, "x", b"body") == b"OK:SEND(32/x)"
    assert two.receive(31, "x") == b"body"
    again = task(rendezvous, 32, 2)
    assert again.receive(31, "x") == b"body"
    sender = task(rendezvous, 31, 2)
    assert sender.send(32, "x", b"body") == b"OK:SEND(32/x)"
    third = task(rendezvous, 31, 3)
    reply = third.send(32, "x", b"other")
    assert reply.startswith(b"FAIL(sending 32/x: task 31's program is not deterministic: message 1 'x' to task 32 has")
    assert one.send(32, "x", b"late").startswith(b"FAIL(sending 32/x: rendezvous: ")


def test_what_cannot_be_sent_or_received_is_one_line(task: Callable[..., Task], rendezvous: int) -> None:
    one, two = task(rendezvous, 41, capabilities=["failure-codes"]), task(rendezvous, 42)
    os.mkfifo(one.directory / "fifo")
    for command, why in (
        (b"send:42:x\0##TMPDIR##/none", rb"FAIL:NoSuchFile\(cannot read .*/none: No such file or directory\)"),
        (b"send:42:x\0##TMPDIR##", rb"FAIL:NotAFile\(.* is not a regular file\)"),
        (b"send:42:x\0##TMPDIR##/fifo", rb"FAIL:NotAFile\(.* is not a regular file\)"),
        (b"send:42:x\0", rb"FAIL:BadCommand\(expected send:TO:NAME.*"),
        (b"send:42:x\0a\0b", rb"FAIL:BadCommand\(expected send:TO:NAME.*"),
        (b"send:42:x\0\0" + bytes(66_000), rb"FAIL:BadCommand\(expected send:TO:NAME.*"),
        (b"send:*:x\0\0b", rb"FAIL:BadCommand\(expected send:TO:NAME.*"),
        (b"send:-1:x\0\0b", rb"FAIL:BadCommand\(expected a task.*"),
        (b"send:1:\0\0b", rb"FAIL:BadCommand\(a message's name has.*"),
        (b"send:1:a\nb\0\0b", rb"FAIL:BadCommand\(a message's name has.*"),
        (b"send:1:\xff\0\0b", rb"FAIL:BadCommand\(a message's name has.*"),
        (b"receive:1:x\0", rb"FAIL:BadCommand\(expected receive:FROM:NAME.*"),
        (b"receive:1:x\0a\0b", rb"FAIL:BadCommand\(expected receive:FROM:NAME.*"),
        (b"link:127.0.0.1:1:j:1", rb"FAIL:BadCommand\(expected HOST:PORT:JOB:TASK:ATTEMPT\)"),
    ):
        reply = one.talk.ask(command)
        assert re.fullmatch(why, reply), (command[:40], reply)
    assert one.send(42, "x", b"1") == b"OK:SEND(42/x)"
    two.asks(41, "x", "none/such")
    assert re.fullmatch(rb"FAIL\(receiving 41/x: cannot write .*/none/such: No such file or directory\)", two.hears())
    (two.directory / "folder").mkdir()
    two.asks(41, "x", "folder")
    assert re.fullmatch(rb"FAIL\(receiving 41/x: cannot write .*/folder: Is a directory\)", two.hears())
    assert sorted(path.name for path in two.directory.iterdir()) == ["folder"]
    assert two.receive(41, "x") == b"1"


def test_a_disk_that_is_full_leaves_nothing_behind(task: Callable[..., Task], rendezvous: int) -> None:
    one, two = task(rendezvous, 46), task(rendezvous, 47)
    (one.directory / "out").write_bytes(bytes(3 * MIB))
    assert one.send_file(47, "x", "out") == b"OK:SEND(47/x)"
    pid = int(re.search(rb"OUTPUT\((\d+)", two.talk.ask(b"run:echo $PPID"))[1])  # type: ignore[index]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (MIB, MIB))
    two.asks(46, "x")
    assert re.fullmatch(rb"FAIL\(receiving 46/x: cannot write .*/got: File too large\)", two.hears())
    assert list(two.directory.iterdir()) == []
    assert two.talk.ask(b"echo:up") == b"OK:ECHO(up)"


@pytest.mark.long
@pytest.mark.parametrize("directly", [False, True])
def test_two_gib_pass_through_a_rendezvous_and_workers_of_little_memory(
    task: Callable[..., Task], begin_rendezvous: Callable[..., Daemon], remark: Callable[[str], None], directly: bool
) -> None:
    """None of the three may have 512 MB of memory of its own, and the disk between them has all of it."""
    daemon = begin_rendezvous()
    limit = 512 * MIB
    resource.prlimit(daemon.process.pid, resource.RLIMIT_DATA, (limit, limit))
    one, two = (task(daemon.port, number, peers=b"%d" % (3 - number) if directly else None) for number in (1, 2))
    for each in (one, two):
        each.talk.sock.settimeout(600)
        each.talk.say(b"run:echo $PPID")
        pid = int(re.search(rb"OUTPUT\((\d+)", each.hears())[1])  # type: ignore[index]
        resource.prlimit(pid, resource.RLIMIT_DATA, (limit, limit))
    block = os.urandom(MIB)
    with (one.directory / "out").open("wb") as file:
        for number in range(2048):
            file.write(number.to_bytes(8, "big") + block[8:])
    if directly:
        one.until({2: "direct"})
        two.until({1: "direct"})
        two.asks(1, "film")
    begun = time.monotonic()
    one.talk.say(b"send:2:film\0##TMPDIR##/out")
    assert one.hears() == b"OK:SEND(2/film)"  # by the rendezvous all of it is there, wanted later
    stored = time.monotonic()
    if not directly:
        two.asks(1, "film")
    assert two.hears() == b"OK:RECEIVE(1/film)"
    done = time.monotonic()
    assert (two.directory / "got").stat().st_size == 2048 * MIB
    assert subprocess.run(["cmp", one.directory / "out", two.directory / "got"], check=False).returncode == 0
    peak = daemon.peak_kb()
    assert peak < 512 * 1024
    there, whole = 2048 / (stored - begun), 2048 / (done - begun)
    way = "directly" if directly else f"through a rendezvous, of which {there:.0f} MiB/s there"
    remark(f"2 GiB {way}: {whole:.0f} MiB/s, at most {peak // 1024} MiB of memory")


def test_without_a_link_nothing_is_sent(pair: Callable[..., tuple]) -> None:
    talk, _ = pair(job="j")
    for command in (b"send:1:x\0\0b", b"receive:1:x\0f"):
        assert talk.ask(command) == b"FAIL(no link: has come yet)"


def test_kill_gives_up_and_the_numbers_with_it(task: Callable[..., Task], rendezvous: int) -> None:
    one, two = task(rendezvous, 51), task(rendezvous, 52)
    for name in ("x", "y"):
        two.asks(51, name)
    two.asks("*", "z")
    two.talk.say(b"kill:")
    replies = [two.hears() for _ in range(4)]
    assert sorted(replies) == [
        b"FAIL(receiving */z: it was killed)",
        b"FAIL(receiving 51/x: it was killed)",
        b"FAIL(receiving 51/y: it was killed)",
        b"OK:KILL(0)",
    ]
    assert one.send(52, "x", b"1") == b"OK:SEND(52/x)"
    assert one.send(52, "z", b"2") == b"OK:SEND(52/z)"
    assert (two.receive(51, "x"), two.receive("*", "z")) == (b"1", b"2")


def test_reset_says_nothing_and_begins_anew(task: Callable[..., Task], rendezvous: int) -> None:
    one = task(rendezvous, 61)
    one.asks(62, "x")
    one.talk.say(b"reset:")
    assert one.hears().startswith(b"OK:HELLO")
    assert one.talk.ask(b"send:1:x\0\0b") == b"FAIL(no link: has come yet)"


def test_a_task_that_only_waits_says_for_what(task: Callable[..., Task], rendezvous: int) -> None:
    one, two = task(rendezvous, 71), task(rendezvous, 72)
    two.talk.say(b"receive:71:x\0##TMPDIR##/got", b"receive:*:any\0##TMPDIR##/other")
    assert two.talk.hear() == b'INFO:waits:[[71,"x",1],[null,"any",1]]'
    assert one.send(72, "x", b"1") == b"OK:SEND(72/x)"
    said = [two.talk.hear() for _ in range(2)]
    while b'INFO:waits:[[null,"any",1]]' not in said:
        said.append(two.talk.hear())
    assert set(said) <= {b"OK:RECEIVE(71/x)", b"INFO:waits:[]", b'INFO:waits:[[null,"any",1]]'}
    two.talk.say(b"seti:nonblock:1", b"run:until [ -f ##TMPDIR##/go ]; do sleep 0.05; done")
    said = [two.talk.hear() for _ in range(3)]
    assert b"INFO:waits:[]" in said
    (two.directory / "go").touch()


class Interrupted:
    """A way to a rendezvous that breaks after so many bytes, as often as is asked; then it holds."""

    def __init__(self, port: int, after: list[int]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.broken = 0
        self._to, self._after = port, after
        self._threads: list[threading.Thread] = []
        self._sockets = [self.listener]
        self._start(self._serve)

    def _start(self, target: Callable[..., None], *given: Any) -> None:
        self._threads.append(threading.Thread(target=target, args=given))
        self._threads[-1].start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [near, far]
                left = [self._after.pop(0) if self._after else 1 << 60]
                for source, target in ((near, far), (far, near)):
                    self._start(self._carry, source, target, left)

    def _carry(self, source: socket.socket, target: socket.socket, left: list[int]) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                left[0] -= len(data)
                if left[0] < 0:
                    self.broken += 1
                    break
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(180)
        for each in self._sockets:
            each.close()


@pytest.mark.parametrize("whose", ["sender", "receiver"])
def test_a_message_whose_connection_is_cut_in_its_middle_comes_identical(
    task: Callable[..., Task], rendezvous: int, whose: str
) -> None:
    number = 81 if whose == "sender" else 91
    way = Interrupted(rendezvous, [8 * MIB, 16 * MIB])
    one = task(way.port if whose == "sender" else rendezvous, number)
    two = task(way.port if whose == "receiver" else rendezvous, number + 1)
    for each in (one, two):
        each.talk.sock.settimeout(120)
    body = os.urandom(MIB) * 24
    (one.directory / "out").write_bytes(body)
    two.asks(number, "x")
    assert one.send_file(number + 1, "x", "out") == b"OK:SEND(%d/x)" % (number + 1)
    assert two.hears() == b"OK:RECEIVE(%d/x)" % number
    assert (two.directory / "got").read_bytes() == body
    assert way.broken >= 2
    assert sorted(path.name for path in two.directory.iterdir()) == ["got"]
    way.close()


def test_a_rendezvous_that_comes_back_is_dialled_again(
    here: Callable, tls_coordinator: Any, event: Callable, keys: Any, begin_rendezvous: Callable[..., Daemon]
) -> None:
    first = begin_rendezvous(free_ports())
    workers, tasks = [], []
    for number in (101, 102):  # they wait for it for as long as its start may take on a busy machine
        workers.append(here(event(tls_coordinator, job="j", **keys.event()), link_timeout=180.0))
        tasks.append(Task(tls_coordinator.accept(), keys, first.port, number, 1))
    one, two = tasks
    two.asks(101, "x")
    assert one.send(102, "y", b"lost with it") == b"OK:SEND(102/y)"
    first.process.send_signal(signal.SIGTERM)
    first.process.wait(180)
    begin_rendezvous(first.port)
    assert one.send(102, "x", b"body") == b"OK:SEND(102/x)"
    assert two.hears() == b"OK:RECEIVE(101/x)"
    for worker, each in zip(workers, tasks, strict=True):
        each.talk.say(b"quit:")
        worker.result()


# -- against a rendezvous by hand --------------------------------------------------------------------------------------


@pytest.fixture
def linked(
    here: Callable, coordinator: Any, make_coordinator: Callable, event: Callable, tmp_path: Path
) -> Iterator[tuple]:
    """A worker without TLS, the coordinator's talk with it, and the rendezvous' listener."""
    worker = here(event(coordinator, job="j"), link_redial=0.01, redial_max=0.02, link_timeout=0.3, wait_report=30.0)
    relay = make_coordinator()
    talk = coordinator.accept()
    talk.hear()
    assert talk.ask(b"link:127.0.0.1:%d:j:7:1" % relay.port) == b"OK:LINK"
    yield talk, relay, tmp_path
    talk.say(b"quit:")
    worker.result()


def welcome(relay: Any) -> Any:
    peer = relay.accept()
    assert peer.hear() == b'HELLO_LINK:j:7:1:{"whole":true}'
    peer.say(WELCOME)
    return peer


def frames(body: bytes, number: int = 1, name: bytes = b"x", peer: int = 3) -> list[bytes]:
    parts = [Part(peer, number, at, name, body[at : at + MAX_PART]) for at in range(MAX_PART, len(body), MAX_PART)]
    end = End(peer, number, hashlib.sha256(body).hexdigest().encode(), name)
    return [frame.encode() for frame in (Begin(peer, number, len(body), name, body[:MAX_PART]), *parts, end)]


def test_nothing_is_dialled_before_it_is_needed(linked: tuple) -> None:
    talk, relay, _ = linked
    relay._listener.settimeout(0.2)
    with pytest.raises(TimeoutError):
        relay.accept()
    relay._listener.settimeout(180)
    talk.say(b"receive:3:x\0f")
    assert welcome(relay).hear() == b"WANT:3:1:x"


def test_a_message_is_acknowledged_when_its_file_is_whole(linked: tuple) -> None:
    talk, relay, folder = linked
    talk.say(b"receive:3:x\0f")
    peer = welcome(relay)
    body = os.urandom(300_000)
    *parts, end = frames(body)
    peer.hear()
    peer.say(*parts)
    assert talk.ask(b"ping:1") == b"OK:PONG(1)"
    assert not (folder / "f").exists()
    peer.say(end)
    assert parse_link_frame(peer.hear()) == Ack(3, 1, b"x")
    assert talk.hear() == b"OK:RECEIVE(3/x)"
    assert (folder / "f").read_bytes() == body


def test_what_comes_again_is_taken_from_its_beginning_and_a_cut_waits_on(linked: tuple) -> None:
    talk, relay, folder = linked
    talk.say(b"receive:3:x\0f", b"receive:*:any\0g")
    peer = welcome(relay)
    assert [peer.hear() for _ in range(2)] == [b"WANT:3:1:x", b"WANT_ANY:any\0"]
    body = os.urandom(300_000)
    peer.say(frames(body)[0], frames(body, name=b"any", peer=5)[0], b"CUT:5:1:any")
    peer.say(frames(b"not wanted", 9)[0], *frames(b"nor this", name=b"other"), b"CUT:3:9:x")
    peer.say(*frames(body), *frames(b"of 6", name=b"any", peer=6))
    assert {talk.hear(), talk.hear()} == {b"OK:RECEIVE(3/x)", b"OK:RECEIVE(6/any)"}
    assert ((folder / "f").read_bytes(), (folder / "g").read_bytes()) == (body, b"of 6")


def test_other_bytes_than_were_sent_are_a_failure_and_no_file(linked: tuple) -> None:
    talk, relay, folder = linked
    talk.say(b"receive:3:x\0f")
    peer = welcome(relay)
    peer.hear()
    begin, _ = frames(b"right")
    _, end = frames(b"wrong")
    peer.say(begin, end)
    assert talk.hear().startswith(b"FAIL(receiving 3/x: the bytes that came are not those that were sent")
    assert peer.hear() == b"UNWANT:3:x"
    assert [path.name for path in folder.iterdir() if "f" in path.name.split(".")[:2]] == []
    talk.say(b"receive:3:x\0f")
    assert peer.hear() == b"WANT:3:1:x"


def test_messages_of_one_name_and_of_any_are_not_mixed(linked: tuple) -> None:
    talk, relay, folder = linked
    talk.say(b"receive:*:x\0a", b"receive:3:x\0b", b"receive:4:y\0c", b"receive:*:x\0d")
    peer = welcome(relay)
    assert [peer.hear() for _ in range(2)] == [b"WANT_ANY:x\0", b"WANT:4:1:y"]
    peer.say(*frames(b"any"))
    assert peer.hear() == b"ACK:3:1:x"
    assert peer.hear() == b"WANT:3:2:x"
    peer.say(*frames(b"one", 2))
    assert peer.hear() == b"ACK:3:2:x"
    assert peer.hear() == b"WANT_ANY:x\0"
    assert ((folder / "a").read_bytes(), (folder / "b").read_bytes()) == (b"any", b"one")


def test_after_a_loss_all_is_said_again(linked: tuple) -> None:
    talk, relay, _ = linked
    talk.say(b"receive:*:any\0a", b"send:3:x\0\0body", b"receive:3:y\0f")
    peer = welcome(relay)
    said = {peer.hear() for _ in range(4)}
    assert said == {b"WANT_ANY:any\0", b"WANT:3:1:y", *frames(b"body")}
    peer.say(*frames(b"1", name=b"any", peer=9))
    assert peer.hear() == b"ACK:9:1:any"
    talk.say(b"receive:*:any\0b")
    assert peer.hear() == b"WANT_ANY:any\0"
    peer.close()
    peer = welcome(relay)
    said = {peer.hear() for _ in range(5)}
    assert said == {b"ACK:9:1:any", WantAny(b"any", ((9, 1),)).encode(), b"WANT:3:1:y", *frames(b"body")}
    peer.say(b"ACK:3:1:x")
    assert {talk.hear(), talk.hear()} == {b"OK:RECEIVE(9/any)", b"OK:SEND(3/x)"}


def test_a_refused_message_fails_alone_and_its_rest_is_not_sent(linked: tuple) -> None:
    talk, relay, folder = linked
    (folder / "big").write_bytes(bytes(20 * MIB))
    talk.say(b"send:3:x\0big", b"send:4:y\0\0small")
    peer = welcome(relay)
    while not peer.hear().startswith(b"SEND:3:1:"):
        pass
    peer.say(Nak(3, 1, b"x", b"no\nroom").encode(), b"ACK:4:1:y")
    assert {talk.hear(), talk.hear()} == {b"FAIL(sending 3/x: no room)", b"OK:SEND(4/y)"}
    count = 0
    while peer.hear() != b"CUT:3:1:x":
        count += 1
    assert count < 100


@pytest.mark.parametrize(
    "said", [b"FAIL(the rendezvous\n says no)", b"nonsense", b"WANT_ANY:x\0", b"END:3:1:" + b"0" * 64]
)
def test_a_refusal_fails_all_that_waits(linked: tuple, said: bytes) -> None:
    talk, relay, _ = linked
    talk.say(b"receive:3:x\0f", b"send:4:y\0\0b")
    peer = welcome(relay)
    peer.hear()
    peer.say(said)
    replies = sorted(talk.hear() for _ in range(2))
    assert all(reply.startswith(b"FAIL(") and b"rendezvous: " in reply and b"\n" not in reply for reply in replies)
    assert replies[0].startswith(b"FAIL(receiving 3/x: ")
    talk.say(b"receive:3:x\0f")
    assert welcome(relay).hear() == b"WANT:3:1:x"


def test_a_rendezvous_that_is_not_there_fails_all_after_a_time(linked: tuple) -> None:
    talk, relay, _ = linked
    relay.close()
    talk.say(b"receive:3:x\0f", b"send:4:y\0\0b")
    replies = sorted(talk.hear() for _ in range(2))
    where = b"no link to the rendezvous at 127.0.0.1:%d: Connection refused)" % relay.port
    assert replies == [b"FAIL(receiving 3/x: " + where, b"FAIL(sending 4/y: " + where]


@pytest.mark.parametrize(
    ("answers", "said"), [(False, b"the greeting was not answered"), (True, b"nothing was heard of it")]
)
def test_a_rendezvous_that_says_nothing_is_lost_and_fails_what_waits(
    here: Callable, coordinator: Any, make_coordinator: Callable, event: Callable, answers: bool, said: bytes
) -> None:
    quick = {"link_redial": 0.01, "redial_max": 0.02, "wait_report": 180.0, "link_welcome": 180.0 if answers else 0.2}
    worker = here(event(coordinator, job="j"), rendezvous_silence=0.2, link_timeout=0.0, **quick)
    relay, talk = make_coordinator(), coordinator.accept()
    talk.hear()
    assert talk.ask(b"link:127.0.0.1:%d:j:7:1" % relay.port) == b"OK:LINK"
    talk.say(b"send:3:x\0\0body", b"receive:4:y\0f")
    peer = relay.accept()
    assert peer.hear() == b'HELLO_LINK:j:7:1:{"whole":true}'
    if answers:
        peer.say(LinkWelcome({"store": "s", PINGS: True}).encode())
        assert [peer.hear() for _ in range(4)] == [b"WANT:4:1:y", *frames(b"body"), b"PING:"]
    where = b": no link to the rendezvous at 127.0.0.1:%d: %b" % (relay.port, said)
    for about, reply in zip((b"receiving 4/y", b"sending 3/x"), sorted(talk.hear() for _ in range(2)), strict=True):
        assert reply.startswith(b"FAIL(" + about + where)
        assert reply.endswith(b" within 0.2 s)" if not answers else b" for 0.2 s)")
    peer.close()
    talk.say(b"receive:4:y\0f")  # it is dialled anew
    peer = relay.accept()
    assert peer.hear() == b'HELLO_LINK:j:7:1:{"whole":true}'
    talk.say(b"quit:")
    worker.result()


def test_paths_that_are_wanted_ahead_wait_for_a_rendezvous_that_comes_late(
    here: Callable, tls_coordinator: Any, make_coordinator: Callable, event: Callable, keys: Any
) -> None:
    relay = make_coordinator(keys.rendezvous)
    port = relay.port
    relay.close()
    quick = {"link_redial": 0.01, "redial_max": 0.02, "link_timeout": 0.1}
    worker = here(event(tls_coordinator, job="j", **keys.event()), **quick)
    talk = tls_coordinator.accept()
    talk.hear()
    assert talk.ask(b"identity:" + keys.task(7, 1)) == b"OK:IDENTITY"
    assert talk.ask(b"link:127.0.0.1:%d:j:7:1:3,5" % port) == b"OK:LINK"
    assert parse_paths(talk.hear()) == {3: "unreachable", 5: "unreachable"}
    relay = make_coordinator(keys.rendezvous, port=port)
    for _ in range(2):  # it goes again before it has answered
        peer = relay.accept()
        assert peer.hear().startswith(b"HELLO_LINK:j:7:1:")
        peer.say(LinkWelcome({"store": "s", PUNCH: True}).encode())
        assert peer.hear().startswith(b"PUNCH_OFFER:")
        assert {peer.hear(), peer.hear()} == {b"PUNCH_WANT:3", b"PUNCH_WANT:5"}
        peer.close()
    peer = relay.accept()
    peer.hear()
    peer.say(LinkWelcome({"store": "s"}).encode())
    assert parse_paths(talk.hear()) == {3: "off", 5: "off"}
    talk.say(b"quit:")
    worker.result()


def test_why_there_can_be_no_path_is_said_of_those_that_are_wanted_ahead(
    linked: tuple, task: Callable[..., Task], begin_rendezvous: Callable[..., Daemon]
) -> None:
    talk, relay, _ = linked
    assert talk.ask(b"link:127.0.0.1:%d:j:7:2:1,3-4" % relay.port) == b"OK:LINK"
    assert parse_paths(talk.hear()) == {1: "tls", 3: "tls", 4: "tls"}  # there is no certificate
    one = task(begin_rendezvous(0, "--punch", "off").port, 121, peers=b"122")
    one.until({122: "off"})


def test_only_a_rendezvous_certificate_is_accepted(
    task: Callable[..., Task], make_coordinator: Callable, keys: Any
) -> None:
    wrong = make_coordinator(keys.coordinator)
    one = task(wrong.port, 111)
    one.talk.say(b"send:1:x\0\0b")
    with pytest.raises((EOFError, OSError)):
        wrong.accept().hear()
    reply = one.hears()
    assert b"no link to the rendezvous at 127.0.0.1:" in reply
    assert b"not a rendezvous's: expected mu:role/rendezvous, got " in reply


def test_a_file_that_changes_while_it_is_sent_is_a_failure(linked: tuple) -> None:
    talk, relay, folder = linked
    (folder / "big").write_bytes(bytes(40 * MIB))
    talk.say(b"send:3:x\0big")
    peer = welcome(relay)
    peer.hear()
    (folder / "big").write_bytes(b"less")
    while not peer.hear().startswith(b"CUT:"):
        pass
    assert talk.hear().endswith(b"big was changed while it was being sent)")
