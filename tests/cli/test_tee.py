"""``--tee`` prints whole lines behind the names of their tasks, and counts what it does not print."""

import base64
import json
import threading
from typing import Any

from command_line import Mu
from control_server import Loop, Served

from mu_twisted.cli._tee import MAX_LINE, MAX_OPEN, OutputLines
from mu_twisted.coordinator import Request, TeePiece


class Shown:
    """Lines that were made of pieces."""

    def __init__(self, *, tagged: bool = False) -> None:
        self.lines: list[str] = []
        self.made = OutputLines("j", self.lines.append, tagged=tagged)

    def take(self, *pieces: dict[str, Any], **page: Any) -> list[str]:
        for piece in pieces:
            piece["data"] = base64.b64encode(piece.get("data", b"")).decode()
        self.made.take({"pieces": [{"task": 0, **piece} for piece in pieces], **page})
        lines = self.lines[:]
        self.lines.clear()
        return lines


def test_lines_are_whole_however_they_are_cut() -> None:
    shown = Shown()
    assert shown.take({"data": b"one\ntw"}) == ["one"]
    assert shown.take({"data": b"o\r\n\n"}, {"data": b"10%\r20%\r"}) == ["two", "", "10%", "20%"]
    assert shown.take({"data": b"rest"}) == []
    assert shown.take({"ended": True}) == ["rest"]


def test_tasks_do_not_cut_one_another_s_lines() -> None:
    shown = Shown(tagged=True)
    assert shown.take({"data": b"a"}, {"task": 1, "label": "x.png", "data": b"b\nc"}) == ["x.png\tb"]
    assert shown.take({"data": b"d\n"}, {"attempt": 1, "data": b"again\n"}) == [
        "task 0\tad",
        "task 0, attempt 1\tagain",
    ]
    assert shown.take(over=True) == ["x.png\tc"]


def test_what_is_not_shown_is_counted_and_ends_the_line() -> None:
    shown = Shown()
    assert shown.take({"data": b"half"}, {"skipped": 7, "data": b"line\n"}) == ["half", "(7 bytes not shown)", "line"]
    assert shown.take(skipped=9) == ["(9 bytes of several tasks not shown)"]


def test_old_workers_are_told_of_once() -> None:
    shown = Shown()
    (line,) = shown.take(unable=1)
    assert line.startswith("note: the function holds a worker of an earlier version, which streams nothing")
    assert shown.take(unable=2) == []


def test_nothing_that_a_terminal_obeys_is_printed_and_no_line_is_endless() -> None:
    shown = Shown(tagged=True)
    assert shown.take({"label": "\x1b[2J", "data": b"\x1b[31m\xff\n"}) == ["\\x1b[2J\t\\x1b[31m\\xff"]
    assert [len(line) for line in Shown().take({"data": b"x" * (2 * MAX_LINE + 1), "ended": True})] == [
        MAX_LINE,
        MAX_LINE,
        1,
    ]
    many = [{"run": number, "data": b"x"} for number in range(MAX_OPEN + 3)]
    assert len(shown.take(*many)) == 3


def teed(served: Served, loop: Loop, mu: Mu, *words: str) -> Any:
    """A job that prints two lines and ends."""
    served.service.pieces = [
        TeePiece(0, 0, 0, b"hello\n"),
        TeePiece(1, 0, 0, b"wor", label="b"),
        TeePiece(1, 0, 0, b"ld", label="b"),
    ]

    def end() -> None:
        loop.until(lambda: served.service.waiting.get("exec-00000001"))
        loop.do(served.service.end, "exec-00000001")

    ender = threading.Thread(target=end)
    ender.start()
    done = mu("submit", "--wait", "--tee", *words, "exec", "-n", "2", "true")
    ender.join()
    assert done.status == 0
    return done


def test_submit_prints_what_programs_print_before_it_says_how_the_job_ended(mu: Mu, served: Served, loop: Loop) -> None:
    done = teed(served, loop, mu)
    assert done.err == "task 0\thello\nb\tworld\n"
    assert done.out == "exec-00000001\nexec-00000001: 2 of 2 tasks done in 12.5 s\n"
    assert served.service.requests == [Request("exec", ("-n", "2", "true"), tee=True)]


def test_json_stays_alone_on_standard_output(mu: Mu, served: Served, loop: Loop) -> None:
    done = teed(served, loop, mu, "--json")
    assert json.loads(done.out)["state"] == "done"
    assert done.err == "task 0\thello\nb\tworld\n"


def test_without_tee_an_older_coordinator_is_asked_for_nothing_new(mu: Mu, served: Served) -> None:
    mu("submit", "exec", "true")
    assert served.service.requests == [Request("exec", ("true",))]


def test_tee_without_wait_is_wrong_use(mu: Mu) -> None:
    refused = mu("submit", "--tee", "exec", "true")
    assert (refused.status, refused.error()) == (
        2,
        "error: --tee goes with --wait; `mu output JOB` shows what programs have printed\n",
    )
