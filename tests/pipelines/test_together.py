"""Inputs that a command takes together: which they are, what a worker is told, and what makes no sense."""

from __future__ import annotations

from typing import Any

import pytest
from successful_worker import said_by
from twisted.python import usage

from mu_twisted.base.steps import exhaust
from mu_twisted.fsm import Machine
from mu_twisted.pipelines import InputList, PipelineError, combinations, load_pipeline, pack_inputs
from mu_twisted.pipelines._command_task import AT_ONCE
from mu_twisted.pipelines.graph import StageWords
from mu_twisted.pipelines.map import command_shown

MAP = load_pipeline("map")
GRAPH = load_pipeline("graph")


def settings_of(*words: str, inputs: InputList | None = None) -> Any:
    settings = MAP.parse(("--together", *words), None if inputs is None else pack_inputs(inputs))
    exhaust(MAP.checking(settings))
    return settings


def objects(*keys: str) -> InputList:
    return InputList((list(keys),), bucket="b")


def test_one_task_takes_all_inputs_and_stores_one_object() -> None:
    settings = settings_of("--out=s3://b/all", "--", "sort -m {in} > {out}", inputs=objects("a/1;x", "a/2", "c/1;x"))
    assert (settings["tasks"], MAP.labels(settings)(0)) == (1, "a/1;x and 2 more")
    assert exhaust(MAP.reading_outputs(settings)) == {0: ("all",)}
    said = said_by(MAP, settings)
    files = [f"##TMPDIR##/in{number}-{name}" for number, name in enumerate(("1_x", "2", "1_x"))]
    fetched = [f"retrieve:{key}\0{file}" for key, file in zip(("a/1;x", "a/2", "c/1;x"), files, strict=True)]
    assert sorted(said[:3]) == sorted(fetched)
    assert said[3] == (
        f"run:_mu1='##TMPDIR##/out0-all'; sort -m '{files[0]}' '{files[1]}' '{files[2]}' > \"${{_mu1}}\""
    )
    assert said[4] == "upload:all\0##TMPDIR##/out0-all"
    assert len(said) == 5
    assert exhaust(MAP.finding(settings, "a/2")) == exhaust(MAP.finding(settings, "a/1;x and 2 more")) == [0]


def test_each_task_takes_so_many_as_a_batch_has() -> None:
    keys = [f"k/{number}.txt" for number in range(5)]
    settings = settings_of("--batch=2", "--out=s3://b/{/.}-{n}", "--", "cat {in} > {out}", inputs=objects(*keys))
    assert exhaust(MAP.reading_outputs(settings)) == {0: ("0-0",), 1: ("2-2",), 2: ("4-4",)}
    for task, count in ((0, 2), (1, 2), (2, 1)):
        names = [one.partition(":")[0] for one in said_by(MAP, settings, task)]
        assert names == [*["retrieve"] * count, "run", "upload"]
    assert said_by(MAP, settings, 2)[1] == "run:_mu1='##TMPDIR##/out2-4-4'; cat '##TMPDIR##/in4-4.txt' > \"${_mu1}\""


def test_many_are_fetched_some_at_once() -> None:
    keys = [f"k/{number}" for number in range(2 * AT_ONCE + 1)]
    settings = settings_of("-b", "b", "--", "cat {in}", inputs=objects(*keys))
    machine = Machine(MAP.first, 0, settings=settings)
    assert len([*machine.receive([b"OK:HELLO"])]) == AT_ONCE
    assert len(said_by(MAP, settings)) == 2 * AT_ONCE + 2


def test_texts_are_words_and_lists_of_words_are_programs() -> None:
    settings = settings_of("--batch=2", "--", "echo {} of {#}", inputs=combinations([["a b", "c'd", "e"]]))
    assert said_by(MAP, settings)[0].endswith('; echo "${_mu1}" "${_mu2}" of "${_mu3}" "${_mu4}"')
    assert said_by(MAP, settings, 1)[0].endswith('; echo "${_mu1}" of "${_mu2}"')
    settings = settings_of("--", "echo", "{1}", inputs=combinations([["a b", "c"]]))
    assert said_by(MAP, settings) == ["run:_mu1='a b' _mu2='c'; echo \"${_mu1}\" \"${_mu2}\""]


def test_people_are_shown_the_first_of_many() -> None:
    settings = settings_of("--batch=7", "--out=s3://b/o/{n}", "--", "x {in} {//} > {out}", inputs=objects(*"abcdefgh"))
    assert command_shown(settings, 0) == "x a b c d e '' '' '' '' '' > 0  (and 2 more inputs)"
    assert command_shown(settings, 1) == "x h '' > 7"


@pytest.mark.parametrize(
    ("words", "inputs", "said"),
    [
        (("--", 'cat "{in}"'), objects("a", "b"), "{in} stands in double quotes, where several inputs"),
        (("--", "echo $(( {} + 1 ))"), combinations([["1", "2"]]), "{} stands in an arithmetic expansion, where"),
        (("--", "cat {in}"), combinations([["a", "b"]]), "input a is no object, so there is no {in}"),
        (("--out=s3://b/x", "--", "cat {in}"), objects("a", "x"), "input x would be overwritten by its own output"),
        (("--batch=1", "--out=s3://b/x", "--", "cat {in}"), objects("a", "b"), "2 tasks would overwrite one object"),
        (
            ("--batch=2", "--out=s3://b/{//}/x", "--", "cat {in}"),
            objects("k/a", "k/b", "k/c"),
            "inputs k/a and 1 more and k/c have the same output, k/x",
        ),
        (
            ("--", "cat {in} > {out}"),
            objects("a"),
            "the command uses {out}: say with --out where that is stored",
        ),
        (
            ("--", "cat {in}"),
            objects(*(f"{number}" for number in range(4500))),
            "the command with its 4500 inputs has 281283 bytes, and a shell takes 131071: say with --batch",
        ),
        (
            ("--", "cat {}"),
            combinations([["x"], list(map(str, range(5001)))]),
            "--together: a command would take 5001 in",
        ),
    ],
)
def test_what_makes_no_sense_is_one_line(words: tuple[str, ...], inputs: InputList, said: str) -> None:
    with pytest.raises((usage.UsageError, PipelineError)) as caught:
        settings_of(*words, inputs=inputs)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def graph_of(*stages: StageWords, lists: tuple[InputList, ...]) -> Any:
    first, *others = lists
    packed = pack_inputs(InputList(first.columns, first.names, first.bucket, tuple(others)))
    settings = GRAPH.parse(["--", *(one.packed() for one in stages)], packed)
    exhaust(GRAPH.checking(settings))
    return settings


def test_stages_can_come_together_step_by_step() -> None:
    keys, few = [f"k/{number}" for number in range(7)], ["s/0", "s/3", "s/6"]
    settings = graph_of(
        StageWords("a", ("--out=s3://b/{}", "--range=0:6", "--", "echo {}")),
        StageWords("b", ("--together", "--batch=3", "--out=s3://b/s/{n}", "--", "cat {in}"), True, ("a",), True),
        StageWords("c", ("--together", "--out=s3://b/all", "--", "cat {in}"), True, ("b",)),
        StageWords("d", ("--", "wc {in}"), True, ("b",), True),
        lists=(objects(*keys), objects(*few), objects(*few)),
    )
    after = {task: list(others) for task, others in exhaust(GRAPH.reading_after(settings)).items()}
    assert after == {
        7: [0, 1, 2],
        8: [3, 4, 5],
        9: [6],
        10: [7, 8, 9],
        11: [7],
        12: [8],
        13: [9],
    }
    assert list(map(GRAPH.labels(settings), (7, 9, 10))) == ["b: k/0 and 2 more", "b: k/6", "c: s/0 and 2 more"]
    assert said_by(GRAPH, settings, 10)[-1] == "upload:all\0##TMPDIR##/out0-all"
    with pytest.raises(usage.UsageError, match="after one of stage b, which has 1 outputs"):
        graph_of(
            StageWords("b", ("--together", "--out=s3://b/x", "--", "cat {in}"), True),
            StageWords("d", ("--range=1:2", "--", "x"), False, ("b",), True),
            lists=(objects(*keys),),
        )
