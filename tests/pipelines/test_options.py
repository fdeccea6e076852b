"""Job options as their users type them: what stands where, what is empty, what the help says."""

import re
from importlib.metadata import version
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from hypothesis import given
from hypothesis import strategies as st
from twisted.python import usage

from mu_twisted.pipelines import PipelineOptions, job_policy, load_pipeline, pipeline_names


class Files(PipelineOptions):
    """A user's pipeline that takes words of its own."""

    def parseArgs(self, *words: str) -> None:
        self["files"] = words


def parsed(options: Any, *words: str) -> Any:
    options.parseOptions(list(words))
    return options


def exec_options() -> Any:
    return load_pipeline("exec").options()


@pytest.mark.parametrize(
    ("words", "late"),
    [
        (("-n", "3", "echo hi", "-n", "4"), "-n"),
        (("echo hi", "-n3"), "-n3"),
        (("echo hi", "--out", "{n}"), "--out"),
        (("echo hi", "--out=a b"), "'--out=a b'"),
        (("ls", "-l"), "-l"),
        (("echo", "hi", "--", "-n", "3"), "--"),
        (("-b", "mine", "sort", "-", "--local"), "--local"),
        (("echo", "-\udcff"), repr("-\udcff")),
    ],
)
@pytest.mark.parametrize("kind", [exec_options, Files])
def test_options_behind_a_command_are_refused_in_one_line(kind: Any, words: tuple[str, ...], late: str) -> None:
    options = parsed(kind(), *words)
    with pytest.raises(usage.UsageError) as caught:
        options.check_words(words)
    assert str(caught.value).startswith(f"{late} stands behind ")
    assert "put the job's options before it" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        ("-n", "3", "--", "ls", "-l", "--", "-n"),
        ("--", "echo hi", "-n", "3"),
        ("-n", "3", "echo hi"),
        ("cat", "-", "file"),
        ("-b", "mine", "--out={n}", "date > {out}"),
    ],
)
def test_what_stands_behind_two_dashes_is_the_commands_own(words: tuple[str, ...]) -> None:
    parsed(exec_options(), *words).check_words(words)


@given(st.lists(st.sampled_from(["echo", "-", "--", "-n", "3", "--out", "{n}", "-x", ""]), max_size=7))
def test_where_no_option_is_late_the_command_has_none(words: list[str]) -> None:
    options = Files()
    try:
        parsed(options, *words)
        options.check_words(words)
    except usage.UsageError:
        return
    command = options["files"]
    assert "--" in words or not any(word.startswith("-") and word != "-" for word in command[1:])


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        ("exec", ("--out", "", "--", "true")),
        ("exec", ("--in", "", "--", "true")),
        ("exec", ("--out", "k" * 1025, "--", "true")),
        ("exec", ("--in", "ä" * 513, "--", "true")),
        ("exec", ("--out", "a\0b", "--", "true")),
        ("merge", ("--in", "")),
        ("merge", ("--out", "")),
        ("split", ("--in", "")),
        ("linpack", ("--out", "")),
    ],
)
def test_a_key_that_s3_cannot_have_is_a_usage_error(pipeline: str, words: tuple[str, ...]) -> None:
    with pytest.raises(usage.UsageError, match=rf"{words[0]}: expected an S3 key of 1 to 1024 bytes, got '"):
        parsed(load_pipeline(pipeline).options(), *words)


@pytest.mark.parametrize(
    ("text", "statuses"), [("none", frozenset()), ("", frozenset()), ("1,2", {1, 2}), ("all", None)]
)
def test_no_exit_status_is_retried_by_that_name_too(text: str, statuses: Any) -> None:
    assert parsed(exec_options(), "--retry-exit", text, "true")["retry-exit"] == statuses
    assert exec_options()["retry-exit"] == frozenset()


@pytest.mark.parametrize("name", pipeline_names())
def test_the_help_says_each_default_once_and_never_an_empty_one(name: str) -> None:
    text = str(load_pipeline(name).options())
    assert "[default: ]" not in text
    for entry in re.split(r"\n +(?=-\w, --|--)", text):
        assert len(re.findall(r"[\[(]default:", entry)) <= 1, entry
    assert "Twisted" not in text


def test_the_version_is_mus_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(exec_options(), "--version")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"mu-twisted {version('mu-twisted')}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("never", (None, None, False)),
        ("now,fail=1", (1, None, True)),
        ("soon,fail=20", (20, None, False)),
        ("soon,fail=10%", (None, 10.0, False)),
        ("now,fail=0.5%", (None, 0.5, True)),
    ],
)
def test_halting_is_said_as_gnu_parallel_has_it(text: str, expected: tuple[Any, ...]) -> None:
    policy = job_policy(load_pipeline("exec").parse(["--halt", text, "--", "x"]))
    assert (policy.halt_failures, policy.halt_percent, policy.halt_running) == expected


@pytest.mark.parametrize(
    "text", ["", "now", "soon,fail=0", "now,fail=1.5", "now,fail=101%", "now,done=1", "now,fail=-1"]
)
def test_halting_that_is_said_otherwise_is_a_usage_error(text: str) -> None:
    with pytest.raises(usage.UsageError, match="--halt: expected never, or now or soon"):
        load_pipeline("exec").parse(["--halt", text, "--", "x"])


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x", "1e99"])
def test_a_limit_of_cost_that_is_none_is_a_usage_error(text: str) -> None:
    with pytest.raises(usage.UsageError, match="--max-cost: expected an amount above 0"):
        load_pipeline("exec").parse(["--max-cost", text, "--", "x"])


@pytest.mark.parametrize("pipeline", pipeline_names())
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-b", "Bad_Bucket!"], "-b: expected a bucket's name, .*, got 'Bad_Bucket!'"),
        (["-b", "s3://mine"], "-b: expected a bucket's name, .*, got 's3://mine'"),
        (["-b", "b" * 256], "-b: expected a bucket's name"),
        (["-l", "bad name!"], "-l: expected a function's name, .*, got 'bad name!'"),
        (["-l", "a/b"], "-l: expected a function's name"),
        (["-l", "f" * 257], "-l: expected a function's name"),
        (["--retry-memory", "f:g:h:i:j"], "--retry-memory: expected a function's name"),
    ],
)
def test_what_can_be_no_bucket_or_function_is_wrong_use(pipeline: str, words: list[str], said: str) -> None:
    settings = load_pipeline(pipeline).options()
    settings.update(dict.fromkeys(("bucket", "function", "retry-memory")))
    named = {"-b": "bucket", "-l": "function", "--retry-memory": "retry-memory"}
    settings[named[words[0]]] = words[1]
    with pytest.raises(usage.UsageError, match=f"^{said}"):
        settings.check_words(words)


@pytest.mark.parametrize(
    "name",
    [
        *("png2y4m_cP4Mf5pn", "fib-2", "f:3", "f:$LATEST", "f:live", "123456789012:function:f", "function:f"),
        *(
            "arn:aws:lambda:us-east-1:123456789012:function:f",
            "arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:f:2",
        ),
    ],
)
def test_what_lambdas_api_takes_for_a_function_may_be_one(name: str) -> None:
    model = ServiceModel(Loader().load_service_model("lambda", "service-2"), "lambda")
    request: Any = model.operation_model("Invoke").input_shape
    assert re.fullmatch(request.members["FunctionName"].metadata["pattern"], name)
    settings = PipelineOptions()
    settings.parseOptions(["-l", name, "-b", "Old_Bucket.of-2009"])
    settings.check_words(["-l", name, "-b", "Old_Bucket.of-2009"])
