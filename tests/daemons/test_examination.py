"""What the doctor makes of endpoints and of a worker that dials back."""

from typing import Any

import pytest

from mu_twisted.aws import InvokeAnswer
from mu_twisted.aws.findings import Health
from mu_twisted.aws.inspection import FunctionState
from mu_twisted.daemons._options import listen_description
from mu_twisted.daemons.doctor._dial_back import DialledBack, judge_dial_back
from mu_twisted.daemons.doctor._examination import Examination, is_aws, port_of
from mu_twisted.pipelines import load_pipeline
from mu_twisted.wire import VERSION, Greeting


def greeted(version: int) -> DialledBack:
    given: Any = Greeting(version=version)
    return DialledBack(InvokeAnswer(None, "", ""), given, "192.0.2.7", own=True, port=13579)


@pytest.mark.parametrize(("version", "shared", "good"), [(VERSION, False, True), (0, True, True), (0, False, False)])
def test_a_worker_of_the_originals_that_came_is_good_where_one_key_is_shared(
    version: int, shared: bool, good: bool
) -> None:
    finding = judge_dial_back(greeted(version), "192.0.2.1:13579", shared=shared)
    assert (finding.health is Health.GOOD) is good
    assert "192.0.2.1:13579" in finding.what


@pytest.mark.parametrize("own", [False, True])
def test_another_process_that_has_the_doctors_port_is_named(own: bool) -> None:
    invocation = InvokeAnswer(None, '{"error": "could not reach 192.0.2.1:13579: not trusted"}', "")
    finding = judge_dial_back(DialledBack(invocation, None, "", own=own), "192.0.2.1:13579")
    assert finding.health is Health.BROKEN
    assert ("another process has this port" in str(finding.fix)) is not own


@pytest.mark.parametrize("punch", [False, True])
def test_a_pair_of_workers_asks_for_none_of_the_pipelines_programs(punch: bool) -> None:
    class Options(dict[str, Any]):
        pipeline = load_pipeline("shuffle")
        settings = pipeline.parse(["-b", "mine"])

    read: list[str] = []

    class Function(FunctionState):
        def files(self) -> frozenset[str]:
            read.append(self.name)
            return frozenset({"lambda_function.py"})

    state = Function("f", "us-east-1", {"Handler": "x", "Timeout": 9, "MemorySize": 128})
    options: Any = Options({"share-key": False, "punch": punch})
    said = [finding.what for finding in Examination(None, options, print)._function(state, 1)]
    assert any("lacks records" in line for line in said) is not punch
    assert read == ([] if punch else ["f"])


@pytest.mark.parametrize(
    ("given", "port"),
    [
        ("13579", 13579),
        ("0", 0),
        ("tcp:0:interface=127.0.0.1", 0),
        ("tcp:4000:interface=127.0.0.1", 4000),
        ("tcp:interface=127.0.0.1:port=4000", 4000),
        ("tcp6:4000:interface=\\:\\:1", 4000),
        ("systemd:domain=INET:index=0", 0),
    ],
)
def test_the_port_is_what_an_endpoint_string_says(given: str, port: int) -> None:
    assert port_of(listen_description(given)) == port


@pytest.mark.parametrize(
    ("endpoint", "aws"),
    [
        ("https://lambda.us-east-1.amazonaws.com", True),
        ("https://lambda.cn-north-1.amazonaws.com.cn", True),
        ("https://lambda.us-east-1.api.aws", True),
        ("http://127.0.0.1:4000", False),
        ("https://amazonaws.com.example.org", False),
    ],
)
def test_aws_own_endpoints_are_told_from_others(endpoint: str, aws: bool) -> None:
    assert is_aws(endpoint) is aws
