"""``twistd -n mu-local`` serves a Lambda-compatible endpoint and an S3 on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.logger import LogLevel
from twisted.python import usage

from mu_twisted.daemons._exit import FAILURE, complain, fail_start, ignore_repeat_signals, report_to_parent, set_status
from mu_twisted.daemons._exit import Options as OneLineOptions
from mu_twisted.daemons._limits import raise_descriptor_limit
from mu_twisted.daemons._log import observe
from mu_twisted.daemons._options import LOG_FORMAT, coerced_number
from mu_twisted.daemons._permissions import warn_of_exposed_files
from mu_twisted.daemons._start import InputEnd
from mu_twisted.local import LocalError, Settings, default_state_dir
from mu_twisted.local.service import LocalService
from mu_twisted.pipelines import coerced_range


class Options(OneLineOptions):
    """The options of ``mu-local``."""

    longdesc = (
        "Serves AWS Lambda's API and an S3 on loopback, for the rest of mu or any AWS SDK to use. `mu local --list` "
        "lists those of this user that run, `mu local --stop` ends one."
    )
    optParameters = [
        ["state-dir", None, None, "where functions, objects and keys are kept (default: by XDG)"],
        [
            "lambda-port",
            None,
            0,
            "port of the Lambda endpoint, 0 for any",
            coerced_range(0, 65535, "--lambda-port", "a port"),
        ],
        ["s3-port", None, 0, "port of the S3, 0 for any", coerced_range(0, 65535, "--s3-port", "a port")],
        ["region", None, "us-east-1", "region that the stack says it is"],
        [
            "concurrency",
            None,
            1000,
            "invocations at once, over all functions",
            coerced_range(1, 100_000, "--concurrency"),
        ],
        [
            "idle-timeout",
            None,
            60.0,
            "seconds that an environment without work stays warm",
            coerced_number(0, 999_999, "a number of seconds", "--idle-timeout"),
        ],
        [
            "retry-delay",
            None,
            60.0,
            "seconds before a failed event is tried again; twice that the next time",
            coerced_number(0, 999_999, "a number of seconds", "--retry-delay"),
        ],
        ["isolation", None, "auto", "strongest isolation to try: auto, user (user namespaces) or none"],
        ["s3", None, "auto", "the S3: seaweedfs, moto, or auto for seaweedfs where it is installed, else moto"],
        LOG_FORMAT,
        ["spawn", None, "zygote", "how environments start: zygote (forked) or plain (a fresh Python each)"],
    ]
    optFlags = [
        ["no-cgroups", None, "limit memory by rlimit even where control groups could"],
        ["stop-on-eof", None, "stop when standard input ends: the process that started this is gone"],
    ]

    command = "twistd [twistd's options] mu-local"

    def getSynopsis(self) -> str:
        """The first line of the help."""
        return f"Usage: {self.command} [options]"

    def parseArgs(self, *words: str) -> None:
        """There are none."""
        if words:
            raise usage.UsageError(f"mu-local takes options only, not {words[0]!r}")

    def postOptions(self) -> None:
        if self["isolation"] not in ("auto", "user", "none"):
            raise usage.UsageError(f"--isolation must be auto, user or none, not {self['isolation']!r}")
        if self["spawn"] not in ("zygote", "plain"):
            raise usage.UsageError(f"--spawn must be zygote or plain, not {self['spawn']!r}")
        if self["s3"] not in ("auto", "seaweedfs", "moto"):
            raise usage.UsageError(f"--s3 must be auto, seaweedfs or moto, not {self['s3']!r}")
        if not self["region"].replace("-", "").isalnum():
            raise usage.UsageError(f"--region {self['region']!r} is no region; for example us-east-1")
        if self.parent is not None:
            observe(self.parent, LogLevel.info, form=self["log-format"])

    def settings(self) -> Settings:
        chosen = self["state-dir"]
        return Settings(
            state_dir=Path(chosen) if chosen else default_state_dir(os.environ),
            lambda_port=self["lambda-port"],
            s3_port=self["s3-port"],
            region=self["region"],
            isolation=self["isolation"],
            cgroups=not self["no-cgroups"],
            plain=self["spawn"] == "plain",
            concurrency=self["concurrency"],
            idle=self["idle-timeout"],
            retry_delay=self["retry-delay"],
            s3=self["s3"],
        )


def fail(reactor: Any, line: str) -> None:
    """Say one line, end everything in order, and exit with status 1."""
    set_status(FAILURE)
    try:
        complain(line)
    finally:
        reactor.callWhenRunning(reactor.stop)


class _Root(MultiService):
    def __init__(self, reactor: Any, stop_on_eof: bool, state_dir: Path) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._state_dir = state_dir
        self._reactor = reactor
        self._stop_on_eof = stop_on_eof

    def startService(self) -> None:
        # Each environment takes three: its port, its connection, its output.
        raise_descriptor_limit()
        if self._stop_on_eof:
            self._reactor.addReader(InputEnd(self._reactor, self._reactor.stop))
        try:
            super().startService()  # type: ignore[no-untyped-call]
        except LocalError as error:
            fail_start(error)
        warn_of_exposed_files({}, self._state_dir)


def makeService(options: Options) -> Any:
    """The service; it opens nothing before it is started.

    :param options: parsed.
    """
    from twisted.internet import reactor

    def failed(error: LocalError) -> None:
        fail(reactor, str(error))

    ignore_repeat_signals(reactor)
    report_to_parent(options.parent)
    settings = options.settings()
    root = _Root(reactor, bool(options["stop-on-eof"]), settings.state_dir)
    LocalService(reactor, settings, failed).setServiceParent(root)  # type: ignore[no-untyped-call]
    return root
