"""The launcher under a fake reactor and threads that run when told, the extension and the endpoint being real."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from free_ports import free_ports
from tls_endpoint import ACCEPTED, ACCESS, SECRET, TOKEN, refusal
from twisted.internet import defer, reactor
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.python.threadable import isInIOThread
from twisted.trial.unittest import TestCase

from mu_twisted.base import MuError
from mu_twisted.base.access_keys import AccessKeys
from mu_twisted.launch import Launch, Launcher, LaunchError, LaunchPolicy

POLICY = LaunchPolicy(tries=3, first_delay=1.0, longest_delay=1.0)


class FakeReactor(Clock):
    """A clock with the part that threads call."""

    def __init__(self) -> None:
        super().__init__()
        self.from_threads: list[Callable[[], object]] = []
        self.triggers: list[Any] = []

    def callFromThread(self, function: Callable[..., object], *args: Any) -> None:
        self.from_threads.append(lambda: function(*args))

    def addSystemEventTrigger(self, phase: str, event: str, function: Any) -> Any:
        assert (phase, event) == ("during", "shutdown")
        self.triggers.append(function)
        return function

    def removeSystemEventTrigger(self, trigger: Any) -> None:
        self.triggers.remove(trigger)


class FakeThreads:
    """Work waits until it is run."""

    def __init__(self) -> None:
        self.work: list[Callable[[], object]] = []
        self.running = False

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        assert self.running
        assert not self.work
        self.running = False

    def callInThreadWithCallback(self, told: Callable[..., object], function: Any, *args: Any, **named: Any) -> None:
        assert self.running

        def work() -> None:
            try:
                result = function(*args, **named)
            except Exception:  # noqa: BLE001 - as Twisted's pool does
                told(False, Failure())
            else:
                told(True, result)

        self.work.append(work)


class Bench:
    """A launcher and what surrounds it."""

    def __init__(self, urls, ca, credentials=lambda: AccessKeys(ACCESS, SECRET), policy=POLICY, tail_timeout=180.0):
        self.reactor = FakeReactor()
        self.threads = FakeThreads()
        self.outcomes = []
        self.batches = 0
        self.launcher = Launcher(
            self.reactor,
            endpoint=urls if callable(urls) else lambda region: urls,
            credentials=credentials,
            ca_bundle=str(ca),
            pool_size=4,
            policy=policy,
            connect_timeout=60.0,
            timeout=180.0,
            tail_timeout=tail_timeout,
            random=lambda: 0.5,
            threads=lambda: self.threads,
        )

    def launch(self, names, regions=("us-east-1",)):
        launches = [
            Launch(name, regions[at % len(regions)], "worker", json.dumps({"id": name}).encode())
            for at, name in enumerate(names)
        ]
        return self.launcher.launch(launches, self.outcomes.append)

    def run(self, seconds=30):
        """Everything, until nothing is left to do or the clock has moved so far."""
        until = self.reactor.seconds() + seconds
        while self.reactor.seconds() < until:
            self.run_now()
            self.reactor.advance(0.25)
        self.run_now()

    def run_now(self):
        self.reactor.advance(0)
        while self.threads.work or self.reactor.from_threads:
            while self.threads.work:
                self.batches += 1
                self.threads.work.pop(0)()
            self.deliver()

    def deliver(self):
        while self.reactor.from_threads:
            self.reactor.from_threads.pop(0)()
        self.reactor.advance(0)

    @property
    def told(self):
        return {outcome.launch_id: outcome.reason for outcome in self.outcomes}


def test_each_launch_is_told_once_and_then_the_deferred_fires(serve):
    endpoint = serve()
    bench = Bench(endpoint.url, endpoint.ca)
    done = bench.launch(["a", "b", "c"])
    assert not done.called
    bench.run_now()
    assert done.called
    assert sorted((outcome.launch_id, outcome.accepted, outcome.status) for outcome in bench.outcomes) == [
        (name, True, 202) for name in "abc"
    ]
    assert bench.reactor.getDelayedCalls() == []


def test_nothing_to_launch_is_done_at_once(serve):
    endpoint = serve()
    assert Bench(endpoint.url, endpoint.ca).launch([]).called


def test_outcomes_come_to_the_reactors_thread_in_lists_and_not_one_by_one(serve):
    endpoint = serve()
    bench = Bench(endpoint.url, endpoint.ca)
    bench.launch([f"l{at}" for at in range(200)])
    bench.threads.work.pop(0)()
    assert len(bench.reactor.from_threads) < 20
    bench.deliver()
    assert len(bench.outcomes) == 200


def test_each_region_has_its_endpoint_and_signature(serve):
    east, west = serve(region="us-east-1"), serve(region="eu-west-1")
    west.ca.write_bytes(west.ca.read_bytes() + east.ca.read_bytes())
    bench = Bench({"us-east-1": east.url, "eu-west-1": west.url}.__getitem__, west.ca)
    bench.launch(["a", "b", "c", "d"], ["us-east-1", "eu-west-1"])
    assert len(bench.threads.work) == 2
    bench.run_now()
    assert {outcome.status for outcome in bench.outcomes} == {202}
    assert [{request.identifier for request in endpoint.requests} for endpoint in (east, west)] == [
        {"a", "c"},
        {"b", "d"},
    ]


def test_throttled_and_broken_answers_are_tried_again_and_the_last_reason_is_told(serve):
    answers = {
        "throttled": refusal(
            429, "TooManyRequestsException", "Rate Exceeded.", Reason="CallerRateLimitExceeded", retryAfterSeconds="5"
        ),
        "broken": (500, {"x-amzn-ErrorType": "ServiceException"}, b'{"Message": "two\\nlines"}'),
        "unknown": refusal(404, "ResourceNotFoundException", "Function not found"),
        "html": (400, {}, b"<html>\nbad</html>"),
        "elsewhere": (301, {"Location": "https://127.0.0.1:1"}, b""),
    }
    endpoint = serve(lambda request: answers[request.identifier])
    bench = Bench(endpoint.url, endpoint.ca)
    done = bench.launch(answers)
    bench.run(60)
    assert done.called
    assert bench.told == {
        "throttled": "given up after 3 tries; the last answer: "
        "TooManyRequestsException: Rate Exceeded. (CallerRateLimitExceeded)",
        "broken": "given up after 3 tries; the last answer: ServiceException: two",
        "unknown": "ResourceNotFoundException: Function not found",
        "html": "HTTP 400",
        "elsewhere": f"{endpoint.url}: HTTP 301 is a redirect, which is not followed; is its URL right?",
    }
    names = [request.identifier for request in endpoint.requests]
    assert {name: names.count(name) for name in answers} == {
        "throttled": 3,
        "broken": 3,
        "unknown": 1,
        "html": 1,
        "elsewhere": 1,
    }


def test_a_wrong_certificate_is_told_with_the_endpoint_and_not_tried_again(serve):
    endpoint, other = serve(), serve()
    bench = Bench(endpoint.url, other.ca)
    bench.launch(["a"])
    bench.run(10)
    assert bench.batches == 1
    assert bench.told["a"].startswith(f"{endpoint.url}: SSL certificate problem")


@pytest.mark.parametrize("host", ["127.0.0.1", "nowhere.invalid"], ids=["refused", "unknown"])
def test_an_endpoint_that_never_was_there_is_told_within_five_seconds(serve, absent_port, host):
    url = f"https://{host}:{absent_port}"
    bench = Bench(url, serve().ca, policy=LaunchPolicy())
    done = bench.launch([f"l{at}" for at in range(10)])
    bench.run(5)
    assert done.called
    for reason in bench.told.values():
        assert reason.startswith(f"{url}: ")
        assert reason.endswith("it has never answered: is its URL right, and does it run?")
    assert bench.batches > 2


def test_an_endpoint_that_comes_up_a_little_late_is_waited_for(serve):
    endpoint = serve()
    port = free_ports()
    bench = Bench(f"https://127.0.0.1:{port}", endpoint.ca, policy=LaunchPolicy())
    bench.launch(["a"])
    bench.run(1)
    assert bench.outcomes == []
    late = serve(port=port)
    late.ca.replace(endpoint.ca)
    bench.run(10)
    assert bench.told == {"a": ""}


def test_an_endpoint_that_was_there_before_is_tried_as_often_as_any(serve):
    endpoint = serve(port=free_ports())  # which no other is given when it is closed
    bench = Bench(endpoint.url, endpoint.ca, policy=LaunchPolicy())
    bench.launch(["a"])
    bench.run_now()
    endpoint.close()
    bench.launch(["b"])
    bench.run(20)
    assert "b" not in bench.told
    bench.run(40)
    assert bench.told["b"].startswith("given up after 8 tries; the last answer: ")


def test_regions_that_cannot_be_reached_or_trusted_do_not_hold_up_the_others(serve, absent_port):
    good, untrusted, named = serve(checks=False), serve(), serve(names=["elsewhere.example"])
    named.ca.write_bytes(named.ca.read_bytes() + good.ca.read_bytes())
    urls = {
        "r-1": good.url,
        "r-2": untrusted.url,
        "r-3": named.url,
        "r-4": f"https://127.0.0.1:{absent_port}",
        "r-5": "https://nowhere.invalid",
    }
    bench = Bench(urls.__getitem__, named.ca, policy=LaunchPolicy())
    names = [f"l{at}" for at in range(50)]
    done = bench.launch(names, list(urls))
    bench.run_now()
    assert [name for name in names if bench.told.get(name) == ""] == names[::5]
    assert len(bench.outcomes) == 30
    bench.run(5)
    assert done.called
    assert sorted(bench.told) == sorted(names)
    for at, words in enumerate(["", "certificate", "certificate", "it has never answered", "it has never answered"]):
        assert all(words in bench.told[name] for name in names[at::5])


def test_a_launch_that_hangs_does_not_hold_the_others_tries_back(serve):
    held = threading.Event()
    tries = Counter()

    def answer(request):
        tries[request.identifier] += 1
        if request.identifier == "hangs" and tries["hangs"] == 1:
            held.wait(180)
        if request.identifier == "throttled" and tries["throttled"] == 1:
            return refusal(429, "TooManyRequestsException", "Rate Exceeded.")
        return ACCEPTED

    endpoint = serve(answer)
    bench = Bench(endpoint.url, endpoint.ca, tail_timeout=1.5)
    bench.launch(["hangs", "throttled"])
    bench.run(5)
    held.set()
    assert bench.told == {"hangs": "", "throttled": ""}
    assert tries == {"hangs": 2, "throttled": 2}


def test_credentials_that_expire_in_mid_launch_are_asked_for_again_once(serve):
    expired = refusal(403, "ExpiredTokenException", "The security token included in the request is expired")
    fresh = AccessKeys(ACCESS, SECRET, TOKEN)
    calls = []

    def credentials():
        calls.append(1)
        return AccessKeys(ACCESS, SECRET, "old") if len(calls) == 1 else fresh

    def answer(request):
        old = request.headers["X-Amz-Security-Token"] == "old"
        return expired if old and int(request.identifier) >= 5 else ACCEPTED

    endpoint = serve(answer, checks=False)
    bench = Bench(endpoint.url, endpoint.ca, credentials)
    bench.launch([str(at) for at in range(10)])
    bench.run(10)
    assert len(bench.outcomes) == 10
    assert all(outcome.accepted for outcome in bench.outcomes)
    assert (len(calls), len(endpoint.requests)) == (2, 15)


def test_credentials_that_stay_expired_end_the_launch_with_awss_words(serve):
    endpoint = serve(lambda request: refusal(403, "ExpiredTokenException", "It is expired"))
    bench = Bench(endpoint.url, endpoint.ca)
    bench.launch(["a"])
    bench.run(10)
    assert bench.told == {"a": "ExpiredTokenException: It is expired"}
    assert len(endpoint.requests) == 2


def test_missing_credentials_are_every_launchs_reason(serve):
    def credentials():
        raise MuError("no AWS credentials")

    endpoint = serve()
    bench = Bench(endpoint.url, endpoint.ca, credentials)
    done = bench.launch(["a", "b"])
    bench.run_now()
    assert done.called
    assert bench.told == {"a": "no AWS credentials", "b": "no AWS credentials"}


def test_a_fault_in_the_credentials_function_is_logged_and_ends_the_launches(serve):
    class Fails(TestCase):
        def runTest(self):
            endpoint = serve()
            bench = Bench(endpoint.url, endpoint.ca, lambda: 1 / 0)
            bench.launch(["a"])
            bench.run_now()
            assert bench.told == {"a": "launching failed: ZeroDivisionError; the log has more"}
            assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    run_case(Fails())


def failure_of(deferred):
    """What a Deferred has failed with."""
    failures = []
    deferred.addErrback(failures.append)
    return failures[0].value


def run_case(case: TestCase) -> None:
    """With trial's observer of logged errors."""
    result = case.defaultTestResult()
    case.run(result)
    assert not result.errors + result.failures, result.errors + result.failures


def test_words_of_awss_that_repeat_a_secret_are_left_out(serve):
    secret = "The request signature we calculated does not match"
    said = f"{secret} {SECRET} and {TOKEN}.\nThe canonical string was: x-amz-security-token:{TOKEN}"
    endpoint = serve(lambda request: refusal(403, "InvalidSignatureException", said), checks=False)
    bench = Bench(endpoint.url, endpoint.ca, lambda: AccessKeys(ACCESS, SECRET, TOKEN))
    bench.launch(["a"])
    bench.run(5)
    assert bench.told == {"a": f"InvalidSignatureException: {secret} ... and ...."}


@pytest.mark.parametrize("keys", [AccessKeys("AK", "hidden\udc80", "t"), AccessKeys("", "hidden", "hidden")])
def test_no_reason_and_no_repr_holds_credentials(serve, keys):
    endpoint = serve()
    bench = Bench(endpoint.url, endpoint.ca, lambda: keys)
    bench.launch(["a"])
    bench.run_now()
    assert bench.told["a"].startswith("cannot launch in us-east-1: the ")
    assert "hidden" not in repr(bench.outcomes) + repr(keys) + repr(bench.launcher)


def test_an_outcome_function_that_raises_spoils_nothing(serve):
    endpoint = serve()

    class Fails(TestCase):
        def runTest(self):
            bench = Bench(endpoint.url, endpoint.ca)
            launches = [Launch(name, "us-east-1", "f", b"{}") for name in "ab"]
            done = bench.launcher.launch(launches, lambda outcome: 1 / 0)
            bench.run_now()
            assert done.called
            assert len(self.flushLoggedErrors(ZeroDivisionError)) == 2

    run_case(Fails())


def test_an_outcome_may_launch_and_cancel(serve):
    endpoint = serve()
    bench = Bench(endpoint.url, endpoint.ca)

    def again(outcome):
        bench.outcomes.append(outcome)
        bench.launcher.cancel()
        bench.launch(["second"])

    bench.launcher.launch([Launch("first", "us-east-1", "f", b'{"id": "first"}')], again)
    bench.run(1)
    assert bench.told == {"first": "", "second": ""}


def test_cancel_ends_what_is_not_sent_and_later_launches_go_out(serve):
    endpoint = serve()
    bench = Bench(endpoint.url, endpoint.ca, policy=LaunchPolicy(rate=1, burst=2))
    done = bench.launch(["a", "b", "c"])
    bench.launcher.cancel()
    assert bench.told == {}, "no caller is called back from within its own call"
    bench.reactor.advance(0)
    assert bench.told == {"c": "cancelled"}
    bench.run_now()
    assert done.called
    assert bench.told == {"a": "cancelled before it was sent", "b": "cancelled before it was sent", "c": "cancelled"}
    bench.launch(["d"])
    bench.run(5)
    assert bench.told["d"] == ""


def test_closing_gives_up_the_rest_and_ends_the_threads_when_they_are_idle(serve):
    endpoint = serve()
    bench = Bench(endpoint.url, endpoint.ca)
    bench.launch(["a"])
    first, second = bench.launcher.close(), bench.launcher.close()
    assert not first.called
    bench.run_now()
    assert first.called
    assert second.called
    assert not bench.threads.running
    assert bench.told == {"a": "cancelled before it was sent"}
    assert bench.launcher.close().called
    assert isinstance(failure_of(bench.launch(["b"])), LaunchError)
    assert bench.reactor.triggers == bench.reactor.getDelayedCalls() == endpoint.requests == []


def test_an_identifier_in_use_is_refused(serve):
    endpoint = serve()
    bench = Bench(endpoint.url, endpoint.ca)
    bench.launch(["a"])
    assert "in use" in str(failure_of(bench.launch(["b", "a"])))
    bench.run_now()
    assert bench.told == {"a": ""}


@pytest.mark.parametrize(
    "wrong",
    [
        {"launch_id": ""},
        {"launch_id": "ü"},
        {"launch_id": 'a"b'},
        {"launch_id": "a\nb"},
        {"launch_id": "a" * 257},
        {"function": ""},
        {"function": "ü" * 129},
        {"function": "a\0"},
        {"payload": b"x" * (1024 * 1024 + 1)},
    ],
)
def test_what_can_never_be_sent_is_no_launch(wrong):
    with pytest.raises(LaunchError):
        Launch(**{"launch_id": "a", "region": "us-east-1", "function": "f", "payload": b"{}", **wrong})


class RealReactorTests(TestCase):
    """With the real reactor and real threads."""

    timeout = 180

    @pytest.fixture(autouse=True)
    def _serve(self, serve):
        self.serve = serve

    def real_launcher(self, endpoint):
        launcher = Launcher(
            reactor,
            endpoint=lambda region: endpoint.url,
            credentials=lambda: AccessKeys(ACCESS, SECRET),
            ca_bundle=str(endpoint.ca),
            pool_size=4,
        )
        self.addCleanup(launcher.close)
        return launcher

    @defer.inlineCallbacks
    def test_outcomes_come_in_the_reactors_thread(self):
        launcher = self.real_launcher(self.serve())
        told = []
        launches = [Launch(f"l{at}", "us-east-1", "f", b"{}") for at in range(50)]
        yield launcher.launch(launches, lambda outcome: told.append((outcome.accepted, isInIOThread())))
        assert told == [(True, True)] * 50

    @defer.inlineCallbacks
    def test_closing_cuts_off_what_is_in_flight(self):
        held, arrived = threading.Event(), defer.Deferred()

        def answer(request):
            reactor.callFromThread(lambda: arrived.called or arrived.callback(None))
            held.wait(180)
            return ACCEPTED

        launcher = self.real_launcher(self.serve(answer))
        told = []
        done = launcher.launch([Launch(f"l{at}", "us-east-1", "f", b"{}") for at in range(20)], told.append)
        yield arrived
        yield launcher.close()
        yield done
        held.set()
        assert {outcome.accepted for outcome in told} == {False}
        assert len(told) == 20
