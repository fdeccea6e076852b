"""EC2's instance metadata service, version 2, gives the machine's public address. Knows no daemon.

The service issues a token (PUT), which each request then carries. Where a machine has version 1 only, requests are made
without one. So they are where no token arrives: its packets have the hop limit that the instance is configured with, by
default 1, which does not reach a container. A module of its own, as the commands that use this package need no HTTP
client.
"""

import ipaddress
from collections.abc import Mapping
from typing import Any

import treq
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionLost
from twisted.logger import Logger
from twisted.web.client import Agent, ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers

SERVICE = "http://169.254.169.254"
TIMEOUT = 0.9
"""Seconds for all requests: off EC2 nothing answers at that address."""
_MAX_ANSWER = 4096
_NO_TOKENS = (403, 404, 405)
_ABSENT = (ConnectError, ConnectionLost, ConnectingCancelledError)
_NOTHING = 0
"""The status in place of an answer that did not arrive."""

_log = Logger()


async def public_address(reactor: Any, environ: Mapping[str, str], *, timeout: float = TIMEOUT) -> str | None:
    """Get the instance's public IPv4 address.

    :param environ: ``AWS_EC2_METADATA_DISABLED`` and ``AWS_EC2_METADATA_SERVICE_ENDPOINT`` count as for AWS's tools.
    :param timeout: seconds.
    :returns: None off EC2, where the service is slow or broken, and for an instance that has no public address.
    """
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return None
    base = (environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or SERVICE).rstrip("/")
    agent = Agent(reactor, connectTimeout=timeout)  # type: ignore[no-untyped-call]
    asking: Deferred[str | None] = Deferred.fromCoroutine(_ask(reactor, agent, base, timeout))
    try:
        return await asking.addTimeout(timeout, reactor)
    except (DeferredTimeout, *_ABSENT, ResponseFailed, ResponseNeverReceived, ValueError, OSError):
        return None


async def _ask(reactor: Any, agent: Any, base: str, timeout: float) -> str | None:
    status, token = await _token(reactor, agent, base, timeout / 2)
    headers = {"X-aws-ec2-metadata-token": token.strip()} if status == 200 else {}
    if status not in (200, _NOTHING, *_NO_TOKENS):
        return None
    found, text = await _answer(agent, "GET", f"{base}/latest/meta-data/public-ipv4", headers)
    if (status, found) == (_NOTHING, 401):
        _log.warn(
            "the instance's metadata service requires a token, and its tokens do not arrive here, as in a container: "
            "aws ec2 modify-instance-metadata-options --instance-id ... --http-put-response-hop-limit 2"
        )
    return str(ipaddress.IPv4Address(text.strip())) if found == 200 else None


async def _token(reactor: Any, agent: Any, base: str, timeout: float) -> tuple[int, str]:
    """Request a token.

    :returns: the answer's status and text.
    """
    headers = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    asking = Deferred.fromCoroutine(_answer(agent, "PUT", f"{base}/latest/api/token", headers))
    try:
        return await asking.addTimeout(timeout, reactor)
    except (DeferredTimeout, ResponseNeverReceived):
        return _NOTHING, ""


async def _answer(agent: Any, method: str, url: str, headers: Mapping[str, str]) -> tuple[int, str]:
    fields = Headers({name: [value] for name, value in headers.items()})
    response = await treq.request(method, url, headers=fields, agent=agent, allow_redirects=False)
    parts: list[bytes] = []

    def take(part: bytes) -> None:
        parts.append(part)
        if sum(map(len, parts)) > _MAX_ANSWER:
            raise ValueError(f"a metadata service sends at most {_MAX_ANSWER} bytes")

    await treq.collect(response, take)
    return response.code, b"".join(parts).decode("ascii")
