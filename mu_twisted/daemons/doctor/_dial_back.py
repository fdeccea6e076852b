"""A dial-back shows whether a worker reaches this machine: one is invoked and dials, as a job's workers do."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.threads import deferToThread

from mu_twisted.aws import InvokeAnswer
from mu_twisted.aws.findings import Finding, broken, doubtful, good
from mu_twisted.base import one_line
from mu_twisted.tls import KeyPair, server_contexts
from mu_twisted.transport import FrameFactory, FrameProtocol, ListeningPort, listen
from mu_twisted.wire import MAX_REPLY, VERSION, Greeting, PeerError, parse_greeting


@dataclass(frozen=True)
class DialledBack:
    """What came of a dial-back.

    :param invocation: what Lambda says.
    :param greeting: what the worker greeted us with; None if it did not come, or reached another listener.
    :param came_from: the worker's address.
    :param own: whether the doctor itself listened; else the process that has the port did, most likely a coordinator.
    :param port: where the doctor listened; None if it did not.
    """

    invocation: InvokeAnswer
    greeting: Greeting | None
    came_from: str
    own: bool
    port: int | None = None


class _Greeted:
    """Takes a greeting and dismisses its worker."""

    def __init__(self, came: Callable[[Greeting, str], None]) -> None:
        self._came = came

    def connected(self, connection: FrameProtocol) -> None:
        self._connection = connection

    def frames_received(self, payloads: list[bytes]) -> None:
        with suppress(PeerError):
            self._came(parse_greeting(payloads[0]), self._connection.peer.host)
        self._connection.send(b"quit:")

    def disconnected(self, reason: str) -> None:
        """That is all."""


async def dial_back(
    reactor: Any, endpoint: str, own: KeyPair, ca: bytes, invoke: Callable[[int | None], InvokeAnswer]
) -> DialledBack:
    """Listen, have a worker dial in, and listen no more.

    :param endpoint: where to listen, a Twisted endpoint string; where the port is taken, its holder must answer.
    :param own: certificate and key that the worker is shown.
    :param ca: PEM of the CA certificate that workers must have theirs from.
    :param invoke: has a worker dial the port that is being listened on, None where it is taken, and waits for its end.
        Called in a thread.
    :raises mu_twisted.base.MuError: it cannot be invoked.
    """
    greetings: list[tuple[Greeting, str]] = []
    factory = FrameFactory(
        lambda: _Greeted(lambda greeting, host: greetings.append((greeting, host))), clock=reactor, max_frame=MAX_REPLY
    )
    port: ListeningPort | None = None
    number: int | None = None
    with suppress(CannotListenError):
        server = serverFromString(reactor, endpoint)  # type: ignore[no-untyped-call]
        port = await listen(server, server_contexts(own, ca), factory, reactor)
    try:
        number = None if port is None else port.getHost().port
        working: Deferred[InvokeAnswer] = deferToThread(invoke, number)
        invocation = await working
    finally:
        if port is not None:
            await port.stopListening()
    greeting, host = greetings[0] if greetings else (None, "")
    return DialledBack(invocation, greeting, host, port is not None, number)


def judge_dial_back(came: DialledBack, where: str, *, shared: bool = False) -> Finding:
    """Whether the worker came, and which it was.

    :param where: the address that it was to dial.
    :param shared: whether all workers are given one key, as the original's need it.
    """
    fix = "open the port to it: security group, firewall, NAT; --host-addr says another address, -t another port"
    if not came.own:
        fix = (
            "another process has this port: if it is your coordinator, give its --state-dir or keys; "
            f"else choose another port with -t, or {fix}"
        )
    if came.greeting is None:
        said = said_of_its_end(came.invocation)
        if not came.own and said == "the coordinator said quit":
            return good(f"an invoked worker reached the coordinator that runs at {where}")
        tail = [line for line in came.invocation.log_tail.splitlines() if line.strip()][-1:]
        return broken(
            f"an invoked worker did not reach {where}: {said or 'it said nothing'}"
            + (f" (its log ends: {tail[0][:200]})" if tail and not said else ""),
            "no worker of a job would",
            fix,
        )
    if came.greeting.version == 0 and shared:
        return good(f"an invoked worker of the original's reached {where}, from {came.came_from}")
    if came.greeting.version != VERSION:
        return doubtful(
            f"an invoked worker reached {where}, of protocol version {came.greeting.version}, not {VERSION}",
            "this coordinator serves the original's workers (0) without warm starts, others not at all",
            "make the function again with `mu lambdaize`",
        )
    return good(f"an invoked worker reached {where}, from {came.came_from}")


def said_of_its_end(invocation: InvokeAnswer) -> str:
    """What Lambda, or a worker's result, says of its end; empty where neither does."""
    if invocation.error:
        return invocation.error
    try:
        reply = json.loads(invocation.result)
    except (ValueError, RecursionError):
        return ""
    text = (reply.get("error") or reply.get("ended")) if isinstance(reply, dict) else None
    return one_line(str(text or ""), 300)
