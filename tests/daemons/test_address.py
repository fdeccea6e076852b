"""The address that workers dial is found, and logged."""

import socket
from functools import partial
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from mu_twisted.aws.metadata import public_address
from mu_twisted.daemons import _address
from mu_twisted.daemons._address import AddressError, check_found, find_address, own_address

ABSENT = {"AWS_EC2_METADATA_DISABLED": "true"}


class Metadata(Resource):
    """An instance whose public address is 203.0.113.7."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        return b"token" if request.method == b"PUT" else b"203.0.113.7"


class AddressTests(TestCase):
    def find(self, endpoint: str, given: str | None, environ: dict[str, str]) -> "Deferred[str]":
        return Deferred.fromCoroutine(find_address(reactor, endpoint, given, environ))

    @inlineCallbacks
    def check(self, expected: str, why: str, endpoint: str, given: str | None, environ: dict[str, str]) -> Any:
        with capturedLogs() as events:
            found = yield self.find(endpoint, given, environ)
        assert found == expected
        [text] = [formatEvent(event) for event in events if "dial" in event["log_format"]]
        assert text == f"workers dial {expected}, {why}"

    @inlineCallbacks
    def test_what_is_given_stands_before_the_instances_own_and_that_before_the_routes(self) -> Any:
        site = Site(Metadata())
        port = reactor.listenTCP(0, site, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.patch(_address, "public_address", partial(public_address, timeout=180.0))  # this machine may be busy
        ec2 = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{port.getHost().port}"}
        yield self.check("mu.example", "as --host-addr says", OUTSIDE, "mu.example", ec2)
        if not there_is_a_route():
            return
        yield self.check("203.0.113.7", "this instance's public address", OUTSIDE, None, ec2)
        own = own_address(OUTSIDE)
        yield self.check(own, "from which Lambda is reached (--host-addr)", OUTSIDE, None, ABSENT)

    @inlineCallbacks
    def test_where_lambda_is_on_this_machine_the_instances_address_is_of_no_use(self) -> Any:
        ec2 = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}
        why = "from which Lambda is reached (--host-addr)"
        yield self.check("127.0.0.1", why, "http://127.0.0.1:9001", None, ec2)


OUTSIDE = "https://192.0.2.1"


def there_is_a_route() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 443))
        except OSError:
            return False
    return True


@pytest.mark.parametrize("endpoint", ["https://nosuch.invalid", "https://", "https://[2001:db8::1%nosuch]"])
def test_without_a_route_that_is_one_line_that_names_the_option(endpoint: str) -> None:
    with pytest.raises(AddressError, match="--host-addr") as caught:
        own_address(endpoint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", ["nosuch.invalid", "no.such.host.invalid"])
def test_a_host_that_workers_on_this_machine_cannot_find_is_refused_at_once(host: str) -> None:
    with pytest.raises(AddressError, match=f"--host-addr: no worker on this machine finds {host}"):
        check_found(host, "http://127.0.0.1:9000")


def test_a_host_that_workers_elsewhere_may_find_is_warned_of() -> None:
    with capturedLogs() as events:
        check_found("nosuch.invalid", "https://lambda.us-east-1.amazonaws.com")
        check_found("127.0.0.1", "https://lambda.us-east-1.amazonaws.com")
    assert [formatEvent(event) for event in events] == [
        "--host-addr: this machine does not find nosuch.invalid; do workers?"
    ]
