"""Failed tasks are grouped by what they failed of, and none is left out of the count."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.wording import FailedTask, failed_with, failure_groups, failure_line, failure_lines, ranges
from mu_twisted.wording._failure_groups import reason_of


def test_many_tasks_of_one_reason_are_one_line() -> None:
    failed = [(task, 3, "exit status 1") for task in range(2000)]
    assert failure_lines(failed) == ["2000 tasks failed after 3 attempts (0-1999): exit status 1"]


def test_numbers_and_workers_directories_are_no_other_reasons() -> None:
    failed = [
        (task, 1 + task % 2, f"uploading /tmp/mu_worker_ab{task}_x/out to s3: cannot put out/{task}: no such file")
        for task in (1, 2, 3, 5, 7, 9, 11, 13)
    ]
    [line] = failure_lines(failed)
    assert line.startswith("8 tasks failed after 1 to 2 attempts (1-3, 5, 7, 9, 11, ...): upl")
    assert line.endswith("cannot put out/1: no such file (that of task 1)")


def test_the_most_frequent_reason_comes_first_and_the_rest_is_counted() -> None:
    failed = [(task, 1, chr(ord("a") + task)) for task in range(14)] + [(task, 1, "often") for task in range(20, 23)]
    lines = failure_lines(failed)
    assert lines[0] == "3 tasks failed after 1 attempt (20-22): often"
    assert lines[1] == "task 0 failed after 1 attempt: a"
    assert lines[10:] == ["and 5 more tasks of 5 other reasons"]
    assert failure_lines(failed[:2], 1)[1:] == ["and 1 more task of 1 other reason"]
    assert failure_line((3, 2, "x")) == "task 3 failed after 2 attempts: x"
    assert failure_line(FailedTask(3, 2, "x", "")) == "'' (task 3) failed after 2 attempts: x"


@pytest.mark.parametrize(
    ("how", "ended"),
    [
        ("which it comes after", "which they come after"),
        ("which it is joined with by pipes", "which they are joined with by pipes"),
        ("whose messages it needs", "whose messages they need"),
    ],
)
def test_a_cause_comes_before_what_failed_with_it(how: str, ended: str) -> None:
    found = [(task, 0, failed_with(4, how, "no disk")) for task in (0, 1, 5, 6)]
    assert failure_lines([*found, (4, 1, "no disk")]) == [
        "task 4 failed after 1 attempt: no disk",
        f"4 tasks did not begin (0-1, 5-6): task 4, {ended}, failed: no disk",
    ]
    lines = failure_lines([found[0], (4, 1, "no disk"), (7, 1, "a"), (8, 1, "a")])
    assert lines[0] == "2 tasks failed after 1 attempt (7-8): a"
    assert lines[2] == f"task 0 did not begin: task 4, {how}, failed: no disk"


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 3), st.text("ab1", max_size=3)), unique_by=lambda t: t[0]))
def test_every_failed_task_is_counted_once(failed: list[tuple[int, int, str]]) -> None:
    counted = 0
    for line in failure_lines(failed, 2):
        many = re.match(r"(?:and )?([0-9]+) (?:more )?tasks?", line)
        counted += int(many[1]) if many else 1
    assert counted == len(failed)


@given(st.sets(st.integers(0, 60)))
def test_ranges_hold_exactly_the_numbers(numbers: set[int]) -> None:
    found = set()
    for text in ranges(sorted(numbers)):
        first, _, last = text.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    assert found == numbers


def test_the_programs_lines_come_after_what_was_said_of_the_group() -> None:
    failed = [(0, 3, "exit status 1\n    no file 0"), (1, 3, "exit status 1\n    no file 1")]
    assert failure_lines(failed) == [
        "2 tasks failed after 3 attempts (0-1): exit status 1 (that of task 0)\n    no file 0"
    ]


def test_errors_that_name_their_own_inputs_are_one_reason() -> None:
    failed = [
        FailedTask(task, 1, f"exit status 69\n    [png @ 0x{task + 7:x}FaB0] cannot open {shown}", f"photos/{name}")
        for task, (name, shown) in enumerate(
            [
                ("cat.png", "/tmp/mu_worker_0f3/in-cat.png."),
                ("small dog.png", "/tmp/mu_worker_77/in3-small_dog.png."),
                ("owl.jpeg", "/tmp/mu_worker_a9/in-owl.jpeg."),
            ]
        )
    ]
    assert [len(group.tasks) for group in failure_groups(failed)] == [3]
    other = FailedTask(9, 1, failed[0].error.replace("cannot open", "cannot read"), "photos/cat.png")
    assert [len(group.tasks) for group in failure_groups([*failed, other])] == [3, 1]


def test_lines_that_threads_have_printed_in_another_order_are_no_other_reason() -> None:
    lines = ["    decoder 7: ended", "    filter 3: nothing came", "    nothing was written"]
    failed = [
        FailedTask(0, 1, "\n".join(["exit status 69", *lines])),
        FailedTask(1, 1, "\n".join(["exit status 69", *lines[::-1]])),
        FailedTask(2, 1, "\n".join(["exit status 68", *lines])),
        FailedTask(3, 1, "\n".join(["exit status 69", *lines[:2]])),
    ]
    found = [[task.task for task in group.tasks] for group in failure_groups(failed)]
    assert found == [[0, 1, 2], [3]]
    assert failure_groups(failed)[0].reason.splitlines() == [
        "exit status #",
        "    decoder #: ended",
        "    filter #: nothing came",
        "    nothing was written",
    ]


@pytest.mark.parametrize("label", ["mine/owl.jpeg", "owl.jpeg", "a owl (1).jpeg", "[x]+"])
def test_the_name_of_a_tasks_input_is_none_of_its_reason(label: str) -> None:
    assert reason_of(f"fetching b/{label}: no such object", label) == "fetching b/#: no such object"


@pytest.mark.parametrize(
    ("error", "label", "reason"),
    [
        ("a request id is needed", "a", "a request id is needed"),  # too short to be looked for
        ("the cat.pngs are gone", "cat.png", "the cat.pngs are gone"),
        ("out-of-memory, in-place", "x/in-place", "out-of-memory, #"),
        ("id 550e8400-e29b-41d4-a716-446655440000", None, "id #"),
        ("commit deadbeef1 of facade, 3e8", None, "commit # of facade, #e#"),
        ("at 0x7fFE12aB: -9", None, "at #: -#"),
        ("/tmp/mu_worker_1a2b/in-a.b-c.txt: bad", None, "/tmp/#: bad"),
        ("/tmp/mu_worker_1a2b/lib/x.so: bad", None, "/tmp/#/lib/x.so: bad"),
    ],
)
def test_a_reason_is_an_error_without_what_varies(error: str, label: str | None, reason: str) -> None:
    assert reason_of(error, label) == reason
