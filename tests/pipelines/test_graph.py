"""graph: stages that are maps, which task of one comes after which of another, and what makes no sense."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from successful_worker import said_by
from twisted.python import usage

from mu_twisted.base.steps import exhaust
from mu_twisted.jobs import grouped
from mu_twisted.pipelines import InputList, PipelineError, load_pipeline, pack_inputs
from mu_twisted.pipelines.graph import StageWords, place

GRAPH = load_pipeline("graph")
MAP = load_pipeline("map")


def stage(name: str, *words: str, **more: Any) -> StageWords:
    return StageWords(name, words, **more)


def settings_of(*stages: StageWords, lists: tuple[InputList, ...] = (), words: tuple[str, ...] = ()) -> Any:
    packed = None
    if lists:
        first, *others = lists
        packed = pack_inputs(InputList(first.columns, first.names, first.bucket, tuple(others)))
    settings = GRAPH.parse([*words, "--", *(one.packed() for one in stages)], packed)
    exhaust(GRAPH.checking(settings))
    return settings


def before(settings: Any) -> dict[int, list[int]]:
    return {task: list(others) for task, others in exhaust(GRAPH.reading_after(settings)).items()}


def test_each_task_comes_after_the_one_of_the_same_number_or_after_all() -> None:
    settings = settings_of(
        stage("a", "--range=1:3", "--", "x {}"),
        stage("b", "--range=4:6", "--", "y {}", after=("a",), each=True),
        stage("c", "--range=1:2", "--", "z {}", after=("b",)),
        stage("alone", "--range=9:9", "--", "w {}"),
        stage("last", "--range=1:1", "--", "v {}", after=("alone", "a", "a")),
    )
    assert settings["tasks"] == 10
    assert before(settings) == {3: [0], 4: [1], 5: [2], 6: [3, 4, 5], 7: [3, 4, 5], 9: [0, 1, 2, 8]}
    assert exhaust(GRAPH.reading_stages(settings)) == {
        "a": [0, 1, 2],
        "b": [3, 4, 5],
        "c": [6, 7],
        "alone": [8],
        "last": [9],
    }
    assert GRAPH.labels(settings)(4) == "b: 5"
    assert exhaust(GRAPH.finding(settings, "b: 5")) == [4]
    assert exhaust(GRAPH.finding(settings, "1")) == [0, 6, 9]


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_a_task_comes_after_those_that_its_own_inputs_come_from(
    inputs: int, mine: int, theirs: int, others: int
) -> None:
    words = (f"--range=1:{inputs}", "--", "x {}")
    settings = settings_of(
        stage("a", f"--batch={theirs}", *words),
        stage("b", f"--batch={others}", *words),
        stage("c", f"--batch={mine}", *words, after=("a", "b"), each=True),
    )
    batches = {"a": theirs, "b": others, "c": mine}
    of = {}
    for task in range(settings["tasks"]):
        found, number = place(settings, task)
        batch = batches[found.name]
        of[task] = (found.name, set(range(number * batch, min((number + 1) * batch, inputs))))
    found_before = before(settings)
    for task, (name, numbers) in of.items():
        wanted = [other for other, (stage_name, some) in of.items() if name == "c" != stage_name and some & numbers]
        assert found_before.get(task, []) == wanted


def test_a_task_does_what_a_map_of_its_stage_would_do() -> None:
    words = ("--batch=2", "--out=s3://b/o/{/}", "--", "cp {in} {out} {#}")
    listed = InputList((["k/1", "k/2", "k/3"],), bucket="here")
    settings = settings_of(
        stage("a", "--range=1:5", "--", "true"), stage("b", *words, listed=True, after=("a",)), lists=(listed,)
    )
    alone = MAP.parse(words, pack_inputs(listed))
    assert (settings["bucket"], alone["bucket"]) == ("b", "b")
    said = said_by(GRAPH, settings, 6)
    assert said == said_by(MAP, alone, 1)
    assert len(said) > 3
    assert exhaust(GRAPH.reading_outputs(settings)) == {**dict.fromkeys(range(5), ()), 5: ("o/1", "o/2"), 6: ("o/3",)}


def test_stages_have_their_own_lists_in_their_order() -> None:
    table = InputList((["Ann", "Bob"], ["3", "4"]), ("who", "age"))
    keys = InputList((["x/1"],), bucket="b")
    settings = settings_of(
        stage("a", "--", "echo {who} {age}", listed=True),
        stage("r", "--range=1:2", "--", "true"),
        stage("b", "--", "cat {in}", listed=True),
        lists=(table, keys),
    )
    labels = list(map(GRAPH.labels(settings), range(5)))
    assert labels == ["a: Ann,3", "a: Bob,4", "r: 1", "r: 2", "b: x/1"]


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([], "come from a program in Python"),
        ([stage("a b", "--range=1:1", "--", "x")], "stage 1: a stage's name has 1 to 40 letters"),
        ([stage("a", "--range=1:1", "--", "x")] * 2, "two stages are called a"),
        ([stage("a", "--", "x")], "stage a: there are no inputs"),
        ([stage("a", "--range=1:1", "--", "x > {out}")], "stage a: the command uses {out}"),
        ([stage("a", "--", "x", listed=True)], "stage a: its list of inputs did not come"),
        ([stage("a", "--range=1:1", "--", "x", after=("b",))], "stage a comes after 'b', which is no stage before it"),
        ([stage("a", "--range=1:1", "--", "x", after=("a",))], "stage a comes after 'a', which is no stage before it"),
        ([stage("a", "--range=1:1", "--", "x", each=True)], "it has no stage before it"),
        (
            [stage("a", "--range=1:4", "--", "x"), stage("b", "--range=1:3", "--", "y", after=("a",), each=True)],
            "stage b has 3 inputs, and each comes after one of stage a, which has 4",
        ),
        ([stage("a", "--range=1:1", "--", "cat {in}")], "stage a: input 1 is no object"),
        (
            [stage(name, "--range=3:4", "--out=s3://b/{}", "--", "x") for name in ("a", "b")],
            "stages a and b would both store s3://b/3: change --out of one of them",
        ),
    ],
)
def test_a_graph_that_makes_no_sense_is_one_line(stages: list[StageWords], said: str) -> None:
    with pytest.raises((usage.UsageError, PipelineError)) as caught:
        settings_of(*stages)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_stages_after_several_need_as_many_numbers_as_these_have_tasks() -> None:
    settings = settings_of(
        stage("a", "--range=1:3000", "--", "x"),
        stage("b", "--range=1:1", "--", "x"),
        stage("c", "--range=1:3000", "--", "x"),
        stage("two", "--range=1:3000", "--", "x", after=("a", "c")),
        stage("next", "--range=1:3000", "--", "x", after=("c", "two")),
    )
    found = exhaust(GRAPH.reading_after(settings))
    assert len({id(others) for task, others in found.items() if task < 9001}) == 1
    assert found[9001] == range(3001, 9001)
    assert [(len(some), len(behind)) for some, behind in exhaust(grouped(found))] == [(6000, 3000), (6000, 3000)]


@pytest.mark.parametrize(
    "word",
    [
        "a",
        "",
        "[]",
        "{}",
        '{"name":"a",}',
        "[" * 100_000,
        '{"name":"a","words":["x"],"colour":1}',
        '{"name":3,"words":["x"]}',
        '{"name":"a","words":"x"}',
        '{"name":"a","words":[1]}',
        '{"name":"a","words":["x"],"after":"b"}',
    ],
)
def test_a_word_that_is_no_stage_is_one_line(word: str) -> None:
    rules = "it is no stage in JSON$|its words, or the stages that it comes after, are no list|a stage's name has "
    with pytest.raises(usage.UsageError, match=f"^stage 1: ({rules})") as caught:
        GRAPH.parse(["--", word])
    assert "\n" not in str(caught.value)


def test_lists_that_no_stage_has_use_for_are_refused() -> None:
    with pytest.raises(usage.UsageError, match="more lists of inputs came"):
        settings_of(stage("a", "--range=1:1", "--", "x"), lists=(InputList((["k"],)),))
    with pytest.raises(usage.UsageError, match="at most 1000 stages"):
        settings_of(*(stage(f"s{number}", "--range=1:1", "--", "x") for number in range(1001)))


def test_outputs_that_are_there_are_looked_for_in_one_bucket() -> None:
    stages = [stage("a", "--range=1:1", "--out=s3://b/{}", "--", "x"), stage("b", "--range=1:1", "--", "x")]
    assert settings_of(*stages, words=("--skip-existing",))["bucket"] == "b"
    stages.append(stage("c", "--range=1:1", "--out=s3://other/{}", "--", "x"))
    assert settings_of(*stages)["bucket"] == "b"
    with pytest.raises(usage.UsageError, match="--skip-existing looks into one bucket, b:"):
        settings_of(*stages, words=("--skip-existing",))


@given(st.text(max_size=9), st.lists(st.text(max_size=9)), st.booleans(), st.booleans())
def test_a_stage_comes_through_its_word_unchanged(text: str, words: list[str], listed: bool, each: bool) -> None:
    one = StageWords("x-1", tuple(words), listed, (text,), each)
    assert StageWords.unpacked(one.packed()) == one
    assert json.loads(one.packed())["name"] == "x-1"
