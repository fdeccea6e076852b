"""map: its inputs and how they travel, what a task of it does, and what is refused before a launch."""

import json
import zlib
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.python import usage

from mu_twisted.base.steps import exhaust
from mu_twisted.fsm import Machine, Outcome
from mu_twisted.pipelines import (
    MAX_PACKED,
    InputList,
    PipelineError,
    combinations,
    load_pipeline,
    pack_inputs,
)
from mu_twisted.pipelines._input_list import MAX_BYTES, MAX_INPUT, checked, numbers, shown, unpack

PIPELINE = load_pipeline("map")
TEXTS = st.text(st.characters(exclude_characters="\0"), max_size=20)


def settings_of(*words: str, inputs: InputList | None = None) -> Any:
    settings = PIPELINE.parse(words, None if inputs is None else pack_inputs(inputs))
    exhaust(PIPELINE.checking(settings))
    return settings


def objects(*keys: str, bucket: str = "b") -> InputList:
    return InputList((list(keys),), bucket=bucket)


class Dialogue:
    """Drives one task and answers as a worker that succeeds."""

    def __init__(self, settings: Any, task: int = 0) -> None:
        self.machine = Machine(PIPELINE.first, task, settings=settings)
        self.said: list[str] = []
        self._hear(b"OK:HELLO")

    def _hear(self, reply: bytes) -> None:
        for command in self.machine.receive([reply]):
            self.said.append(command.decode("utf-8", "surrogateescape"))

    def go_on(self, status: int = 0) -> None:
        name, _, rest = self.said[-1].partition(":")
        key = rest.partition("\0")[0]
        answer = {
            "retrieve": f"OK:RETRIEVE(b/{key})",
            "upload": f"OK:UPLOAD(b/{key})",
            "run": f"OK:RETVAL({status}):OUTPUT():COMMAND({rest})",
            "set": f"OK:SET({rest.partition(':')[0]})",
        }[name]
        self._hear(answer.encode("utf-8", "surrogateescape"))

    def finish(self) -> list[str]:
        while self.machine.outcome is Outcome.RUNNING:
            self.go_on()
        return self.said


def test_an_input_is_fetched_the_command_run_and_its_output_stored() -> None:
    settings = settings_of("--out", "s3://b/o/{/.}.n", "--", "wc < {in} > {out}", inputs=objects("t/x y.txt", "t/z"))
    assert settings["tasks"] == 2
    assert Dialogue(settings).finish() == [
        "retrieve:t/x y.txt\0##TMPDIR##/in-x_y.txt",
        "run:_mu1='##TMPDIR##/in-x_y.txt' _mu2='##TMPDIR##/out-x_y.n'; wc < \"${_mu1}\" > \"${_mu2}\"",
        "upload:o/x y.n\0##TMPDIR##/out-x_y.n",
    ]


def test_input_and_output_may_lie_in_two_buckets() -> None:
    settings = settings_of("--out", "s3://there/{/}", "--", "cp {in} {out}", inputs=objects("k", bucket="here"))
    said = Dialogue(settings).finish()
    assert [one.partition("\0")[0] for one in said if not one.startswith("run")] == [
        "set:bucket:here",
        "retrieve:k",
        "set:bucket:there",
        "upload:k",
    ]
    assert settings["bucket"] == "there"


def test_a_command_that_names_no_output_has_what_it_prints_stored() -> None:
    settings = settings_of("--out", "s3://b/{}", "--", "echo hi; exit 0", inputs=combinations([["k"]]))
    assert Dialogue(settings).said == ["run:{ echo hi; exit 0\n} > '##TMPDIR##/out-k'"]


def test_a_batch_is_done_one_input_after_the_other_and_leaves_no_files() -> None:
    settings = settings_of("--batch", "2", "--out", "s3://b/{}.o", "--", "w {in} {out}", inputs=objects("a", "b", "c"))
    assert settings["tasks"] == 2
    assert list(map(PIPELINE.labels(settings), range(2))) == ["a and 1 more", "c"]
    assert exhaust(PIPELINE.reading_outputs(settings)) == {0: ("a.o", "b.o"), 1: ("c.o",)}
    said = Dialogue(settings).finish()
    assert [one.partition(":")[0] for one in said] == ["retrieve", "run", "upload"] * 2
    assert said[4].startswith("run:rm -f -- '##TMPDIR##/in0-a' '##TMPDIR##/out0-a.o'; _mu1='##TMPDIR##/in1-b'")


def test_the_failed_one_of_a_batch_is_named() -> None:
    dialogue = Dialogue(settings_of("--batch", "3", ":::", "a", "b", "c", "--", "false {}"))
    dialogue.go_on()
    dialogue.go_on(status=1)
    assert dialogue.machine.outcome is Outcome.FAILED
    assert dialogue.machine.info["input"] == "b"


def test_hostile_keys_are_words_of_the_command_and_raw_text_of_keys() -> None:
    key = "t/$(rm -rf x);'`\n##TMPDIR##.txt"
    settings = settings_of("--out", "s3://b/{/}", "--", "cat {} {in} > {out}", inputs=objects(key, bucket="b2"))
    said = Dialogue(settings).finish()
    assert said[1] == f"retrieve:{key}\0##TMPDIR##/in-__TMPDIR__.txt" or said[1].startswith(
        f"retrieve:{key}\0##TMPDIR##/in-"
    )
    file = said[1].partition("\0")[2].removeprefix("##TMPDIR##/")
    assert all(c.isalnum() or c in "._-" for c in file)
    command = next(one for one in said if one.startswith("run:"))
    assert command.count("##TMPDIR##") == 2
    assert said[-1].startswith("upload:$(rm -rf x);'`\n##TMPDIR##.txt\0")


@pytest.mark.parametrize(
    ("words", "inputs", "said"),
    [
        (("--", "x"), None, "there are no inputs"),
        (("--range", "1:3", ":::", "a", "--", "x"), None, "in two ways"),
        (("--", "x"), combinations([["a"]]), ""),
        ((":::", "a", "x"), None, "put -- between"),
        ((":::", "--", "x"), None, "followed by no value"),
        ((":::", "a", "--"), None, "needs a command"),
        ((":::", "a", "--", "x > {out}"), None, "--out"),
        ((":::", "a", "--", "cat {in}"), None, "input a is no object"),
        ((":::", "a", "--", "sh -c 'x {}'"), None, "single quotes"),
        (("--out", "k/{}", ":::", "a", "--", "x"), None, "s3://BUCKET/KEY"),
        (("--out", "s3://b", ":::", "a", "--", "x"), None, "s3://BUCKET/KEY"),
        (("--out", "s3://b/{in}", ":::", "a", "--", "x"), None, "cannot stand in a key"),
        (("--out", "s3://b/same", ":::", "a", "b", "--", "x"), None, "2 inputs would overwrite one object"),
        (
            ("--out", "s3://b/{/.}", ":::", "p/a.x", "q", "p/a.y", "--", "x"),
            None,
            "p/a.x and p/a.y have the same output, a",
        ),
        (("--out", "s3://b/{}", "--", "x {in} {out}"), objects("a"), "a would be overwritten by its own output"),
        (("--out", "s3://b/" + "{}" * 60, "--", "x"), combinations([["y" * 20]]), "longer than 1024 bytes"),
        (("--out", "s3://b/{}", "--", "x"), combinations([["\udcff"]]), "no UTF-8"),
        (("--range", "5:1", "--", "x"), None, "--range: expected FIRST:LAST[:STEP], got '5:1': LAST is below FIRST"),
        (("--range", "1:5:-2", "--", "x"), None, "got '1:5:-2': LAST is above FIRST, and STEP counts -2"),
        (("--range", "1:b", "--", "x"), None, "--range: expected FIRST:LAST or FIRST:LAST:STEP, got '1:b'"),
        (("--range", "1:99999999", "--", "x"), None, "of at most 1000000 numbers, got '1:99999999'"),
        (("--range", "1:99999999", "--", "x"), None, "FIRST:LAST"),
        (("--range", "1:2", "--", "echo $(({/} + {}))"), None, ""),
        ((":::", "1", "b", "--", "echo $(({} + 1))"), None, "input b: {} stands in an arithmetic expansion"),
    ],
)
def test_what_cannot_be_done_is_one_line_that_names_the_input(
    words: tuple[str, ...], inputs: InputList | None, said: str
) -> None:
    if not said:
        settings_of(*words, inputs=inputs)
        return
    with pytest.raises((usage.UsageError, PipelineError)) as caught:
        settings_of(*words, inputs=inputs)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_behind_the_command_are_the_commands() -> None:
    words = (":::", "-a", "--b", "--", "ls", "-l", "{}")
    settings = settings_of(*words)
    settings.check_words(words)
    assert [settings["inputs"].whole(n) for n in range(2)] == ["-a", "--b"]
    with pytest.raises(usage.UsageError, match="put the job's options before it"):
        settings.check_words(("--range", "1:2", "ls", "-l"))


def test_columns_have_names_and_places() -> None:
    table = InputList((["Ann", "Bob"], ["3", "4 x"]), ("who", "age"))
    settings = settings_of("--", "echo {who} {2} {} {#} {n}", inputs=table)
    assert Dialogue(settings, 1).said == [
        "run:_mu1='Bob' _mu2='4 x' _mu3='Bob,4 x' _mu4='2' _mu5='1'; echo "
        + " ".join(f'"${{_mu{number}}}"' for number in range(1, 6))
    ]


def test_all_combinations_of_values_the_last_changing_fastest() -> None:
    found = combinations([["a", "b"], ["1", "2"]])
    assert [found.whole(number) for number in range(len(found))] == ["a 1", "a 2", "b 1", "b 2"]
    with pytest.raises(PipelineError, match="1000000"):
        combinations([["x"] * 1001, ["y"] * 1001])


def test_a_range_is_counted_both_ways() -> None:
    assert [list(numbers(text).columns[0]) for text in ("1:3", "3:1:-2", "-1:1")] == [
        ["1", "2", "3"],
        ["3", "1"],
        ["-1", "0", "1"],
    ]
    assert len(numbers("1:1000000")) == 1_000_000
    for text in ("1", "a:b", "1:2:0", "1:2:3:4", "2:1", "0:9999999999999999999999"):
        with pytest.raises(ValueError, match=r"FIRST:LAST"):
            numbers(text)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=20), st.sampled_from([None, "bucket"]))
def test_a_list_comes_through_its_packing_unchanged(rows: list[tuple[str, str]], bucket: str | None) -> None:
    given_list = InputList(tuple(list(column) for column in zip(*rows, strict=True)), (), bucket)
    assert unpack(pack_inputs(given_list)) == given_list


def packed(plain: Any) -> str:
    return b64encode(zlib.compress(json.dumps(plain).encode())).decode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cut off"),
        ("!!", "cannot be read"),
        ("AAAA", "cannot be read"),
        (b64encode(zlib.compress(b"[" * 100_000)).decode(), "cannot be read"),
        (b64encode(zlib.compress(b'{"form"')[:-3]).decode(), "cut off"),
        (packed([]), "form"),
        (packed({"form": "mu.inputs.9"}), "form"),
        (packed({"form": "mu.inputs.1"}), "damaged"),
        (packed({"form": "mu.inputs.1", "columns": [["a"], []]}), "damaged"),
        (packed({"form": "mu.inputs.1", "columns": [[1]]}), "damaged"),
        (packed({"form": "mu.inputs.1", "columns": [["a"]], "names": ["x", "y"]}), "damaged"),
        (packed({"form": "mu.inputs.1", "columns": [["a"]], "bucket": 3}), "damaged"),
        (packed({"form": "mu.inputs.1", "columns": []}), "damaged"),
        (packed({"form": "mu.inputs.1", "columns": [[]]}), "no inputs"),
        (packed({"form": "mu.inputs.1", "columns": [["a\0"]]}), "NUL"),
        (packed({"form": "mu.inputs.1", "columns": [["a" * (MAX_INPUT + 1)]]}), "longer than"),
        (packed({"form": "mu.inputs.1", "columns": [["a"]], "names": ["out"]}), "a name of mu's own"),
        (packed({"form": "mu.inputs.1", "columns": [["a"], ["b"]], "names": ["x", "x"]}), "two columns"),
        ("A" * (MAX_PACKED + 1), "at most"),
    ],
)
def test_a_packed_list_that_is_none_is_one_line(text: str, said: str) -> None:
    with pytest.raises(PipelineError, match=said) as caught:
        unpack(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_packed_list_that_would_fill_the_memory_is_not_unpacked() -> None:
    bomb = b64encode(zlib.compress(b" " * (MAX_BYTES + 2))).decode()
    assert len(bomb) < 100_000
    with pytest.raises(PipelineError, match="more than"):
        unpack(bomb)


def test_a_list_that_is_too_large_to_travel_is_refused_before() -> None:
    with pytest.raises(PipelineError, match="submit several"):
        pack_inputs(InputList((["x" * 1000] * (MAX_BYTES // 1000),)))


def test_a_pipeline_that_takes_no_list_says_so() -> None:
    with pytest.raises(usage.UsageError, match="2 inputs came with the job"):
        load_pipeline("exec").parse(["--", "x"], pack_inputs(combinations([["a", "b"]])))


@given(st.text())
def test_a_label_is_one_printable_line(text: str) -> None:
    assert shown(text).isprintable()
    assert len(shown(text)) <= 203


def test_an_empty_list_is_none() -> None:
    with pytest.raises(PipelineError, match="no inputs"):
        checked(InputList(([],)))
