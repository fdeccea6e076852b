"""Foreground runs are of a daemon in this process, by twistd's own runner: ``mu coordinator`` and the like use them.

The same Options and makeService as the plugins of twistd have; twistd's options are said here: no fork, no PID file.
"""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import IService, IServiceMaker
from twisted.plugin import IPlugin
from twisted.scripts import twistd
from zope.interface import implementer

from mu_twisted.daemons._exit import DefaultWords


@implementer(IPlugin, IServiceMaker)
class _Daemon:
    """What twistd knows of the one daemon that it may run."""

    description = ""

    def __init__(self, tapname: str, options: Callable[[], Any], make_service: Callable[[Any], IService]) -> None:
        self.tapname = tapname
        self.options = options
        self.makeService = make_service


def run_in_foreground(
    tapname: str, options: Callable[[], Any], make_service: Callable[[Any], IService], words: Sequence[str]
) -> None:
    """Run a daemon until it ends. Its errors are printed, and the process exits, as the module's ``Options`` has it.

    :param tapname: its name under twistd.
    :param options: makes its options, which are not parsed yet.
    :param make_service: its service, of the parsed options.
    :param words: the command line.
    :raises SystemExit: 2 for wrong options, 0 after the help. After the daemon's end the process exits with the status
        that it has set.
    """
    daemon = _Daemon(tapname, options, make_service)
    runner: Any = twistd
    config = type("ServerOptions", (runner.ServerOptions,), {"subCommands": [(tapname, None, options, "")]})()
    config.loadedPlugins = {tapname: daemon}
    config.parseOptions(["--nodaemon", "--pidfile=", tapname, *words])
    runner.runApp(config)


PROFILE = ["profile", None, None, "take defaults of this profile of the configuration file (also: $MU_PROFILE)"]
"""Is taken from the command line before the daemon's options are parsed; stands among them for the help."""


def options_for(command: str, kind: type[Any], configured: DefaultWords | None = None) -> type[Any]:
    """The Options of a daemon's module as a command of ``mu`` has them.

    :param command: as its user types it, for the help.
    :param configured: gives them defaults of the user's own.
    """
    return type("Options", (kind,), {"command": command, "configured": configured, "optParameters": [PROFILE]})
