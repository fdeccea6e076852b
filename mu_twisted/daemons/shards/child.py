"""A shard of a rendezvous is a process of its own, which ends with the supervisor that has started it.

What it is to do is one line of JSON on its standard input. The end of that input means that the supervisor is no more:
then it ends at once, so that its port and its lock are free. What it has to say are lines of JSON on its standard
output: ``["notify", TEXT]`` in the words of systemd's protocol, or ``[LEVEL, NAMESPACE, TEXT]`` for the log.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import FilteringLogObserver, ILogObserver, LogEvent, LogLevel, LogLevelFilterPredicate, eventAsText
from twisted.logger import globalLogBeginner as log_beginner
from zope.interface import implementer, provider

from mu_twisted.base.json_types import Json
from mu_twisted.daemons._exit import ignore_repeat_signals
from mu_twisted.daemons._notify import Notifier
from mu_twisted.daemons._rendezvous_service import RendezvousService, ShardPlacement
from mu_twisted.rendezvous import RelayLimits

LISTENER = 3
"""The descriptor of the socket that the shard is to listen on."""
SIGN_OF_LIFE = 5.0
"""Seconds between two of them."""


class PipeNotifier(Notifier):
    """Notifies the supervisor of what a daemon notifies its service manager of.

    :param reactor: Twisted's.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor, {"WATCHDOG_USEC": str(int(2e6 * SIGN_OF_LIFE))})

    def say(self, text: str) -> None:
        """One message."""
        _say("notify", text)


@implementer(IReadDescriptor)
class _SupervisorPipe:
    """Standard input, which the supervisor keeps open as long as it lives."""

    def fileno(self) -> int:
        return 0

    def doRead(self) -> None:
        if not os.read(0, 4096):
            os._exit(1)

    def connectionLost(self, reason: Any) -> None:
        os._exit(1)  # the kernel says of an empty pipe that it was hung up, not that its end can be read

    def logPrefix(self) -> str:
        return "supervisor"


def _say(*words: str) -> None:
    # One write, so that lines of the log that threads write stay whole.
    os.write(1, f"{json.dumps(words)}\n".encode("ascii"))


@provider(ILogObserver)  # type: ignore[untyped-decorator]
def _log(event: LogEvent) -> None:
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    if text:
        _say(event["log_level"].name, str(event.get("log_namespace", "-")), text)


def main() -> NoReturn:
    """Be a shard until the supervisor sends SIGTERM, or is no more."""
    # A terminal sends it to all its processes; the supervisor says when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    order: Mapping[str, Json] = json.loads(sys.stdin.buffer.readline() or sys.exit(1))
    options = order["options"]
    level = LogLevel.debug if options["debug"] else LogLevel.info
    shown: Any = LogLevelFilterPredicate(defaultLogLevel=level)
    observer: Any = FilteringLogObserver(_log, [shown])
    log_beginner.beginLoggingTo([observer], redirectStandardIO=False)
    from twisted.internet import reactor as default_reactor  # the composition root is where the reactor comes in

    reactor: Any = default_reactor
    with socket.socket(fileno=os.dup(LISTENER)) as listener:
        endpoint: Any = AdoptedStreamServerEndpoint(reactor, LISTENER, listener.family)  # type: ignore[no-untyped-call]
    place = ShardPlacement(order["number"], endpoint, PipeNotifier(reactor))
    service: Any = RendezvousService(reactor, options, RelayLimits(**order["limits"]), place)
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    ignore_repeat_signals(reactor)
    pipe = _SupervisorPipe()
    reactor.addReader(pipe)
    reactor.addSystemEventTrigger("before", "shutdown", reactor.removeReader, pipe)
    reactor.run()
    os._exit(0)  # as after twistd's end by a signal, nothing is left to be tidied up


if __name__ == "__main__":
    main()
