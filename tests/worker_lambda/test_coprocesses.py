"""Programs that stay and are asked line by line: answers, time-outs, and what misbehaves; in a worker, too."""

import re
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mu_twisted.wire import MAX_PROCESS_NAME, MAX_PROCESS_SECONDS, PROCESSES, parse_greeting
from worker_lambda._errors import CommandFailure
from worker_lambda.programs.coprocesses import MAX_COPROCESSES, MAX_LINE, MAX_WAITING, Coprocesses

ECHO = b'while read -r line; do echo "$line!"; done'
TIMEOUT = 180.0


class Loop:
    """A worker's loop with nothing but coprocesses."""

    def __init__(self, directory: Path) -> None:
        self.selector = selectors.DefaultSelector()
        self.all = Coprocesses(self.selector, directory)

    def begin(self, name: str, command: bytes, seconds: float = 0.0, *, kept: bool = False) -> list[Any]:
        got: list[Any] = []
        self.all.begin(name, command, seconds, lambda *answer: got.append(answer), kept=kept)
        return self.until(got)

    def ask(self, name: str, line: bytes, seconds: float = TIMEOUT) -> list[Any]:
        got: list[Any] = []
        self.all.ask(name, line, seconds, lambda *answer: got.append(answer))
        return got

    def until(self, got: list[Any], count: int = 1) -> list[Any]:
        deadline = time.monotonic() + TIMEOUT
        while len(got) < count:
            assert time.monotonic() < deadline
            wait = self.all.tick()
            if len(got) < count:
                self.turn(0.1 if wait is None else min(wait, 0.1))
        return got

    def turn(self, wait: float = 0.0) -> None:
        if not self.selector.get_map():
            return
        for key, _ in self.selector.select(wait):
            if self.selector.get_map().get(key.fd) is key:
                key.data(_)

    def answer(self, name: str, line: bytes, seconds: float = TIMEOUT) -> Any:
        return self.until(self.ask(name, line, seconds))[0]


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    made = Loop(tmp_path)
    yield made
    made.all.close()
    assert not made.selector.get_map()
    made.selector.close()


def test_questions_are_answered_in_their_turn(loop: Loop) -> None:
    loop.begin("a", ECHO)
    got = [loop.ask("a", b"%d" % number) for number in range(50)]
    loop.until(got[-1])
    assert got == [[(b"%d!" % number, "")] for number in range(50)]
    large = b"x" * (MAX_LINE - 1)
    assert loop.answer("a", large) == (large + b"!", "")


def test_its_first_line_says_that_it_can_be_asked_and_only_one_is_started(loop: Loop) -> None:
    command = b"echo started >> log; echo ready $$; " + ECHO
    ((first, _),) = loop.begin("a", command, TIMEOUT)
    assert first.startswith(b"ready ")
    assert loop.begin("a", command, TIMEOUT) == [(first, "")]
    assert loop.answer("a", b"x") == (b"x!", "")
    with pytest.raises(CommandFailure, match="another process runs by the name a"):
        loop.begin("a", b"cat")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (b"exec sleep 600", "did not answer in time"),
        (b"read x; printf part; exec sleep 600", "did not answer in time"),
        (b"read x; printf 'two\\nlines\\n'; exec sleep 600", "said what it was not asked for"),
        (b"read x; echo no model >&2; exit 3", r"has ended \(status 3\): no model"),
        (b"exit 4", r"has ended \(status 4\)|reads no more"),
        (b"read x; kill -9 $$", r"has ended \(status -9\)"),
        (b"exec 0<&-; exec sleep 600", "reads no more|did not answer in time"),
        (b"exec head -c 3000000 /dev/zero", "more than 1048576 bytes|not asked for"),
        (b"head -c 9000000 /dev/zero >&2; read x; exit 5", r"has ended \(status 5\)"),
        (b"no-such-program", r"(has ended|reads no more) \(status 127\): .*not found"),
    ],
)
def test_what_misbehaves_is_ended_with_one_line_and_a_new_one_can_be_started(
    loop: Loop, command: bytes, said: str
) -> None:
    loop.begin("a", command)
    line, fault = loop.answer("a", b"x" * 100, 1.0 if "in time" in said else TIMEOUT)
    assert line is None
    assert re.search(said, fault), fault
    assert fault.startswith("the process a ")
    assert "\n" not in fault
    assert loop.answer("a", b"again") == (None, fault)
    loop.begin("a", ECHO)
    assert loop.answer("a", b"y") == (b"y!", "")


def test_what_it_says_unasked_ends_it(loop: Loop) -> None:
    loop.begin("a", b"read go; echo answer; read go; exec sleep 600")
    assert loop.answer("a", b"x") == (b"answer", "")
    loop.begin("b", b"echo unasked; exec sleep 600")
    deadline = time.monotonic() + TIMEOUT
    while not loop.all._named["b"].fault:
        assert time.monotonic() < deadline
        loop.turn(0.1)
    assert loop.answer("b", b"x") == (None, "the process b said what it was not asked for")


def test_all_that_waits_is_given_up_with_it_and_its_children_are_ended(loop: Loop, tmp_path: Path) -> None:
    ((first, _),) = loop.begin("a", b"setsid sleep 600 & echo $!; read x; exec sleep 600", TIMEOUT)
    got = [loop.ask("a", b"x", 0.3) for _ in range(3)]
    loop.until(got[-1])
    assert [answers[0][0] for answers in got] == [None] * 3
    wait_for_end(int(first))


def wait_for_end(process: int) -> None:
    """It was killed; on a busy machine it may take it a while to be gone, and its new parent to notice."""
    deadline = time.monotonic() + TIMEOUT
    with suppress(OSError):
        while Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z":
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_there_are_limits_on_how_many_run_and_wait(loop: Loop) -> None:
    for number in range(MAX_COPROCESSES):
        loop.begin(f"p{number}", b"exec sleep 600")
    with pytest.raises(CommandFailure, match="16 processes run"):
        loop.begin("more", b"cat")
    for _ in range(MAX_WAITING + 1):
        loop.ask("p0", b"")
    with pytest.raises(CommandFailure, match="that is the limit"):
        loop.ask("p0", b"")
    for _ in range(5):
        loop.ask("p1", b"x" * (1 << 20))
    with pytest.raises(CommandFailure, match="that is the limit"):
        loop.ask("p1", b"x" * (1 << 20))
    loop.all.end("p2")
    loop.begin("more", b"cat")
    with pytest.raises(CommandFailure, match="no process runs by the name p2"):
        loop.ask("p2", b"")


def test_what_is_kept_stays_unless_it_has_something_to_answer(loop: Loop) -> None:
    for name, kept in (("task", False), ("kept", True), ("busy", True)):
        loop.begin(name, b"exec sleep 600" if name == "busy" else ECHO, kept=kept)
    got = loop.ask("busy", b"x")
    loop.all.drop()
    assert got == [(None, "the process busy was killed")]
    assert loop.answer("kept", b"x") == (b"x!", "")
    for name in ("task", "busy"):
        with pytest.raises(CommandFailure):
            loop.ask(name, b"x")


# -- in a worker -----------------------------------------------------------------------------------------------------


def test_a_worker_keeps_it_through_a_reset_and_ends_it_with_itself(pair: Callable[..., Any]) -> None:
    talk, worker = pair(job="j", launch_id="l1")
    start = b"echo $$; " + ECHO
    first = talk.ask(b"process:k:kept:600:" + start)
    own = talk.ask(b"process:t:task:600:" + start)
    assert first.startswith(b"OK:PROCESS(k:")
    assert talk.ask(b"ask:k:600:a:b)") == b"OK:ASK(k:a:b)!)"
    here = talk.ask(b"run:printf %s ##TMPDIR##").partition(b"OUTPUT(")[2].partition(b")")[0]
    assert talk.ask(b"ask:k:600:##TMPDIR##/a ##TMPDIR##") == b"OK:ASK(k:%b/a %b!)" % (here, here)
    assert PROCESSES in parse_greeting(talk.ask(b"reset:")).supports
    assert talk.ask(b"process:k:kept:600:" + start) == first
    assert talk.ask(b"ask:t:600:x") == b"FAIL(no process runs by the name t)"
    assert talk.ask(b"end:k") == b"OK:END(k)"
    again = talk.ask(b"process:k:kept:600:" + start)
    assert again not in (first, own)
    talk.say(b"quit:")
    worker.result()
    for reply in (first, own, again):
        wait_for_end(int(reply.split(b":")[2][:-1]))


def test_a_kill_gives_up_what_was_asked_and_ping_is_answered_meanwhile(pair: Callable[..., Any]) -> None:
    talk, _ = pair(job="j", launch_id="l1")
    assert talk.ask(b"process:a:kept:0:exec sleep 600") == b"OK:PROCESS(a:)"
    talk.say(b"ask:a:600:x", b"ping:1")
    assert talk.hear() == b"OK:PONG(1)"
    talk.say(b"kill:")
    assert talk.hear() == b"FAIL(the process a was killed)"
    assert talk.hear() == b"OK:KILL(0)"


@pytest.mark.parametrize(
    "command",
    [
        b"process:",
        b"process:a:task:0",
        b"process:a:other:0:cat",
        b"process:a b:task:0:cat",
        b"process::task:0:cat",
        b"process:" + b"a" * (MAX_PROCESS_NAME + 1) + b":task:0:cat",
        b"process:a:task:-1:cat",
        b"process:a:task:nan:cat",
        b"process:a:task:%d:cat" % (MAX_PROCESS_SECONDS + 1),
        b"process:a:task:0:c\0at",
        b"process:a:kept:0:cat ##TMPDIR##/x",
        b"ask:a:1:x",
        b"ask:a:0:x",
        b"ask:a:1:x\ny",
        b"end:a",
        b"end:",
    ],
)
def test_orders_that_make_no_sense_are_refused(
    here: Callable[..., Any], coordinator: Any, event: Any, command: bytes
) -> None:
    worker = here(event(coordinator, job="j"))
    talk = coordinator.accept()
    talk.hear()
    assert talk.ask(command).startswith(b"FAIL(")
    assert talk.ask(b"echo:x") == b"OK:ECHO(x)"
    talk.say(b"quit:")
    worker.result()
