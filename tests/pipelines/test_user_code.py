"""What a pipeline's author wrote may fail in any way: it is one line, and nothing else ends."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.python import usage

from mu_twisted.base.steps import exhaust
from mu_twisted.fsm import TerminalState
from mu_twisted.pipelines import (
    InputList,
    PeerOptions,
    Pipeline,
    PipelineError,
    PipelineOptions,
    load_pipeline,
    load_source,
)


@contextmanager
def sigint(handler: Any) -> Iterator[None]:
    """Handle SIGINT so, whatever the tests were started with: a shell's background jobs begin with it ignored."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def fails(*_: Any) -> Any:
    raise FileNotFoundError("list.txt")


def leaves(*_: Any) -> Any:
    sys.exit(3)


def settings(**more: Any) -> Any:
    return {"tasks": 2, **more}


CALLS: list[tuple[str, Callable[[Pipeline], object]]] = [
    ("programs", lambda pipeline: pipeline.needs(settings())),
    ("order", lambda pipeline: exhaust(pipeline.reading_order(settings(), {}))),
    ("consumes", lambda pipeline: exhaust(pipeline.reading_producers(settings()))),
    ("outputs", lambda pipeline: exhaust(pipeline.reading_outputs(settings()))),
    ("extends", lambda pipeline: pipeline.extend(settings(), InputList((["x"],)))),
]


@pytest.mark.parametrize(("function", "said"), [(fails, "FileNotFoundError: list.txt"), (leaves, "SystemExit: 3")])
@pytest.mark.parametrize(("name", "call"), CALLS, ids=[name for name, _ in CALLS])
def test_a_function_of_a_pipeline_that_fails_is_one_line_with_its_place(
    name: str, call: Callable[[Pipeline], object], function: Any, said: str
) -> None:
    pipeline = Pipeline(name="mine", summary="", first=TerminalState, options=PeerOptions, **{name: function})
    with pytest.raises(PipelineError, match=r"^pipeline mine: ") as raised:
        call(pipeline)
    assert f"{said} (test_user_code.py, line " in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("order", [lambda _: ["0", "1"], lambda _: None, lambda _: [[], {}]])
def test_an_order_of_anything_but_numbers_is_one_line_that_names_no_place_of_ours(order: Any) -> None:
    with pytest.raises(PipelineError, match="its order cannot be found: TypeError") as raised:
        exhaust(Pipeline(name="mine", summary="", first=TerminalState, order=order).reading_order(settings(), {}))
    assert ", line " not in str(raised.value)


def test_what_is_meant_for_the_user_stays_as_it_is() -> None:
    def refuse(_: Any) -> Any:
        raise PipelineError("a chain has at least 2 tasks")

    with pytest.raises(PipelineError, match=r"^a chain has at least 2 tasks$"):
        exhaust(Pipeline(name="mine", summary="", first=TerminalState, order=refuse).reading_order(settings(), {}))


class Wrong(PipelineOptions):
    """Options whose last check does what the test has it do."""

    optParameters = [["do", None, None, "how to fail"]]

    def postOptions(self) -> None:
        if self["do"] == "usage":
            raise usage.UsageError("--do: not that")
        if self["do"] == "exit":
            sys.exit("no list")
        if self["do"] == "fail":
            fails()


def test_options_that_fail_are_one_line_and_wrong_ones_are_usage_errors() -> None:
    pipeline = Pipeline(name="mine", summary="", first=TerminalState, options=Wrong)
    assert pipeline.parse(["-n", "2"])["function"] == "mine"
    assert pipeline.parse(["-l", "fn"])["function"] == "fn"
    with pytest.raises(usage.UsageError, match="not that"):
        pipeline.parse(["--do", "usage"])
    with pytest.raises(PipelineError, match="its options failed: SystemExit: no list"):
        pipeline.parse(["--do", "exit"])
    with pytest.raises(PipelineError, match=r"its options failed: FileNotFoundError: list\.txt"):
        pipeline.parse(["--do", "fail"])
    with pytest.raises(PipelineError, match="no options of a job"):
        pipeline.parse(["--help"])


def test_a_module_that_exits_is_one_line(tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    module.write_text("import sys\nsys.exit(1)  # before any pipeline\n")
    with pytest.raises(PipelineError, match=r"cannot be loaded: SystemExit: 1 \(mine\.py, line 2\)"):
        load_pipeline(str(module))
    with pytest.raises(PipelineError, match="cannot be loaded: SystemExit: 1"):
        load_source(module.read_text(), "mine.py")


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None], ids=["ignored", "handled"])
@pytest.mark.parametrize(
    "raised", ["KeyboardInterrupt", "KeyboardInterrupt(1)", "GeneratorExit", "type('E', (BaseException,), {})"]
)
def test_whatever_a_module_raises_is_one_line_where_the_signal_raises_nothing(
    tmp_path: Path, raised: str, handler: Any
) -> None:
    source = f"raise {raised}  # before any pipeline\n"
    (tmp_path / "mine.py").write_text(source)
    with sigint(handler), pytest.raises(PipelineError, match="cannot be loaded: "):
        load_source(source, "mine.py")
    with sigint(handler), pytest.raises(PipelineError, match="cannot be loaded: "):
        load_pipeline(str(tmp_path / "mine.py"))


def test_an_interrupt_while_a_module_is_loaded_is_the_commands() -> None:
    with sigint(signal.default_int_handler), pytest.raises(KeyboardInterrupt):
        load_source("raise KeyboardInterrupt  # before any pipeline", "mine.py")
