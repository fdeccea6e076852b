"""Where a daemon's log goes when it runs in the foreground: to standard error, below the progress line if there is one.

Under twistd's own ``--logfile``, ``--syslog`` or ``--logger`` nothing here is used.
"""

import sys
import time
from typing import Any

from rich.console import Console
from rich.text import Text
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
)
from zope.interface import provider

console = Console(file=sys.__stderr__, highlight=False)
"""The one console of the process: log lines and the live line share it, so that neither tears the other.

It is the real standard error: twistd redirects ``sys.stderr`` into the log.
"""


def observe_on_console(twistd: Any, level: Any) -> None:
    """Have twistd log to :data:`console` if it runs in the foreground and was told nothing else.

    :param twistd: twistd's own parsed options.
    :param level: the least that is shown: LogLevel's debug, info or warn.
    """
    told = twistd.get("logfile") or twistd.get("syslog") or twistd.get("logger")
    if told or not twistd.get("nodaemon"):
        return
    # By name, since twistd resolves it itself after our options are parsed.
    twistd["logger"] = f"{__name__}.{level.name}_observer"


def _observer(level: Any) -> ILogObserver:
    observer: Any = FilteringLogObserver(_show, [LogLevelFilterPredicate(defaultLogLevel=level)])  # type: ignore[list-item]
    return observer  # type: ignore[no-any-return]


def debug_observer() -> ILogObserver:
    """Everything."""
    return _observer(LogLevel.debug)


def info_observer() -> ILogObserver:
    """What a daemon says of its life."""
    return _observer(LogLevel.info)


def warn_observer() -> ILogObserver:
    """Only what is amiss."""
    return _observer(LogLevel.warn)


@provider(ILogObserver)  # type: ignore[untyped-decorator]
def _show(event: LogEvent) -> None:
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    if not text:
        return
    when = time.strftime("%H:%M:%S", time.localtime(event["log_time"]))
    namespace = str(event.get("log_namespace", "-")).removeprefix("mu_twisted.")
    line = f"{when} {event['log_level'].name} [{namespace}] {text}"
    if console.is_terminal:
        console.print(Text(line), soft_wrap=True)
    else:
        print(line, file=sys.__stderr__, flush=True)  # noqa: T201 - this is the log
