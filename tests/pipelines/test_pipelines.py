"""Pipelines: how they are found, their options, exec's substitutions."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.python import usage

from mu_twisted.base.steps import exhaust
from mu_twisted.fsm import Machine, Outcome, Peering, TerminalState
from mu_twisted.pipelines import (
    PeerOptions,
    Pipeline,
    PipelineError,
    PipelineOptions,
    job_policy,
    load_pipeline,
    load_source,
    pipeline_names,
)
from mu_twisted.pipelines.exec import Options, fill, pipeline

SWITCHES = ("-n", "5", "-f", "3", "-o", "2", "-v", "x", "-b", "y", "-i", "z", "-l", "f", "-r", "a,b", "-O", "out")

MINE = """
from mu_twisted.fsm import TerminalState
from mu_twisted.pipelines import Pipeline
pipeline = Pipeline(name="mine", summary="", first=TerminalState)
"""


def parsed(kind: type[PipelineOptions], *words: str) -> Any:
    options = kind()
    options.parseOptions(list(words))  # type: ignore[no-untyped-call]
    return options


def test_the_built_in_pipelines_come_by_the_door_that_users_have() -> None:
    assert {"exec", "png2y4m"} <= set(pipeline_names())
    assert load_pipeline("png2y4m").name == "png2y4m"


def test_a_module_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    assert load_pipeline(str(path)).name == "mine"


def test_programs_that_are_given_as_a_list_can_be_compared_as_others_can() -> None:
    listed: Any = ["a", "b"]
    for programs in (listed, lambda _: listed):
        assert Pipeline(name="p", summary="", first=TerminalState, programs=programs).needs({}) == ("a", "b")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_of_that_name  # pipeline", "nothing_of_that_name"),
        ("1 / 0  # pipeline", "mine.py, line 1"),
        ("def x(:", "SyntaxError: invalid syntax (mine.py, line 1)"),
        ("x = 1", "defines no pipeline"),
        ("from os import *", "defines no pipeline"),
        ("pipeline = 3", "expected a Pipeline, got int"),
    ],
)
def test_a_module_that_cannot_be_used_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(PipelineError) as caught:
        load_pipeline(str(path))
    assert said in str(caught.value)
    assert "importlib" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nosuch", "./nosuch.py"])
def test_an_unknown_pipeline_is_one_line(name: str) -> None:
    with pytest.raises(PipelineError, match="nosuch"):
        load_pipeline(name)


def test_options_have_the_originals_switches_and_defaults() -> None:
    settings = parsed(load_pipeline("png2y4m").options)
    assert settings["tasks"] == 1
    assert settings["frames"] == 6
    assert settings["video"] == "sintel-1k"
    assert settings["in-format"] == "png16"
    assert settings["bucket"] == "excamera-us-east-1"
    assert settings["regions"] == ("us-east-1",)
    settings = parsed(load_pipeline("png2y4m").options, *SWITCHES)
    assert (settings["tasks"], settings["frames"], settings["offset"]) == (5, 3, 2)
    assert settings["regions"] == ("a", "b")


@pytest.mark.parametrize("words", ["-n 0", "-n x", "-o -1", "-r a,,b", "--start-timeout 0", "--nosuch", "-f 0"])
def test_bad_options_are_usage_errors(words: str) -> None:
    with pytest.raises(usage.UsageError):
        parsed(load_pipeline("png2y4m").options, *words.split())


def test_an_order_must_name_each_task_once() -> None:
    first = load_pipeline("png2y4m").first
    backwards = Pipeline(name="p", summary="", first=first, order=lambda settings: range(settings["tasks"])[::-1])
    assert exhaust(backwards.reading_order({"tasks": 3}, {})) == [2, 1, 0]
    twice = Pipeline(name="p", summary="", first=first, order=lambda _: [0, 0])
    with pytest.raises(PipelineError):
        exhaust(twice.reading_order({"tasks": 2}, {}))


def test_exec_fetches_runs_and_stores() -> None:
    settings = parsed(
        Options, "-b", "b", "-n", "9", "--in", "a/{n:04d}.png", "--out", "b/{n}.jpg", "--", "./convert", "{in}", "{out}"
    )
    machine = Machine(pipeline.first, 7, settings=settings)
    assert machine.receive([b"OK:HELLO"]) == [b"retrieve:a/0007.png\0##TMPDIR##/in-0007.png"]
    assert machine.receive([b"OK:RETRIEVE(b/a/0007.png)"]) == [
        b"run:./convert '##TMPDIR##/in-0007.png' '##TMPDIR##/out-7.jpg'"
    ]
    assert machine.receive([b"OK:RETVAL(0):OUTPUT():COMMAND(x)"]) == [b"upload:b/7.jpg\0##TMPDIR##/out-7.jpg"]
    assert machine.receive([b"OK:UPLOAD(b/b/7.jpg)"]) == []
    assert machine.outcome is Outcome.DONE


def test_exec_takes_one_word_as_shell_text() -> None:
    settings = parsed(Options, "--", "echo {n} > ${HOME}/x; awk '{print}'")
    machine = Machine(pipeline.first, 0, settings=settings)
    assert machine.receive([b"OK:HELLO"]) == [b"run:echo 0 > ${HOME}/x; awk '{print}'"]


def test_execs_command_that_fails_fails_the_task() -> None:
    machine = Machine(pipeline.first, 0, settings=parsed(Options, "--", "false"))
    machine.receive([b"OK:HELLO"])
    machine.receive([b"OK:RETVAL(1):OUTPUT(no):COMMAND(false)"])
    assert machine.outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "needs a command"),
        (("--", "x {in}"), "--in"),
        (("--", "x {out}"), "--out"),
        (("-n", "2", "--out", "same", "--", "x"), "overwrite"),
        (("--in", "{out}", "--", "x"), "only {n}"),
    ],
)
def test_execs_options_that_do_not_go_together_are_usage_errors(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(usage.UsageError) as caught:
        parsed(Options, *words)
    assert said in str(caught.value)


@given(st.text(alphabet="{}n:0d48in out$a", max_size=40))
def test_filling_in_never_fails_and_touches_its_own_fields_only(text: str) -> None:
    filled = fill(text, {"n": 3, "in": "I", "out": "O"})
    if not any(mark in text for mark in ("{n", "{in}", "{out}")):
        assert filled == text


def chain(consumes: Any, order: Any = None) -> Pipeline:
    return Pipeline(name="c", summary="", first=TerminalState, options=PeerOptions, consumes=consumes, order=order)


def after_the_one_before(_: Any, task: int) -> list[int]:
    return [task - 1] if task else []


def test_a_pipeline_says_whose_messages_each_task_takes() -> None:
    assert exhaust(chain(after_the_one_before).reading_producers({"tasks": 3})) == {1: (0,), 2: (1,)}
    assert exhaust(Pipeline(name="p", summary="", first=TerminalState).reading_producers({"tasks": 3})) == {}


def test_what_is_asked_about_each_of_many_tasks_pauses_now_and_then() -> None:
    first, many = TerminalState, {"tasks": 5000}
    linked = Pipeline(
        name="c",
        summary="",
        first=first,
        options=PeerOptions,
        consumes=after_the_one_before,
        outputs=lambda _, task: [],
    )
    producers = exhaust(linked.reading_producers(many))
    for steps in (
        linked.reading_producers(many),
        linked.reading_order(many, producers),
        linked.reading_outputs(many),
        talking(after_the_one_before).reading_senders(many),
        Pipeline(name="c", summary="", first=first, check=lambda _, task: None).checking(many),
    ):
        assert len(list(steps)) >= 5000 // 100


@pytest.mark.parametrize(
    ("consumes", "said"),
    [
        (lambda _, task: [task], "no other task"),
        (lambda _, task: [7], "no other task"),
        (lambda _, task: [(task + 1) % 3], "in a circle"),
    ],
)
def test_a_task_cannot_wait_for_itself(consumes: Any, said: str) -> None:
    with pytest.raises(PipelineError, match=said):
        exhaust(chain(consumes).reading_producers({"tasks": 3}))


def test_consumers_cannot_be_assigned_before_their_producers() -> None:
    pipeline = chain(after_the_one_before, order=lambda _: [0, 2, 1])
    with pytest.raises(PipelineError, match="task 2 stands before 1"):
        exhaust(pipeline.reading_order({"tasks": 3}, {1: (0,), 2: (1,)}))


def test_a_pipeline_with_peers_takes_the_rendezvous_address() -> None:
    assert parsed(PeerOptions, "-H", "::1", "-T", "99")["rendezvous-port"] == 99
    with pytest.raises(usage.UsageError, match="-T: expected a port"):
        parsed(PeerOptions, "-T", "0")
    with pytest.raises(PipelineError, match="PeerOptions"):
        Pipeline(name="p", summary="", first=TerminalState, consumes=after_the_one_before)


def test_a_program_that_can_be_no_pipeline_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = tmp_path / "ran"
    text = f"import os\nos.mkdir({str(ran)!r})\n"
    for name in ("ten.py", "./ten.py", str(tmp_path / "ten.py")):
        Path(name).write_text(text)
        with pytest.raises(PipelineError, match=r"ten\.py' defines no pipeline, and was not run: expected"):
            load_pipeline(name)
    with pytest.raises(PipelineError, match="was not run"):
        load_source(text, "./ten.py")
    assert not ran.exists()
    Path("ten.py").write_text(f"{text}pipeline = 3\n")
    with pytest.raises(PipelineError, match="expected a Pipeline, got int"):
        load_pipeline("ten.py")
    assert ran.exists()


def test_a_submitted_modules_source_is_a_pipeline_as_its_file_is() -> None:
    assert load_source(MINE, "./mine.py").name == "mine"
    for text, said in [
        ("1 / 0  # pipeline", "mine.py, line 1"),
        ("def x(:", "SyntaxError"),
        ("x = 1", "defines no pipeline"),
    ]:
        with pytest.raises(PipelineError) as caught:
            load_source(text, "./mine.py")
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


SCRIPT = """from mu_twisted.fsm import Worker
from mu_twisted.pipelines import Pipeline


async def part({parameter}):
    {inner}


async def task(w):
    {line}
    await part(w)


pipeline = Pipeline(name="mine", summary="", first=task)
"""


@pytest.mark.parametrize(
    ("parameter", "inner", "line", "said"),
    [
        ("w", "pass", "w.run('./x')", r"line 10, in task: w\.run\(\.\.\.\) does nothing unless .*`await w\.run\("),
        ("w", "pass", "w.all(w.echo('a'), w.echo('b'))", "line 10, in task: w.all"),
        ("worker", "worker.upload('k', 'f')", "pass", "line 6, in part: worker.upload"),
        ("it: Worker", "it.set('a', 'b')", "pass", "line 6, in part: it.set"),
        ("it: 'fsm.Worker'", "if True: it.send(1, 'a', data=b'')", "pass", "line 6, in part: it.send"),
        ("w", "for _ in range(2): w.command('x:')", "pass", "line 6, in part: w.command"),
    ],
)
def test_a_command_that_is_not_awaited_is_refused(
    tmp_path: Path, parameter: str, inner: str, line: str, said: str
) -> None:
    text = SCRIPT.format(parameter=parameter, inner=inner, line=line)
    file = tmp_path / "mine.py"
    file.write_text(text)
    for load in (lambda: load_source(text, "./mine.py"), lambda: load_pipeline(str(file))):
        with pytest.raises(PipelineError, match=said):
            load()


@pytest.mark.parametrize(
    ("parameter", "inner", "line"),
    [
        ("w", "later = w.run('./x'); await later", "await w.run('./x')"),
        ("w", "return w.run('./x')", "await (await part(w))"),
        ("w", "log: list = []; log.append(w)", "w.pipe_to"),
        ("it: list", "it.send(1)", "pass"),
        ("log", "log.run()", "w.extra.strip()"),
    ],
)
def test_what_may_be_awaited_elsewhere_or_is_no_command_is_not_refused(parameter: str, inner: str, line: str) -> None:
    assert load_source(SCRIPT.format(parameter=parameter, inner=inner, line=line), "./mine.py").name == "mine"


def test_options_say_how_hard_a_job_tries() -> None:
    policy = job_policy(
        parsed(PipelineOptions, "--retries", "5", "--retry-exit", "1,-9", "-m", "7", "--speculate", "2")
    )
    assert (policy.retries, policy.retry_exit, policy.task_timeout, policy.speculate) == (5, {1, -9}, 7.0, 2.0)
    assert job_policy(parsed(PipelineOptions, "--retry-exit", "all")).retry_exit is None
    assert job_policy(parsed(PipelineOptions)).retry_exit == frozenset()
    for words in (
        ["--retry-exit", "x"],
        ["--retry-exit", "256"],
        ["-m", "0"],
        ["--speculate", "0.5"],
        ["--retries", "-1"],
    ):
        with pytest.raises(usage.UsageError, match="expected"):
            parsed(PipelineOptions, *words)


def test_built_in_pipelines_say_what_their_tasks_store() -> None:
    png2y4m = load_pipeline("png2y4m")
    settings = parsed(png2y4m.options, "-v", "a", "-f", "6", "-o", "2")
    assert png2y4m.outputs is not None
    assert png2y4m.outputs(settings, 1) == ["a-y4m_06/00000003.y4m"]
    settings = parsed(pipeline.options, "-b", "b", "--out", "o/{n:03d}", "-n", "5", "--", "true > {out}")
    assert pipeline.outputs is not None
    assert pipeline.outputs(settings, 4) == ["o/004"]


def talking(messages: Any, consumes: Any = None) -> Pipeline:
    return Pipeline(
        name="t", summary="", first=TerminalState, options=PeerOptions, messages=messages, consumes=consumes
    )


def test_named_messages_are_declared_by_task_or_name_and_may_go_in_circles() -> None:
    pipeline = talking(lambda _, task: [(task + 1) % 3, ((task + 2) % 3, "x"), ((task + 2) % 3, "y")])
    assert exhaust(pipeline.reading_senders({"tasks": 3})) == {0: (1, 2), 1: (2, 0), 2: (0, 1)}
    assert pipeline.takes({"tasks": 3}, 1) == {2: None, 0: frozenset("xy")}
    assert pipeline.takes({"tasks": 3}, 3) == {}
    assert exhaust(pipeline.reading_producers({"tasks": 3})) == {}
    both = talking(lambda _, task: [(0, "x")] if task else [], after_the_one_before)
    assert exhaust(both.reading_senders({"tasks": 3})) == {1: (0,), 2: (0,)}
    assert exhaust(both.reading_producers({"tasks": 3})) == {1: (0,), 2: (1,)}
    assert both.takes({"tasks": 3}, 2) == {0: frozenset("x"), 1: None}
    assert both.takes({"tasks": 3}, 1) == {0: None}


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (lambda _, task: [task], "takes messages of 0, which is no other task"),
        (lambda _, task: [(9, "x")], "takes messages of 9, which is no other task"),
        (lambda _, task: [-1], "which is no other task"),
        (lambda _, task: [(1, "a\nb")], "no control characters"),
        (lambda _, task: [(1, "")], "1 to 200 bytes"),
        (lambda _, task: [(1, "x", 3)], r"or \(number, name\), got \(1, 'x', 3\)"),
        (lambda _, task: ["1"], r"cannot be found: TypeError: .*its sender's number, or \(number, name\), got '1'"),
        (lambda _, task: [("1", "x")], r"got \('1', 'x'\)"),
        (lambda _, task: 5, "cannot be found: TypeError"),
        (lambda _, task: [(1, 2)], r"or \(number, name\), got \(1, 2\)"),
    ],
)
def test_named_messages_that_make_no_sense_are_one_line(messages: Any, said: str) -> None:
    with pytest.raises(PipelineError, match=said) as raised:
        exhaust(talking(messages).reading_senders({"tasks": 3}))
    assert str(raised.value).startswith("pipeline t: ")
    with pytest.raises(PipelineError, match="PeerOptions"):
        Pipeline(name="p", summary="", first=TerminalState, messages=messages)


def piped(pipes: Any) -> Pipeline:
    return Pipeline(name="t", summary="", first=TerminalState, options=PeerOptions, pipes=pipes)


@pytest.mark.parametrize("pipes", [[(2, 0, "x")], ((2, 0, "x"),), lambda settings: [(settings["tasks"] - 1, 0, "x")]])
def test_a_pipeline_names_its_pipes_or_says_them_from_the_settings(pipes: Any) -> None:
    assert exhaust(piped(pipes).reading_gangs({"tasks": 3})).pipes == ((2, 0, "x"),)


@pytest.mark.parametrize(
    ("pipes", "said"),
    [
        ([(0, 1)], r"a pipe is \(task that writes, task that reads, name\), got \(0, 1\)"),
        ([("0", 1, "x")], r"a pipe joins tasks by their numbers, got \('0', 1, 'x'\)"),
        (lambda _: [(0, 1, "x y")], "a pipe's name has 1 to 64 letters"),
        (lambda _: [(1, 1, "x")], "pipe 'x' joins task 1 with itself"),
        ([(1, 3, "x")], "pipe 'x' joins task 3, which the job does not have"),
        (7, "its pipes cannot be found: TypeError"),
    ],
)
def test_pipes_that_make_no_sense_are_one_line(pipes: Any, said: str) -> None:
    with pytest.raises(PipelineError, match=f"^pipeline t: {said}"):
        exhaust(piped(pipes).reading_gangs({"tasks": 3}))


def staged(after: Any) -> Pipeline:
    return Pipeline(name="s", summary="", first=TerminalState, after=after)


def test_a_pipeline_says_what_each_task_comes_after() -> None:
    both = exhaust(staged(lambda _, task: range(2) if task == 2 else [2] * (task == 3)).reading_after({"tasks": 4}))
    assert both == {2: range(2), 3: (2,)}
    assert exhaust(Pipeline(name="p", summary="", first=TerminalState).reading_after({"tasks": 3})) == {}


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (lambda _, task: [task], "task 0 comes after 0, which is no other task"),
        (lambda _, task: range(4), "task 0 comes after 3, which is no other task"),
        (lambda _, task: range(-1, task), "task 0 comes after -1, which is no other task"),
        (lambda _, task: range(3), "task 0 comes after 0, which is no other task"),
        (lambda _, task: [7], "task 0 comes after 7, which is no other task"),
        (lambda _, task: ["x"], "what a task comes after cannot be found: TypeError"),
        (lambda _, task: 5, "what a task comes after cannot be found: TypeError"),
    ],
)
def test_what_no_task_can_come_after_is_one_line(after: Any, said: str) -> None:
    with pytest.raises(PipelineError, match=said) as raised:
        exhaust(staged(after).reading_after({"tasks": 3}))
    assert str(raised.value).startswith("pipeline s: ")


def in_stages(stage: Any) -> Pipeline:
    return Pipeline(name="s", summary="", first=TerminalState, stage=stage)


def test_a_pipeline_names_the_stage_of_each_task() -> None:
    found = exhaust(in_stages(lambda _, task: "a" if task % 2 else "b").reading_stages({"tasks": 5}))
    assert found == {"b": [0, 2, 4], "a": [1, 3]}
    assert list(found) == ["b", "a"]
    assert exhaust(Pipeline(name="p", summary="", first=TerminalState).reading_stages({"tasks": 3})) == {}


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (lambda _, task: "two words", "1 to 40 letters, digits, .* that of task 0 is 'two words'"),
        (lambda _, task: "a\nb" if task else "a", "that of task 1 is 'a\\\\nb'"),
        (lambda _, task: "", "that of task 0 is ''"),
        (lambda _, task: "x" * 5000, "that of task 0 is 'x{50}'$"),
        (lambda _, task: 7, "that of task 0 is a value of type int"),
        (lambda _, task: [], "that of task 0 is a value of type list"),
        (lambda _, task: f"s{task}", "at most 1000 stages"),
        (lambda _, task: {}[task], "the stage of a task cannot be found: KeyError"),
    ],
)
def test_what_is_no_stage_is_one_line(stage: Any, said: str) -> None:
    with pytest.raises(PipelineError, match=said) as raised:
        exhaust(in_stages(stage).reading_stages({"tasks": 3000}))
    assert str(raised.value).startswith("pipeline s: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("status", [-9, 137, -15, 143])
@pytest.mark.parametrize(
    ("name", "words", "task"),
    [
        ("film", ["-v", "v"], 0),
        ("split", ["-v", "v"], 0),
        ("xcenc", ["-n", "3", "-K", "3", "-v", "v", "-T", "1"], 1),
    ],
)
def test_what_is_killed_as_it_speaks_is_not_judged_by_its_words(
    name: str, words: list[str], task: int, status: int
) -> None:
    found = load_pipeline(name)
    settings = found.parse(["-b", "b", "-l", "f", *words])
    machine = Machine(found.first, task, settings=settings, peering=Peering("h:1", "j", 0, False))
    sent = machine.receive([b"OK:HELLO"])
    while not sent[0].startswith((b"run:./ffmpeg", b"run:test -x")):
        verb, _, rest = sent.pop(0).partition(b":")
        said = {b"retrieve": b"b/" + rest.partition(b"\0")[0]}.get(verb, rest)
        sent += machine.receive([b"OK:%s(%s)" % (verb.upper(), said)])
        assert sent, (verb, rest, machine.error)
    machine.receive([b"OK:RETVAL(%d):OUTPUT():COMMAND(%s)" % (status, sent[0][4:])])
    assert machine.outcome is Outcome.FAILED
    assert machine.status == status
