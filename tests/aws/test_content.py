"""Functions that are named by what is in them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from mu_twisted.aws import (
    Clients,
    Functions,
    FunctionSpec,
    PackageError,
    aws_session,
    content_name,
    ensure_function,
    is_content_name,
)

SPEC = FunctionSpec(name="")
MEMBERS: dict[str, Path | bytes] = {"exe": b"program", "data/x": b"more"}


def test_the_same_content_has_the_same_name_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"program")
    name = content_name(SPEC, MEMBERS, b"./exe")
    assert is_content_name(name)
    assert name == content_name(SPEC, dict(reversed(MEMBERS.items())), b"./exe")
    assert name == content_name(replace(SPEC, name="x", description="y"), MEMBERS, b"./exe")
    assert content_name(SPEC, {"exe": tmp_path / "a"}) == content_name(SPEC, {"exe": tmp_path / "a"})


@pytest.mark.parametrize(
    "change",
    [
        lambda: content_name(SPEC, {**MEMBERS, "exe": b"other"}, b"./exe"),
        lambda: content_name(SPEC, {**MEMBERS, "y": b""}, b"./exe"),
        lambda: content_name(SPEC, {"exe": b"programdata/x", "": b"more"}, b"./exe"),
        lambda: content_name(SPEC, MEMBERS, b"./exe -v"),
        lambda: content_name(replace(SPEC, memory_mb=512), MEMBERS, b"./exe"),
        lambda: content_name(replace(SPEC, timeout=timedelta(seconds=1)), MEMBERS, b"./exe"),
        lambda: content_name(replace(SPEC, runtime="python3.12"), MEMBERS, b"./exe"),
        lambda: content_name(replace(SPEC, architecture="arm64"), MEMBERS, b"./exe"),
        lambda: content_name(replace(SPEC, tmp_mb=1024), MEMBERS, b"./exe"),
        lambda: content_name(replace(SPEC, role="r"), MEMBERS, b"./exe"),
    ],
)
def test_whatever_counts_changes_the_name(change: Callable[[], str]) -> None:
    assert change() != content_name(SPEC, MEMBERS, b"./exe")


@pytest.mark.parametrize("name", ["mu-", "mu-xyz", "mu-27a12310f8c6773", "x-27a12310f8c67738", "mu-27A12310F8C67738"])
def test_other_names_are_none_of_these(name: str) -> None:
    assert not is_content_name(name)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="cannot read"):
        content_name(SPEC, {"exe": tmp_path / "nosuch"})


@pytest.fixture
def functions(moto: None) -> Functions:
    return Functions(Clients(aws_session(), "eu-west-1"))


@pytest.fixture
def spec(moto: None) -> FunctionSpec:
    trust = '{"Version": "2012-10-17", "Statement": []}'
    made: Any = boto3.client("iam").create_role(RoleName="worker", AssumeRolePolicyDocument=trust)
    return replace(SPEC, role=made["Role"]["Arn"])


def test_a_function_is_made_once_and_found_again(functions: Functions, spec: FunctionSpec) -> None:
    name, made = ensure_function(functions, spec, MEMBERS, b"./exe")
    assert made
    assert ensure_function(functions, spec, MEMBERS, b"./exe") == (name, False)
    other, made = ensure_function(functions, spec, {"exe": b"changed"}, b"./exe")
    assert made
    assert [each["FunctionName"] for each in functions.list()] == sorted([name, other])


def test_its_last_use_is_the_day_on_which_it_was_asked_for_last(functions: Functions, spec: FunctionSpec) -> None:
    name, _ = ensure_function(functions, spec, MEMBERS)
    functions.note_use(name, 4_000_000_000.0)
    [found] = functions.list()
    assert functions.last_use(found) == "2096-10-02"


class Overtaken:
    """Functions among which the wanted one appears while it is being made: another caller was faster."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self.looks = 0

    def find(self, name: str) -> dict[str, Any] | None:
        self.looks += 1
        return None if self.looks == 1 else self._functions.find(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._functions, name)


def test_two_callers_that_need_the_same_at_the_same_time_get_the_same(functions: Functions, spec: FunctionSpec) -> None:
    name, _ = ensure_function(functions, spec, MEMBERS)
    overtaken: Any = Overtaken(functions)
    assert ensure_function(overtaken, spec, MEMBERS) == (name, False)
