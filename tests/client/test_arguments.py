"""Arguments of a type that a function of the client does not take are refused with a line that names the parameter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from control_server import Served

from mu_twisted import connect
from mu_twisted.client import Client, CoordinatorError, JobHandle, UsageError
from mu_twisted.client.executor import CallExecutor
from mu_twisted.client.parallel import register_joblib


@pytest.fixture
def own(served: Served) -> Client:
    return connect(state_dir=served.state)


class Unshowable:
    def __repr__(self) -> str:
        raise ZeroDivisionError


class Whole:
    """As numpy's."""

    def __index__(self) -> int:
        return 3

    def __str__(self) -> str:
        return "3"


class Array:
    """As numpy's: of several numbers none can be made."""

    def __index__(self) -> int:
        raise TypeError("only integer scalar arrays can be converted to a scalar index")

    __float__ = __index__

    def __repr__(self) -> str:
        return "array([1, 2])"


EACH = "a text, a path, a list of texts or True or False"
OPTION = "a text, a whole number, a number or True or False"
WRONG: list[tuple[Callable[[Client, JobHandle], object], str]] = [
    (lambda mu, _: mu.map("x", inputs=5), "inputs: expected a text, a path or a list of texts or paths, got 5, int"),  # type: ignore[arg-type]
    (lambda mu, _: mu.map("x", ["a", b"b"]), "inputs[1]: expected a text or a path, got b'b', bytes"),  # type: ignore[list-item]
    (lambda mu, _: mu.map(7, "a"), "command: expected a text or a list of texts, got 7, int"),  # type: ignore[arg-type]
    (lambda mu, _: mu.map(["echo", 7], "a"), "command[1]: expected a text, got 7, int"),  # type: ignore[list-item]
    (
        lambda mu, _: mu.map("x", each=3.5),
        f"each: expected {EACH}, got 3.5, float",
    ),  # type: ignore[arg-type]
    (lambda mu, _: mu.map("x", range=9), "range: expected a range or a text, got 9, int"),  # type: ignore[arg-type]
    (lambda mu, _: mu.map("x", "a", retries="2"), "retries: expected a whole number, got '2', str"),  # type: ignore[arg-type]
    (lambda mu, _: mu.map("x", "a", retries=True), "retries: expected a whole number, got True, bool"),
    (lambda mu, _: mu.map("x", "a", timeout=[]), "timeout: expected a number, got [], list"),  # type: ignore[arg-type]
    (lambda mu, _: mu.map("x", "a", out=Path("b")), "out: expected a text, got PosixPath('b'), PosixPath"),  # type: ignore[arg-type]
    (lambda mu, _: mu.map("x", "a", after=["j"]), "after[0]: expected a JobHandle, got 'j', str"),  # type: ignore[list-item]
    (lambda mu, _: mu.map("x", "a", after=range(2)), "after[0]: expected a JobHandle, got 0, int"),  # type: ignore[arg-type]
    (
        lambda mu, _: mu.map("x", "a", after=bytearray(b"j")),
        "after: expected a JobHandle or a list of JobHandles, got ",
    ),  # type: ignore[arg-type]
    (lambda mu, _: mu.map("x", each=bytearray(b"j")), f"each: expected {EACH}, got bytearray(b'j'), bytearray"),  # type: ignore[arg-type]
    (lambda mu, _: mu.graph(workers=Array()), "workers: expected a whole number, got array([1, 2]), Array"),  # type: ignore[arg-type]
    (lambda mu, _: mu.graph(memory=10**5000), "memory: expected a whole number, got something, int"),
    (
        lambda mu, _: mu.map("x", "a", max_cost=[5]),
        f"max_cost: expected {OPTION}, got [5], list",
    ),  # type: ignore[arg-type]
    (lambda mu, _: mu.map("x", "a", name=Unshowable()), "name: expected a text, got something, Unshowable"),  # type: ignore[arg-type]
    (lambda mu, _: mu.map("x", "a", name=b"line\n" * 99), "name: expected a text, got b'line\\nline"),  # type: ignore[arg-type]
    (lambda mu, _: mu.graph(5), "name: expected a text, got 5, int"),  # type: ignore[arg-type]
    (lambda mu, _: mu.graph(workers="many"), "workers: expected a whole number, got 'many', str"),  # type: ignore[arg-type]
    (lambda mu, _: mu.run("exec", "-n", 3), "words[1]: expected a text, got 3, int"),  # type: ignore[arg-type]
    (lambda mu, _: mu.run(None), "pipeline: expected a text, got None, NoneType"),  # type: ignore[arg-type]
    (lambda mu, _: mu.executor(workers="x"), "workers: expected a whole number, got 'x', str"),  # type: ignore[arg-type]
    (lambda mu, _: mu.executor(3, retries={}), "retries: expected a whole number, got {}, dict"),  # type: ignore[arg-type]
    (lambda mu, _: mu.job(3), "name: expected a text, got 3, int"),  # type: ignore[arg-type]
    (lambda mu, _: asyncio.run(mu.asyncio.map("x", 3)), "inputs: expected a text, a path or a list of texts or paths"),
    (lambda _, job: job.wait("soon"), "timeout: expected a number, got 'soon', str"),  # type: ignore[arg-type]
    (lambda _, job: job.wait(Array()), "timeout: expected a number, got array([1, 2]), Array"),  # type: ignore[arg-type]
    (lambda _, job: job.wait(float("nan")), "timeout: expected a number, got nan, float"),
    (lambda _, job: job.output(None), "task: expected a whole number or a text, got None, NoneType"),  # type: ignore[arg-type]
    (lambda _, job: job.output(1, attempt="0"), "attempt: expected a whole number, got '0', str"),  # type: ignore[arg-type]
    (lambda *_: connect(local="yes"), "local: expected True or False, got 'yes', str"),  # type: ignore[arg-type]
    (lambda *_: connect(state_dir=4), "state_dir: expected a text or a path, got 4, int"),  # type: ignore[arg-type]
    (lambda *_: CallExecutor(None, 3).map(abs, [1], chunksize="x"), "chunksize: expected a whole number, got 'x', str"),  # type: ignore[arg-type]
    (lambda *_: CallExecutor(None, 3).map(3, [1]), "fn: expected a function, got 3, int"),  # type: ignore[arg-type]
    (lambda *_: CallExecutor(None, 3).map(abs, 1), "iterables[0]: expected "),  # type: ignore[arg-type]
    (lambda *_: register_joblib(3), "executor: expected a CallExecutor, got 3, int"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "said"), WRONG)
def test_a_wrong_type_is_one_line(own: Client, served: Served, call: Callable[..., object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        call(own, JobHandle(own.coordinator, "map-1"))
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250
    assert isinstance(caught.value, TypeError)  # as Python has it
    assert not served.service.requests


def test_a_number_of_any_kind_is_a_time_to_wait(own: Client) -> None:
    quarter: Any = Fraction(1, 4)
    job = own.map("x", range="1:3", function="f")
    with pytest.raises(TimeoutError, match=r"is not over after 0\.25 s"):
        job.wait(quarter)


@pytest.mark.parametrize("text", ["a\udcff", "other\ud800"])
def test_a_text_that_is_no_unicode_names_no_job_and_no_task(own: Client, text: str) -> None:
    with pytest.raises(CoordinatorError, match="there is no job"):
        own.job(text)
    with pytest.raises(CoordinatorError, match="called"):
        own.map("x", range="1:3", function="f").output(text)


def test_what_is_as_good_as_the_type_is_taken(own: Client, served: Served, tmp_path: Path) -> None:
    three: Any = Whole()
    cost: Any = Decimal("2.5")
    own.map(("echo", "{}"), each=(text for text in "ab"), retries=three, timeout=cost, function="f")
    own.map("echo {}", each={"a": 1, "b": 2}, timeout=3, function="f")
    own.map("echo {}", range="1:3", function="f", after=())
    assert len(served.service.requests) == 3
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'command'"):
        own.map()  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="each: expected texts, got 3, int"):
        own.map("echo {}", each=(number for number in (3,)), function="f")  # type: ignore[misc]
