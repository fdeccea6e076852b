"""A daemon's log is set up here: where it goes, and what is in it; without ``-D`` no debug lines, wherever it goes.

In the foreground that is standard error, below the progress line if there is one; as a daemon, or with twistd's
``--logfile`` or ``--syslog``, what twistd would have taken. Under twistd's own ``--logger`` nothing here is used.
"""

import re
import signal
import sys
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any

from rich.console import Console
from rich.text import Text
from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    textFileLogObserver,
)
from twisted.python import usage
from twisted.python.logfile import LogFile
from zope.interface import provider

from mu_twisted.daemons import _terminal
from mu_twisted.daemons._exit import log_complaints
from mu_twisted.daemons._json_log import json_line

console = Console(file=_terminal.err, highlight=False)  # type: ignore[arg-type]
"""The one console of the process: log lines and the live line share it, so that neither tears the other."""

_twistd: Mapping[str, Any] = {}
_level: Any = LogLevel.info
_form = "text"


def observe(twistd: Any, level: Any, console_level: Any = None, form: str = "text") -> None:
    """Have twistd log as this module says.

    :param twistd: twistd's own parsed options.
    :param level: the least that is logged: LogLevel's debug or info.
    :param console_level: the same on standard error; None: as ``level``.
    :param form: of its lines: text or json.
    :raises twisted.python.usage.UsageError: a daemon is to log to standard output, which it has not; or JSON to syslog,
        whose lines have a form of their own.
    """
    global _twistd, _level, _form  # noqa: PLW0603 - there is one process, and it has one log
    foreground = bool(twistd.get("nodaemon") or twistd.get("debug"))
    elsewhere = bool(twistd.get("logger") or twistd.get("logfile") or twistd.get("syslog") or not foreground)
    if elsewhere:
        log_complaints()
    if twistd.get("logger"):
        return
    if twistd.get("logfile") == "-" and not foreground:
        raise usage.UsageError("--logfile=-: a daemon has no standard output; give a file, or -n to twistd")
    if twistd.get("syslog") and form != "text":
        raise usage.UsageError("--log-format: syslog has lines of its own form; leave it out, or log to a file")
    _form = form
    _twistd, _level = twistd, level if elsewhere else console_level or level
    # By name, since twistd resolves it itself after our options are parsed.
    twistd["logger"] = f"{__name__}.{'chosen_observer' if elsewhere else 'console_observer'}"


def console_observer() -> ILogObserver:
    """The log on standard error."""
    return _filtered(_show)


def chosen_observer() -> ILogObserver:
    """The log that twistd's options name, or a daemon's own file."""
    path = _twistd.get("logfile")
    if _twistd.get("syslog"):
        from twisted.python.syslog import SyslogObserver

        syslog: Any = SyslogObserver(_twistd.get("prefix") or "")  # type: ignore[no-untyped-call]
        return _filtered(_labelling(LegacyLogObserverWrapper(syslog.emit)))
    file = sys.stdout if path == "-" else _log_file(path or "twistd.log")
    if _form == "json":
        return _filtered(FileLogObserver(file, _json_entry))
    return _filtered(_labelling(textFileLogObserver(file)))


def labelled(event: LogEvent) -> LogEvent:
    """An event whose text begins with what it is about, as far as it does not say so: job, task, attempt."""
    labels = {name: event[name] for name in ("job", "task", "attempt") if isinstance(event.get(name), str | int)}
    if not labels:
        return event
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    about = [
        f"{name} {value}"
        for name, value in labels.items()
        if not re.search(rf"(?<!\w){re.escape(str(value) if name == 'job' else f'{name} {value}')}(?!\w)", text)
    ]
    if not about or not event.get("log_format"):
        return event
    return {**event, "log_about": ", ".join(about), "log_format": "{log_about}: " + event["log_format"]}


def _labelling(observer: Any) -> Any:
    return lambda event: observer(labelled(event))


def _filtered(observer: Any) -> ILogObserver:
    predicate: Any = LogLevelFilterPredicate(defaultLogLevel=_level)
    filtered: Any = FilteringLogObserver(observer, [predicate])
    return filtered  # type: ignore[no-any-return]


def _json_entry(event: LogEvent) -> str:
    return f"{json_line(event)}\n"


def _log_file(path: str) -> Any:
    """The file, begun anew on SIGUSR1, as twistd does it."""
    try:
        file: Any = LogFile.fromFullPath(path)  # type: ignore[no-untyped-call]
    except OSError as error:
        _terminal.err.say(f"error: cannot write the log {path}: {error.strerror}; give another with --logfile")
        raise SystemExit(1) from None

    def rotate(_number: int, _frame: FrameType | None) -> None:
        from twisted.internet import reactor  # not before: another may be installed meanwhile

        reactor.callFromThread(file.rotate)

    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, rotate)
    return file


@provider(ILogObserver)  # type: ignore[untyped-decorator]
def _show(event: LogEvent) -> None:
    text = eventAsText(labelled(event), includeTimestamp=False, includeSystem=False)
    namespace = str(event.get("log_namespace", "-"))
    # That twistd starts up, which reactor it has, that a main loop was terminated: of no use to a daemon's user.
    if not text or (
        _level is LogLevel.info and event["log_level"] is LogLevel.info and namespace.startswith("twisted.")
    ):
        return
    if _form == "json":
        _terminal.err.say(json_line(event))
        return
    when = time.strftime("%H:%M:%S", time.localtime(event["log_time"]))
    print_line(f"{when} {event['log_level'].name} [{namespace.removeprefix('mu_twisted.')}] {text}")


def print_line(line: str) -> None:
    """Print a line on standard error, above the live line if there is one; from any thread."""
    if console.is_terminal:
        console.print(Text(line), soft_wrap=True)
    else:
        _terminal.err.say(line)
