"""Real workers through the real rendezvous: what only the two together show."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from warm_processes import TWISTD, Process

from mu_twisted.wire import PeerGreeting

pytestmark = pytest.mark.process
BULK = 3_000_000


@pytest.fixture(scope="module")
def rendezvous(tmp_path_factory: pytest.TempPathFactory, keys: Any) -> Iterator[int]:
    """The port of ``twistd mu-rendezvous``."""
    folder = tmp_path_factory.mktemp("rendezvous")
    pair = keys.rendezvous
    for name, content in (("ca", keys.authority.certificate), ("cert", pair.certificate), ("key", pair.key)):
        (folder / name).touch(0o600)
        (folder / name).write_bytes(content)
    words = ["mu-rendezvous", "-t", "tcp:0:interface=127.0.0.1", "--state-dir", str(folder / "state")]
    daemon = Process(
        *TWISTD,
        *words,
        "-c",
        "ca",
        "-s",
        "cert",
        "-k",
        "key",
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key in ("PATH", "PYTHONPATH")} | {"HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert daemon.stdout is not None
    try:
        said = ""
        while not (ready := re.search(r"ready for peers on port (\d+)", said)):
            line = daemon.stdout.readline()
            assert line, said
            said += line
        yield int(ready.group(1))
    finally:
        daemon.terminate()
        daemon.communicate(timeout=180)


class Task:
    """A worker of job j that was given a task, and the coordinator's talk with it."""

    def __init__(self, talk: Any, keys: Any, port: int, number: int, attempt: int = 1) -> None:
        self.talk = talk
        assert talk.hear().startswith(b"OK:HELLO:")
        assert talk.ask(b"identity:" + keys.task(number, attempt)) == b"OK:IDENTITY"
        self.greeting = PeerGreeting(b"j", number, number + 1, attempt).encode()
        self._address = b"127.0.0.1:%d:" % port
        self.set(produces_state=1, send_statefile=1)

    def connect(self, greeting: bytes | None = None) -> bytes:
        reply: bytes = self.talk.ask(b"connect:" + self._address + (greeting or self.greeting))
        return reply

    def set(self, **variables: int) -> None:
        for name, value in variables.items():
            assert self.talk.ask(f"seti:{name}:{value}".encode()) == f"OK:SETI({name})".encode()

    def run(self, command: bytes) -> bytes:
        reply: bytes = self.talk.ask(b"run:cd ##TMPDIR## && " + command)
        return reply.partition(b":OUTPUT(")[2].rpartition(b"):COMMAND(")[0] if reply.startswith(b"OK:RET") else reply


@pytest.fixture
def task(tls_coordinator: Any, start: Callable, keys: Any, event: Callable, rendezvous: int) -> Callable[..., Task]:
    def begin(number: int, attempt: int = 1, **more: Any) -> Task:
        start(event(tls_coordinator, job="j", **keys.event(), **more))
        return Task(tls_coordinator.accept(), keys, rendezvous, number, attempt)

    return begin


def test_a_state_goes_down_a_line_of_workers_and_is_safe_once_the_close_is_answered(task: Callable[..., Task]) -> None:
    first = task(0)
    assert first.connect().startswith(b"OK:CONNECT(")
    made = first.run(b"touch output.ivf; head -c %d /dev/urandom >final.state; md5sum <final.state" % BULK)
    assert first.talk.ask(b"close_connect:") == b"OK:CLOSE_CONNECT"
    first.talk.say(b"quit:")  # before any peer has taken it
    for number in (1, 2, 3):
        worker = task(number)
        assert worker.connect().startswith(b"OK:CONNECT(")
        worker.set(expect_statefile=1, run_iter=number)
        taken = worker.run(
            b"##INSTATEWAIT## cat; touch output.ivf; cp %d.state final.state; md5sum <final.state" % (number - 1)
        )
        assert taken == b"hi\n" + made
        assert worker.talk.ask(b"close_connect:") == b"OK:CLOSE_CONNECT"
        worker.talk.say(b"quit:")


def test_workers_that_are_there_first_wait_for_those_that_come_later(task: Callable[..., Task]) -> None:
    second, first = task(11), task(10)
    assert second.connect().startswith(b"OK:CONNECT(")
    second.set(expect_statefile=1, run_iter=1)
    second.talk.say(
        b"run:##INSTATEWAIT## cat; cat ##TMPDIR##/0.state; touch ##TMPDIR##/output.ivf ##TMPDIR##/final.state"
    )
    assert first.connect().startswith(b"OK:CONNECT(")
    assert first.run(b"touch output.ivf; echo made >final.state") == b""
    assert second.talk.hear().startswith(b"OK:RETVAL(0):OUTPUT(hi\nmade\n)")


def test_a_later_attempt_takes_over_and_the_earlier_one_cannot_come_back(task: Callable[..., Task]) -> None:
    early = task(20, 1)
    assert early.connect().startswith(b"OK:CONNECT(")
    late = task(20, 2)
    assert late.connect().startswith(b"OK:CONNECT(")
    assert early.talk.hear().startswith(b"FAIL(rendezvous: ")
    assert early.connect().startswith(b"OK:CONNECT(")
    assert early.talk.hear().startswith(b"FAIL(rendezvous: ")
    assert late.talk.ask(b"close_connect:") == b"OK:CLOSE_CONNECT"


@pytest.mark.parametrize(
    "greeting",
    [
        PeerGreeting(b"other", 30, 31, 1).encode(),
        PeerGreeting(b"j", 31, 32, 1).encode(),
        PeerGreeting(b"j", 30, 31, 2).encode(),
        b"HELLO_STATE2:nonsense",
    ],
)
def test_who_says_what_its_certificate_does_not_is_refused(task: Callable[..., Task], greeting: bytes) -> None:
    worker = task(30)
    assert worker.connect(greeting).startswith(b"OK:CONNECT(")
    assert worker.talk.hear().startswith(b"FAIL(rendezvous: ")
    assert worker.talk.ask(b"close_connect:") == b"OK:CLOSE_CONNECT"


def test_a_second_attempt_of_a_producer_with_other_bytes_fails_the_consumer(task: Callable[..., Task]) -> None:
    consumer = task(41)
    assert consumer.connect().startswith(b"OK:CONNECT(")
    for attempt, body in ((1, b"same"), (2, b"same"), (3, b"other")):
        producer = task(40, attempt)
        assert producer.connect().startswith(b"OK:CONNECT(")
        assert producer.run(b"touch output.ivf; echo %b >final.state" % body) == b""
        assert producer.talk.ask(b"close_connect:") == b"OK:CLOSE_CONNECT"
        producer.talk.say(b"quit:")
    assert consumer.talk.hear().startswith(b"FAIL(STATE(0) came again with other bytes")
    consumer.set(produces_state=0)
    assert consumer.run(b"cat 0.state") == b"same\n"
