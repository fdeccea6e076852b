"""The operations of Lambda's API on functions in a directory, without a stack: what is refused has changed nothing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest
from function_packages import BROKEN, FILE, GOOD, package
from twisted.internet.defer import Deferred, succeed

from mu_twisted.local import ApiError, LocalError
from mu_twisted.local._code import unpack
from mu_twisted.local._functions import FunctionStore
from mu_twisted.local._trees import remove_tree
from mu_twisted.local.lambda_api._calls import Backend
from mu_twisted.local.lambda_api._model import ApiModel
from mu_twisted.local.lambda_api._operations import LARGEST_PACKAGE, Operations

MODEL = ApiModel()
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
        self.model = MODEL
        self.region = "us-east-1"

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
        """Send a request on functions, whose members go into the body.

        :param path: behind that of all functions; or a whole one, and a query.
        """
        path, _, query = path.partition("?")
        routed = self.model.route(method, path if path.startswith("/20") else f"/2015-03-31/functions{path}")
        parameters = self.model.parameters(routed, parse_qsl(query), {}, json.dumps(request).encode())
        done: list[Any] = []
        answer = self._operations.carry_out(routed.operation, parameters, self.region, "host")
        Deferred.fromCoroutine(answer).addBoth(done.append)
        if hasattr(done[0], "raiseException"):
            done[0].raiseException()
        return done[0].body

    def create(self, data: bytes, name: str = "f", **more: Any) -> Any:
        return self.call(
            "POST", "", FunctionName=name, Code={"ZipFile": base64.b64encode(data).decode()}, **{**SETTINGS, **more}
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
    for request in ({"PackageType": "Image", "Role": SETTINGS["Role"]}, SETTINGS):
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


ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"


@pytest.mark.parametrize(
    "reference", ["f", ARN, "000000000000:function:f", "function:f", f"{ARN}:$LATEST", "f:$LATEST"]
)
def test_a_function_is_found_by_name_and_arn(world: OperationsHarness, reference: str) -> None:
    world.create(GOOD)
    shown = world.call("GET", f"/{quote(reference, safe='')}/configuration")
    assert shown["FunctionArn"] == (f"{ARN}:$LATEST" if "$" in reference else ARN)
    assert world.call("GET", "/f/configuration?Qualifier=$LATEST")["FunctionArn"] == f"{ARN}:$LATEST"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (ARN.replace("us-east-1", "eu-west-1"), r"Functions from 'eu-west-1' are not reachable in this region"),
        (ARN.replace("000000000000", "123456789012"), "Function not found"),
        ("123456789012:f", "Function not found"),
        ("f:1", "Function not found"),
    ],
)
def test_a_function_of_elsewhere_is_not_touched(world: OperationsHarness, reference: str, words: str) -> None:
    world.create(GOOD)
    before = world.state()
    path = f"/{quote(reference, safe='')}"
    for method, place, request in (
        ("DELETE", path, {}),
        ("GET", path, {}),
        ("PUT", f"{path}/configuration", {"Timeout": 5}),
        ("PUT", f"{path}/code", {"ZipFile": "UEs="}),
    ):
        with pytest.raises(ApiError, match=words) as refused:
            world.call(method, place, **request)
        assert (refused.value.status, refused.value.code) == (404, "ResourceNotFoundException")
    assert world.state() == before


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-west-3", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("nowhere", "aws")],
)
def test_an_arn_has_its_regions_partition(world: OperationsHarness, region: str, partition: str) -> None:
    world.region = region
    assert world.create(GOOD)["FunctionArn"] == f"arn:{partition}:lambda:{region}:000000000000:function:f"


def test_a_package_over_50_mb_comes_through_s3_only(world: OperationsHarness) -> None:
    before = world.state()
    with pytest.raises(ApiError) as refused:
        world.create(bytes(LARGEST_PACKAGE + 1))
    assert (refused.value.status, refused.value.code) == (413, "RequestEntityTooLargeException")
    assert world.state() == before


def test_some_concurrency_stays_with_functions_that_reserve_none(world: OperationsHarness) -> None:
    world.create(GOOD)
    world.create(OTHER, "g")
    place = "/2017-10-31/functions/{}/concurrency"
    with pytest.raises(ApiError, match=r"below its minimum value of \[100\]") as refused:
        world.call("PUT", place.format("f"), ReservedConcurrentExecutions=901)
    assert refused.value.code == "InvalidParameterValueException"
    world.call("PUT", place.format("f"), ReservedConcurrentExecutions=900)
    with pytest.raises(ApiError):
        world.call("PUT", place.format("g"), ReservedConcurrentExecutions=1)
    world.call("PUT", place.format("f"), ReservedConcurrentExecutions=899)
    world.call("PUT", place.format("g"), ReservedConcurrentExecutions=1)
    with pytest.raises(ApiError, match="without a qualifier"):
        world.call("PUT", place.format("f:$LATEST"), ReservedConcurrentExecutions=1)


def test_tags_are_kept_and_listed(world: OperationsHarness) -> None:
    world.create(GOOD, Tags={"team": "video", "stage": "one"})
    place = f"/2017-03-31/tags/{quote(ARN, safe='')}"
    world.call("POST", place, Tags={"stage": "two", "more": ""})
    world.call("DELETE", f"{place}?tagKeys=team&tagKeys=nothing")
    assert world.call("GET", place) == {"Tags": {"stage": "two", "more": ""}}
    assert world.call("GET", "/f")["Tags"] == {"stage": "two", "more": ""}
    assert FunctionStore(world.code.parent / "functions").get("f", "us-east-1").tags == {"stage": "two", "more": ""}


@pytest.mark.parametrize("tags", [{"aws:x": "y"}, {str(number): "" for number in range(50)}])
def test_tags_that_aws_refuses(world: OperationsHarness, tags: dict[str, str]) -> None:
    world.create(GOOD, Tags={"one": ""})
    with pytest.raises(ApiError) as refused:
        world.call("POST", f"/2017-03-31/tags/{quote(ARN, safe='')}", Tags=tags)
    assert refused.value.code == "InvalidParameterValueException"
    assert world.call("GET", "/f")["Tags"] == {"one": ""}


def test_versions_and_event_configurations_are_listed(world: OperationsHarness) -> None:
    world.create(GOOD)
    [version] = world.call("GET", "/f/versions")["Versions"]
    assert (version["FunctionArn"], version["Version"]) == (f"{ARN}:$LATEST", "$LATEST")
    place = "/2019-09-25/functions/f/event-invoke-config"
    assert world.call("GET", f"{place}/list") == {"FunctionEventInvokeConfigs": []}
    world.call("PUT", place, MaximumRetryAttempts=0)
    [listed] = world.call("GET", f"{place}/list")["FunctionEventInvokeConfigs"]
    assert (listed["FunctionArn"], listed["MaximumRetryAttempts"]) == (f"{ARN}:$LATEST", 0)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"Runtime": "nodejs22.x"}, "nodejs22.x cannot run here"),
        ({"Environment": {"Variables": {"AWS_REGION": "x"}}}, "reserved keys .* AWS_REGION"),
        # As compact JSON it is 4,097 bytes.
        ({"Environment": {"Variables": {"LONG": "x" * (4097 - len('{"LONG":""}'))}}}, "exceeded the 4KB limit"),
    ],
)
def test_what_the_model_allows_and_aws_or_this_machine_do_not(
    world: OperationsHarness, request_: dict[str, Any], words: str
) -> None:
    with pytest.raises(ApiError, match=words) as refused:
        world.create(GOOD, **request_)
    assert (refused.value.status, refused.value.code) == (400, "InvalidParameterValueException")


def test_new_code_may_be_of_another_processor(world: OperationsHarness) -> None:
    assert world.create(GOOD)["Architectures"] == ["x86_64"]
    assert world.update(OTHER, Architectures=["arm64"])["Architectures"] == ["arm64"]
    assert world.update(GOOD)["Architectures"] == ["arm64"]


def test_a_store_of_before_there_were_tags_is_read(world: OperationsHarness) -> None:
    world.create(GOOD)
    [path] = (world.code.parent / "functions").glob("*.json")
    kept = json.loads(path.read_bytes())
    del kept["tags"]
    path.write_text(json.dumps(kept))
    assert FunctionStore(path.parent).get("f", "us-east-1").tags == {}


@pytest.mark.parametrize("kept", [b"", b"{", b"\xff", b"[]", b"5", b'{"name": "f"}', b'{"architectures": [], "x": 1}'])
def test_a_damaged_record_of_a_function_is_one_line_and_deletes_nothing(world: OperationsHarness, kept: bytes) -> None:
    world.create(GOOD)
    [path] = (world.code.parent / "functions").glob("*.json")
    path.write_bytes(kept)
    before = world.state()
    with pytest.raises(LocalError, match=r"f\.json describes no function, .* delete it and make the function again$"):
        FunctionStore(path.parent)
    assert world.state() == before
