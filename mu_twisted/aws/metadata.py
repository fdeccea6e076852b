"""What the machine knows of itself on EC2: its public address, from the instance metadata service, version 2.

The service: a token is asked for first (PUT), then shown with each question. On a machine that still has version 1
only, the question is asked without. So it is where no token comes: its packets live for as many hops as the instance
was told, by default one, which a container is too far away for. A module of its own, as the commands that use this
package need no HTTP client.
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
PATIENCE = 0.9
"""Seconds for all of it: off EC2 nobody answers at that address."""
_MAX_ANSWER = 4096
_NO_TOKENS = (403, 404, 405)
_ABSENT = (ConnectError, ConnectionLost, ConnectingCancelledError)
_NOTHING = 0
"""In place of the status of an answer that did not come."""

_log = Logger()


async def public_address(reactor: Any, environ: Mapping[str, str], *, patience: float = PATIENCE) -> str | None:
    """The instance's public IPv4 address.

    :param environ: ``AWS_EC2_METADATA_DISABLED`` and ``AWS_EC2_METADATA_SERVICE_ENDPOINT`` count as for AWS's tools.
    :param patience: seconds.
    :returns: None off EC2, where the service is slow or broken, and for an instance that has no public address.
    """
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return None
    base = (environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or SERVICE).rstrip("/")
    agent = Agent(reactor, connectTimeout=patience)  # type: ignore[no-untyped-call]
    asking: Deferred[str | None] = Deferred.fromCoroutine(_ask(reactor, agent, base, patience))
    try:
        return await asking.addTimeout(patience, reactor)
    except (DeferredTimeout, *_ABSENT, ResponseFailed, ResponseNeverReceived, ValueError, OSError):
        return None


async def _ask(reactor: Any, agent: Any, base: str, patience: float) -> str | None:
    status, token = await _token(reactor, agent, base, patience / 2)
    headers = {"X-aws-ec2-metadata-token": token.strip()} if status == 200 else {}
    if status not in (200, _NOTHING, *_NO_TOKENS):
        return None
    found, text = await _answer(agent, "GET", f"{base}/latest/meta-data/public-ipv4", headers)
    if (status, found) == (_NOTHING, 401):
        _log.warn(
            "the instance's metadata service wants a token and none of its comes this far, as in a container: "
            "aws ec2 modify-instance-metadata-options --instance-id ... --http-put-response-hop-limit 2"
        )
    return str(ipaddress.IPv4Address(text.strip())) if found == 200 else None


async def _token(reactor: Any, agent: Any, base: str, patience: float) -> tuple[int, str]:
    """Status and text of the answer to the question for a token."""
    known = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    asking = Deferred.fromCoroutine(_answer(agent, "PUT", f"{base}/latest/api/token", known))
    try:
        return await asking.addTimeout(patience, reactor)
    except (DeferredTimeout, ResponseNeverReceived):
        return _NOTHING, ""


async def _answer(agent: Any, method: str, url: str, headers: Mapping[str, str]) -> tuple[int, str]:
    known = Headers({name: [value] for name, value in headers.items()})
    response = await treq.request(method, url, headers=known, agent=agent, allow_redirects=False)
    parts: list[bytes] = []

    def take(part: bytes) -> None:
        parts.append(part)
        if sum(map(len, parts)) > _MAX_ANSWER:
            raise ValueError("a metadata service does not say so much")

    await treq.collect(response, take)
    return response.code, b"".join(parts).decode("ascii")
