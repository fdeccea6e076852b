"""A relay without TLS in a process of its own: says its port, and relays until it is killed."""

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.endpoints import serverFromString

from mu_twisted.rendezvous import Relay, RelayLimits, Spill

reactor: Any = installed


def ready(port: Any) -> None:
    sys.stdout.write(f"{port.getHost().port}\n")
    sys.stdout.flush()


relay = Relay(reactor, RelayLimits(), Spill(Path(sys.argv[1])))
endpoint: Any = serverFromString(reactor, "tcp:0:interface=127.0.0.1")  # type: ignore[no-untyped-call]
relay.listen(endpoint, None).addCallback(ready)
relay.open()
reactor.run()
