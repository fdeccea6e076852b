"""The operations of Lambda's API on functions in a directory, without a stack: what is refused has changed nothing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from function_packages import BROKEN, FILE, GOOD, package
from twisted.internet.defer import Deferred, succeed

from mu_twisted.local import ApiError
from mu_twisted.local._code import unpack
from mu_twisted.local._functions import FunctionStore
from mu_twisted.local._trees import remove_tree
from mu_twisted.local.lambda_api._calls import ApiCall, Backend
from mu_twisted.local.lambda_api._operations import Operations

OTHER = package(("m.py", "def handler(event, context):\n    return 2\n", FILE))
SETTINGS = {"Runtime": "python3.12", "Role": "arn:aws:iam::000000000000:role/any", "Handler": "m.handler"}


class OperationsHarness:
    """The store and the unpacked code in a directory, and the operations on them."""

    def __init__(self, directory: Path) -> None:
        self.code = directory / "code"
        self.code.mkdir()
        self.store = FunctionStore(directory / "functions")
        self.changed: list[str] = []
        self.before_unpacking: Any = lambda: None
        unserved: Any = None
        backend = Backend(
            self.store, unserved, unserved, self._unpack, self._tidy, self._changed, lambda *_: succeed(b""), 1000
        )
        self._operations = Operations(backend, "secret")

    async def _unpack(self, data: bytes) -> None:
        self.before_unpacking()
        unpack(io.BytesIO(data), self.code / hashlib.sha256(data).hexdigest())

    def _tidy(self) -> None:
        used = {function.code for function in self.store}
        for path in self.code.iterdir():
            if path.name not in used:
                remove_tree(path)

    def _changed(self, name: str, _: Any) -> None:
        self.changed.append(name)
        self._tidy()

    def call(self, method: str, path: str, **request: Any) -> Any:
        handler, name = self._operations.find(method, f"/2015-03-31/functions{path}")
        call = ApiCall(name or "", "us-east-1", {}, {}, json.dumps(request).encode(), "host")
        done: list[Any] = []
        Deferred.fromCoroutine(handler(call)).addBoth(done.append)  # type: ignore[arg-type]
        if hasattr(done[0], "raiseException"):
            done[0].raiseException()
        return done[0].body

    def create(self, data: bytes, name: str = "f", **more: Any) -> Any:
        return self.call(
            "POST", "", FunctionName=name, Code={"ZipFile": base64.b64encode(data).decode()}, **SETTINGS, **more
        )

    def update(self, data: bytes, **more: Any) -> Any:
        return self.call("PUT", "/f/code", ZipFile=base64.b64encode(data).decode(), **more)

    def state(self) -> Any:
        """All that is there: functions, files, unpacked code."""
        files = {path.name: path.read_bytes() for path in (self.code.parent / "functions").iterdir()}
        return list(self.store), files, sorted(path.name for path in self.code.iterdir()), list(self.changed)


@pytest.fixture
def world(tmp_path: Path) -> OperationsHarness:
    return OperationsHarness(tmp_path)


@pytest.mark.parametrize("what", BROKEN)
def test_a_refused_package_leaves_the_function_that_is_there_as_it_was(what: str, world: OperationsHarness) -> None:
    world.create(GOOD)
    before = world.state()
    with pytest.raises(ApiError, match=r"zip|name|Unzip") as refused:
        world.update(BROKEN[what])
    assert (refused.value.status, refused.value.code) == (400, "InvalidParameterValueException")
    assert world.state() == before


@pytest.mark.parametrize("what", BROKEN)
def test_a_refused_package_makes_no_function(what: str, world: OperationsHarness) -> None:
    before = world.state()
    with pytest.raises(ApiError) as refused:
        world.create(BROKEN[what])
    assert refused.value.status == 400
    assert world.state() == before
    assert world.create(GOOD)["FunctionName"] == "f"


@pytest.mark.parametrize(
    "wrong",
    [{"Timeout": 0}, {"Environment": {"Variables": {"1": "x"}}}, {"MemorySize": "much"}, {"PackageType": "Image"}],
)
def test_a_refused_setting_makes_no_function_and_unpacks_nothing(
    wrong: dict[str, Any], world: OperationsHarness
) -> None:
    before = world.state()
    with pytest.raises(ApiError):
        world.create(GOOD, **wrong)
    assert world.state() == before


def test_images_are_refused_by_name(world: OperationsHarness) -> None:
    image = {"ImageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/x:1"}
    for request in ({"PackageType": "Image"}, SETTINGS):
        with pytest.raises(ApiError, match="Container images cannot run here") as refused:
            world.call("POST", "", FunctionName="f", Code=image, **request)
        assert (refused.value.status, refused.value.code) == (400, "InvalidParameterValueException")


def test_a_taken_name_keeps_its_function(world: OperationsHarness) -> None:
    world.create(GOOD)
    before = world.state()
    with pytest.raises(ApiError) as refused:
        world.create(OTHER)
    assert refused.value.status == 409
    assert world.state() == before


def test_a_name_that_is_taken_while_the_package_is_unpacked_keeps_its_function(world: OperationsHarness) -> None:
    def taken() -> None:
        world.before_unpacking = lambda: None
        world.create(GOOD)

    world.before_unpacking = taken
    with pytest.raises(ApiError) as refused:
        world.create(OTHER)
    assert refused.value.status == 409
    assert [path.name for path in world.code.iterdir()] == [hashlib.sha256(GOOD).hexdigest()]
    assert [function.code for function in world.store] == [hashlib.sha256(GOOD).hexdigest()]


def test_a_function_that_was_changed_or_deleted_meanwhile_is_not_written_over(world: OperationsHarness) -> None:
    revision = world.create(GOOD)["RevisionId"]

    def changed() -> None:
        world.before_unpacking = lambda: None
        world.call("PUT", "/f/configuration", Timeout=7)

    world.before_unpacking = changed
    with pytest.raises(ApiError) as refused:
        world.update(OTHER, RevisionId=revision)
    assert refused.value.status == 412
    world.before_unpacking = lambda: world.call("DELETE", "/f")
    with pytest.raises(ApiError) as refused:
        world.update(OTHER)
    assert refused.value.status == 404
    assert (list(world.store), list(world.code.iterdir())) == ([], [])


def test_a_dry_run_judges_the_package_and_changes_nothing(world: OperationsHarness) -> None:
    world.create(GOOD)
    before = world.state()
    assert world.update(OTHER, DryRun=True)["FunctionName"] == "f"
    with pytest.raises(ApiError):
        world.update(BROKEN["encrypted"], DryRun=True)
    assert world.state() == before


def test_a_good_package_takes_the_place_of_the_old_one(world: OperationsHarness) -> None:
    world.create(GOOD)
    world.update(OTHER)
    digest = hashlib.sha256(OTHER).hexdigest()
    assert [function.code for function in world.store] == [digest]
    assert sorted(path.name for path in (world.code.parent / "functions").iterdir()) == [f"{digest}.zip", "f.json"]
    assert [path.name for path in world.code.iterdir()] == [digest]
