"""A program for the lab: the relay and its probe port, at fixed ports.

Its arguments are a directory with ``ca_cert.pem`` and ``ca_key.pem`` and, if not the usual ones, the seconds from one
punch of a pair to the next. It says ``ready`` and, when its input ends, what has been counted of punches.
"""

import json
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor, stdio
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from mu_twisted.rendezvous import PunchLimits, PunchService, Relay, RelayLimits, Spill, _punching
from mu_twisted.tls import Authority, RoleIdentity, server_contexts

PORT, PROBE_PORT = 13337, 13338
HOURS = 1e5
"""Seconds for which the lab's job is kept though no coordinator mentions it, and the ends of punches are waited for."""
PROBE = 60.0
"""Seconds for a probe: all come, on a busy machine late."""
loop: Any = reactor


class Orders(Protocol):
    """The standard input, whose end ends the program."""

    def __init__(self, punching: PunchService) -> None:
        self._punching = punching

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        say(dict(self._punching.broker.counts))
        loop.stop()


def say(what: Any) -> None:
    """Write one line of JSON."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main(directory: str, pause: str = str(PunchLimits.pause)) -> None:
    """Serve until the input ends."""
    _punching.RESULT_TIMEOUT = HOURS
    authority = Authority.load(Path(directory) / "ca_cert.pem", Path(directory) / "ca_key.pem")
    own = authority.issue(RoleIdentity("rendezvous"), lifetime=None)
    endpoint: Any = TCP4ServerEndpoint
    standard_io: Any = stdio.StandardIO
    punching = PunchService(loop, PunchLimits(pause=float(pause), probe_timeout=PROBE))
    punching.listen(endpoint(loop, PROBE_PORT))
    relay = Relay(loop, RelayLimits(retention=HOURS), Spill(Path(directory) / "spill"), punching=punching)
    relay.listen(endpoint(loop, PORT), server_contexts(own, authority.certificate))
    relay.open()
    standard_io(Orders(punching))
    loop.callWhenRunning(say, "ready")
    loop.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
