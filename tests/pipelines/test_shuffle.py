"""The pipeline shuffle: its options, who sends to whom, and what it says at the end."""

from typing import Any

import pytest
from twisted.python.usage import UsageError

from mu_twisted.base.steps import exhaust
from mu_twisted.pipelines import load_pipeline

PIPELINE = load_pipeline("shuffle")


def settings(*words: str) -> Any:
    return PIPELINE.parse(["-n", "2", "-r", "5", "-b", "b", *words])


def test_all_send_to_all_by_links_and_none_through_s3() -> None:
    assert exhaust(PIPELINE.reading_senders(settings())) == {0: (1,), 1: (0,)}
    assert PIPELINE.takes(settings(), 1) == {0: frozenset({"part"})}
    assert exhaust(PIPELINE.reading_senders(settings("--by", "s3", "--stage", "split"))) == {}


def test_what_is_stored_is_known_before() -> None:
    assert exhaust(PIPELINE.reading_outputs(settings())) == {0: ("shuffle/00000000",), 1: ("shuffle/00000001",)}
    split = exhaust(PIPELINE.reading_outputs(settings("--by", "s3", "--stage", "split")))
    assert split is not None
    assert split[1] == ("shuffle/parts/00000000/00000001", "shuffle/parts/00000001/00000001")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--by", "mail"], "--by: expected links or s3"),
        (["--by", "s3"], "--stage: with --by s3 expected split or merge"),
        (["--stage", "merge"], "--stage: with --by links expected all"),
    ],
)
def test_ways_that_do_not_go_together_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        settings(*words)


@pytest.mark.parametrize(
    ("remarks", "text", "error"),
    [
        ({0: "3 01 aa bb", 1: "2 02 bb cc"}, "5 records of 100 bytes in order, sum 0000000000000003", None),
        ({0: "5 ffffffffffffffff aa bb", 1: "0 02"}, "5 records of 100 bytes in order, sum 0000000000000001", None),
        ({0: "3 01 aa bc", 1: "2 02 bb cc"}, "", "task 1 begins with a key before the last one of the task before it"),
        ({0: "3 01 aa bb", 1: "3 02 bb cc"}, "", "6 records came out of 5"),
        ({0: "3 01 aa bb"}, "", None),
    ],
)
def test_the_end_says_whether_all_came_out_in_order(remarks: dict[int, str], text: str, error: str | None) -> None:
    report = PIPELINE.last_word(settings(), remarks)
    assert (report.text, report.error) == (text, error)
