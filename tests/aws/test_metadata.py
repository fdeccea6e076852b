"""An instance's public address, asked of small servers that play the metadata service."""

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import directlyProvides, providedBy

from mu_twisted.aws.metadata import public_address

TOKEN = b"secret-token=="


class Service(Resource):
    """Answers by a function of method, path and token."""

    isLeaf = True

    def __init__(self, answer: Callable[[bytes, bytes, bytes | None], Any]) -> None:
        super().__init__()
        self.answer = answer
        self.requests: list[tuple[bytes, bytes]] = []

    def render(self, request: Request) -> Any:
        self.requests.append((request.method, request.path))
        found = self.answer(request.method, request.path, request.getHeader(b"x-aws-ec2-metadata-token"))
        if isinstance(found, int) and found != NOT_DONE_YET:
            request.setResponseCode(found)
            return b"no"
        return found


def version_2(method: bytes, path: bytes, token: bytes | None) -> Any:
    if (method, path) == (b"PUT", b"/latest/api/token"):
        return TOKEN
    if token != TOKEN:
        return 401
    return b"203.0.113.7" if path == b"/latest/meta-data/public-ipv4" else 404


def version_1(method: bytes, path: bytes, token: bytes | None) -> Any:
    if method == b"PUT":
        return 405
    return b"203.0.113.8" if path == b"/latest/meta-data/public-ipv4" else 404


class ReactorOnClock:
    """The reactor, on a clock that stands still but where a test moves it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.callLater = self.clock.callLater
        self.seconds = self.clock.seconds
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class MetadataTests(TestCase):
    def serve(self, answer: Callable[[bytes, bytes, bytes | None], Any]) -> Service:
        service = Service(answer)
        site = Site(service)
        site.timeOut = None  # type: ignore[assignment]
        self.port = reactor.listenTCP(0, site, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.place = f"http://127.0.0.1:{self.port.getHost().port}/"
        self.addCleanup(self.port.stopListening)
        return service

    def ask(self, **environ: str) -> Deferred[str | None]:
        """Ask. The time that this may take passes where a service lets it."""
        where = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.place} | environ
        self.time = ReactorOnClock()
        return Deferred.fromCoroutine(public_address(self.time, where, timeout=4.0))

    def late(self, seconds: float) -> int:
        """No answer; the clock is moved once that is known."""
        reactor.callLater(0, self.time.clock.advance, seconds)  # type: ignore[attr-defined]
        return NOT_DONE_YET

    @inlineCallbacks
    def test_version_2_is_asked_for_a_token_first(self) -> Any:
        service = self.serve(version_2)
        assert (yield self.ask()) == "203.0.113.7"
        assert [method for method, _ in service.requests] == [b"PUT", b"GET"]

    @inlineCallbacks
    def test_version_1_is_asked_without_one(self) -> Any:
        self.serve(version_1)
        assert (yield self.ask()) == "203.0.113.8"

    @inlineCallbacks
    def test_where_no_token_comes_this_far_it_is_asked_without_one(self) -> Any:
        self.serve(lambda method, path, token: self.late(2.0) if method == b"PUT" else b"203.0.113.9")
        assert (yield self.ask()) == "203.0.113.9"
        self.serve(lambda method, path, token: self.late(2.0) if method == b"PUT" else 401)
        with capturedLogs() as events:
            assert (yield self.ask()) is None
        [text] = [formatEvent(event) for event in events if event["log_level"] is LogLevel.warn]
        assert "--http-put-response-hop-limit 2" in text

    @inlineCallbacks
    def test_an_instance_without_a_public_address_has_none(self) -> Any:
        self.serve(lambda method, path, token: TOKEN if method == b"PUT" else 404)
        assert (yield self.ask()) is None

    @inlineCallbacks
    def test_a_service_that_does_not_answer_is_not_waited_for(self) -> Any:
        service = self.serve(lambda method, path, token: self.late(2.0))
        assert (yield self.ask()) is None
        assert [method for method, _ in service.requests] == [b"PUT", b"GET"]

    @inlineCallbacks
    def test_what_is_no_address_is_none(self) -> Any:
        for answer in (b"not an address", b"::1", b"x" * 100_000, b"\xff", 500, b""):
            self.serve(lambda method, path, token, answer=answer: TOKEN if method == b"PUT" else answer)
            assert (yield self.ask()) is None

    @inlineCallbacks
    def test_an_absent_service_is_none_and_a_forbidden_one_is_not_asked(self) -> Any:
        service = self.serve(version_2)
        assert (yield self.ask(AWS_EC2_METADATA_DISABLED="true")) is None
        assert service.requests == []
        yield self.port.stopListening()
        where = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1/"}
        assert (yield Deferred.fromCoroutine(public_address(reactor, where, timeout=30.0))) is None
