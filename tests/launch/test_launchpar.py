"""The original's call."""

import json
import threading
from collections import Counter

import pytest
from tls_endpoint import ACCEPTED, ACCESS, SECRET, TOKEN, Cut, refusal

from mu_twisted.launch import LaunchError, LaunchPolicy, launchpar
from mu_twisted.launch._launchpar import _endpoint

FAST = LaunchPolicy(rate=1e6, burst=100_000, tries=20, first_delay=0.001, longest_delay=0.01)


def test_the_number_is_the_total_spread_over_the_regions_in_turn(serve):
    endpoint = serve(checks=False)
    outcomes = launchpar(
        7,
        "f",
        ACCESS,
        SECRET,
        '{"id": "##ID##"}',
        ["us-east-1", "eu-west-1"],
        endpoint_url=endpoint.url,
        ca_bundle=str(endpoint.ca),
    )
    assert len(outcomes) == 7
    assert all(outcome.accepted for outcome in outcomes)
    regions = Counter(request.headers["Authorization"].split("/")[2] for request in endpoint.requests)
    assert regions == {"us-east-1": 4, "eu-west-1": 3}


def test_identifiers_stand_in_the_payloads_and_are_used_by_no_other_call(serve):
    endpoint = serve(secrets={ACCESS: (SECRET, TOKEN)})

    def call():
        return launchpar(
            3,
            "f",
            ACCESS,
            SECRET,
            '{"id": "##ID##"}',
            ["us-east-1"],
            endpoint_url=endpoint.url,
            ca_bundle=str(endpoint.ca),
            session_token=TOKEN,
        )

    ids = [outcome.launch_id for outcome in call() + call()]
    assert len(set(ids)) == 6
    assert {request.identifier for request in endpoint.requests} == set(ids)


def test_refusals_come_back_with_awss_words(serve):
    endpoint = serve(lambda request: refusal(404, "ResourceNotFoundException", "Function not found: f"))
    outcomes = launchpar(
        2, "f", ACCESS, SECRET, b"{}", ["us-east-1"], endpoint_url=endpoint.url, ca_bundle=str(endpoint.ca)
    )
    assert {(outcome.accepted, outcome.status, outcome.reason) for outcome in outcomes} == {
        (False, 404, "ResourceNotFoundException: Function not found: f")
    }


@pytest.mark.parametrize(("number", "regions"), [(0, ["us-east-1"]), (-1, ["us-east-1"]), (1, [])])
def test_nothing_to_launch_is_an_error(number, regions):
    with pytest.raises(LaunchError):
        launchpar(number, "f", ACCESS, SECRET, "{}", regions)


@pytest.mark.parametrize("url", ["http://example.com", "https://user:hidden@a", "a"])
def test_what_is_no_endpoint_is_said_before_anything_is_sent(url):
    with pytest.raises(LaunchError) as caught:
        launchpar(1, "f", ACCESS, SECRET, "{}", ["us-east-1"], endpoint_url=url)
    assert "\n" not in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_what_is_no_region_is_every_launchs_reason():
    outcome = launchpar(1, "f", ACCESS, SECRET, "{}", ["No Region"], endpoint_url="https://127.0.0.1:9")[0]
    assert (outcome.accepted, outcome.status, "region" in outcome.reason) == (False, 0, True)


def test_of_thousands_with_every_failure_each_has_one_outcome(serve):
    failures = [
        refusal(429, "TooManyRequestsException", "slow", retryAfterSeconds="0"),
        refusal(500, "ServiceException", "oh"),
        refusal(403, "AccessDeniedException", "no"),
        (307, {"Location": "https://127.0.0.1:1"}, b""),
        refusal(403, "ExpiredTokenException", "The security token included in the request is expired"),
        Cut(b"garbage\r\n\r\n"),
        Cut(),
        Cut(reset=True),
        Cut(b"HTTP/1.1 202 Accepted\r\nConte"),
        Cut(b"HTTP/1.1 500 Oh\r\nContent-Length: 10\r\n\r\n{"),
    ]
    seen: Counter[str] = Counter()
    invoked: Counter[str] = Counter()
    lost: set[str] = set()

    def answer(request):
        number = int(request.identifier.partition("-")[2])
        with endpoint.lock:
            seen[request.identifier] += 1
            first = seen[request.identifier] == 1
        failure = failures[number % 100] if first and number % 100 < len(failures) else ACCEPTED
        if isinstance(failure, Cut):
            if b" 500 " not in failure.data:
                lost.add(request.identifier)
                invoked[request.identifier] += 1
            raise failure
        invoked[request.identifier] += failure is ACCEPTED
        return failure

    endpoint = serve(answer, checks=False)
    outcomes = launchpar(
        2_000,
        "f",
        ACCESS,
        SECRET,
        json.dumps({"id": "##ID##"}),
        ["us-east-1"],
        endpoint_url=endpoint.url,
        ca_bundle=str(endpoint.ca),
        pool_size=128,
        connect_timeout=60.0,
        timeout=120.0,
        policy=FAST,
    )
    assert len({outcome.launch_id for outcome in outcomes}) == len(outcomes) == 2_000
    refused = {int(outcome.launch_id.partition("-")[2]) % 100: outcome for outcome in outcomes if not outcome.accepted}
    assert {number: outcome.status for number, outcome in refused.items()} == {2: 403, 3: 307}
    assert sum(outcome.accepted for outcome in outcomes) == 1_960
    for outcome in outcomes:
        times = invoked[outcome.launch_id]
        assert times >= outcome.accepted
        assert times <= 1 or outcome.launch_id in lost


def test_what_is_not_answered_in_time_is_sent_again(serve):
    silent, seen = threading.Event(), Counter()

    def answer(request):
        with endpoint.lock:
            seen[request.identifier] += 1
            first = seen[request.identifier] == 1
        if first:
            raise Cut(after=lambda: silent.wait(60))
        return ACCEPTED

    endpoint = serve(answer, checks=False)
    outcomes = launchpar(
        20,
        "f",
        ACCESS,
        SECRET,
        json.dumps({"id": "##ID##"}),
        ["us-east-1"],
        endpoint_url=endpoint.url,
        ca_bundle=str(endpoint.ca),
        timeout=1.0,
        policy=FAST,
    )
    silent.set()
    # On a machine that is slow an answer may come too late as well: then there are more tries, and one outcome.
    assert all(outcome.accepted for outcome in outcomes)
    assert len({outcome.launch_id for outcome in outcomes}) == 20
    assert min(seen.values()) >= 2


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("us-east-1", "https://lambda.us-east-1.amazonaws.com"),
        ("cn-north-1", "https://lambda.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "https://lambda.us-gov-west-1.amazonaws.com"),
    ],
)
def test_the_endpoint_of_a_region_is_what_botocore_knows(region, url):
    assert _endpoint(region) == url
