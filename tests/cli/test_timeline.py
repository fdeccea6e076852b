"""The drawing of what each task was doing when."""

import json

from mu_twisted.cli._timeline import timeline


def record(task: int, *states: tuple[float, str], attempt: int = 0) -> str:
    return json.dumps({"task": task, "attempt": attempt, "outcome": "done", "states": states})


def test_each_task_is_a_line_and_each_state_a_letter_for_as_long_as_it_lasted() -> None:
    lines = [
        record(10, (0.0, "10:(fetching)"), (2.0, "10:(on state 3)"), (10.0, "10:(terminal state)")),
        record(2, (0.0, "2:(fetching)"), (5.0, "2:(terminal state)")),
    ]
    assert timeline(lines, unit="chunk", width=10) == [
        "         0 s" + "10.00 s",
        "chunk 2  fffff",
        "chunk 10 ff33333333",
        "         f fetching · 3 on state N",
    ]


def test_a_state_that_lasted_no_time_is_shown_all_the_same() -> None:
    lines = [record(0, (0.0, "0:(a)"), (1.0, "0:(b)"), (1.0, "0:(c)"), (2.0, "0:(d)"))]
    assert timeline(lines, width=4)[1] == "task 0 aacc"
    lines = [record(0, (0.0, "0:(a)"), (2.0, "0:(b)"), (2.0, "0:(c)"))]
    assert timeline(lines, width=4)[1] == "task 0 aaab"


def test_of_several_attempts_the_latest_is_drawn() -> None:
    lines = [record(0, (0.0, "0:(a)"), (1.0, "0:(z)")), record(0, (1.0, "0:(b)"), (2.0, "0:(z)"), attempt=1)]
    assert timeline(lines, width=4)[1] == "task 0 bbbb"


def test_nothing_is_drawn_of_nothing() -> None:
    assert timeline([]) == []
    assert timeline([record(0)]) == []
