"""The metrics of a daemon without a control API are served on a port of their own, without TLS, and nothing else is."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from mu_twisted.transport import ListeningPort
from mu_twisted.web._address import ListenAddress, listen_on, resolve_own
from mu_twisted.web._calls import Call, CallRefusal, Reply, refusal_reply
from mu_twisted.web._factory import ControlFactory

MAX_CONNECTIONS = 16


def open_metrics(reactor: Any, address: ListenAddress, text: Callable[[], bytes]) -> ListeningPort:
    """Serve ``/metrics``, at once.

    :param reactor: Twisted's.
    :param address: of this machine. No other one is listened on: any caller may read them.
    :param text: all metrics, as Prometheus reads them.
    :returns: the port, which is the caller's to close.
    :raises ControlError: one line.
    """
    from mu_twisted.web.metrics import KIND  # costs, and few daemons want it

    async def answer(call: Call) -> Reply:
        if call.path != ("metrics",):
            return refusal_reply(CallRefusal(HTTPStatus.NOT_FOUND, "no such resource; there is /metrics"))
        if call.method != "GET":
            return refusal_reply(
                CallRefusal(HTTPStatus.METHOD_NOT_ALLOWED, f"expected GET, got {call.method[:20]}", {"Allow": "GET"})
            )
        return Reply(HTTPStatus.OK, text(), KIND)

    factory = ControlFactory(
        answer,
        lambda transport: f"{transport.getPeer().host}",
        clock=reactor,
        max_connections=MAX_CONNECTIONS,
        max_unadmitted=MAX_CONNECTIONS,
        max_body=0,
    )
    return listen_on(reactor, resolve_own(address, "--metrics"), factory, "--metrics")
