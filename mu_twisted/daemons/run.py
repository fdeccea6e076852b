"""``mu run`` and ``mu retry`` run a coordinator where there is none: it keeps the record of its job, and ends.

While it runs it serves the control API of its state directory, so that the commands which ask a coordinator ask it, and
further jobs are submitted to it; it ends when all are over.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from twisted.python.usage import UsageError

from mu_twisted.daemons._exit import DefaultWords
from mu_twisted.daemons._options import DaemonOptions, local_stack, typed_options
from mu_twisted.daemons._state_dir import StateDirectory
from mu_twisted.daemons.coordinator import Options as CoordinatorOptions
from mu_twisted.daemons.coordinator import makeService
from mu_twisted.daemons.foreground import PROFILE, options_for, run_in_foreground
from mu_twisted.daemons.one_shot import ResultPrinter, TeePrinter
from mu_twisted.daemons.program import ProgramOptions, check_program
from mu_twisted.pipelines import InputList

DEFAULT_PORT = "13579"
LOCAL_PORT = "tcp:0:interface=127.0.0.1"
"""Where workers of the embedded Lambda dial a coordinator that runs one job."""
__all__ = ["Options", "ignored", "local_stack", "mismatch", "retry", "run", "run_map"]
COMMAND = "mu run"
_HERE = ("local", "state-dir", "debug", "keep")
"""Options that a job which is handed over may have: they say where it goes, or what is shown."""


class RunDaemonOptions(DaemonOptions, ProgramOptions):
    """The coordinator's options, and what ``mu run`` has of its own."""

    optFlags = [
        ["json", None, "print the end of the job as JSON, on one line"],
        [
            "tee",
            None,
            "print on standard error what programs print while they run; with several tasks behind their inputs' names",
        ],
    ]


class Options(CoordinatorOptions):
    """The command line of ``mu run``."""

    command = COMMAND
    kind = RunDaemonOptions
    optParameters = [*ProgramOptions.optParameters, PROFILE]
    optFlags = [*RunDaemonOptions.optFlags, *ProgramOptions.optFlags]
    recorded = True
    function: str | None = None
    """That the job's is to be in place of what ``-l`` says."""

    @property
    def longdesc(self) -> str:
        """What stands below the options."""
        return (
            f"{super().longdesc.partition(' Without a pipeline')[0]} The job is handed to the coordinator of this "
            "state directory where one runs. Else this command runs it, and keeps its record: `mu jobs`, `mu status`, "
            "`mu logs`, `mu retry` and `mu rm` work on it afterwards as well."
        )

    def parseArgs(self, *words: str) -> None:
        """The pipeline and its options."""
        if not words:
            raise UsageError("expected a pipeline: mu run PIPELINE [options]")
        super().parseArgs(*words)
        assert self.request is not None
        assert self.settings is not None
        named = [word.partition("=")[2] for word in self.request.words if word.startswith("--function=")]
        check_program(self, named[-1] if named else None)
        if self["tee"]:
            self.request = msgspec.structs.replace(self.request, tee=True)
        if self.function is not None:
            self.settings["function"] = self.function
            self.request = msgspec.structs.replace(
                self.request, words=(f"--function={self.function}", *self.request.words)
            )

    def postOptions(self) -> None:
        """Workers on this machine dial loopback, at any port."""
        if (self["local"] or os.environ.get("MU_LOCAL", "0") not in ("", "0")) and self["port"] == DEFAULT_PORT:
            self["port"] = LOCAL_PORT
        super().postOptions()

    @property
    def as_json(self) -> bool:  # type: ignore[override]
        """Whether the end of the job is printed as JSON."""
        return bool(self["json"])


def mismatch(options: Mapping[str, Any], daemon: Mapping[str, Any]) -> str | None:
    """Why a job cannot be handed to a coordinator that runs: it drives another Lambda than is asked for.

    :param options: those of ``mu run``.
    :param daemon: what the coordinator says of itself.
    :returns: one line for the user; None: it can.
    """
    who = f"the coordinator that runs here (process {daemon['pid']})"
    other = "stop it, or give another --state-dir"
    if "local" not in daemon:  # one of an older version does not say
        return None
    if options["local"] and daemon["local"] is None:
        return f"{who} drives AWS, and not the local stack that --local asks for: {other}"
    if not options["local"] and daemon["local"] is not None:
        return f"{who} drives the local stack in {daemon['local']}, and not AWS: give --local, {other}"
    return None


def ignored(options: Options) -> tuple[str, ...]:
    """Options that a coordinator which runs has its own of, so that those given mean nothing."""
    port = ("port",) if options["port"] == LOCAL_PORT else ()
    configured = options.configured.added if options.configured is not None else ()
    return typed_options(options, (*_HERE, *port, *configured))


def run(
    words: Sequence[str],
    configured: DefaultWords | None,
    function: str | None,
    state: StateDirectory,
    tee: TeePrinter | None = None,
) -> None:
    """Run the job of a command line, until it is over. As :func:`run_in_foreground`.

    :param configured: gives its options defaults of the user's own.
    :param function: that it is to have in place of what the words say.
    :param state: the state directory, which this process holds.
    :param tee: prints what programs print while they run; None: that is not asked for.
    """
    more = {"configured": configured, "function": function, "state": state, "tee": staticmethod(tee) if tee else None}
    kind = type("Options", (Options,), more)
    run_in_foreground("mu-coordinator", kind, makeService, words)


def run_map(
    words: Sequence[str],
    configured: DefaultWords,
    inputs: InputList | None,
    name: str | None,
    printer: ResultPrinter | None,
    state: StateDirectory,
    tee: TeePrinter | None = None,
) -> None:
    """Run a job of ``mu map`` until it is over. As :func:`run_in_foreground`.

    :param words: the command line, without inputs.
    :param configured: gives the coordinator's options defaults of the user's own.
    :param inputs: what its tasks work on; None: the words say it.
    :param name: what the job's name begins with; None: the pipeline's.
    :param printer: prints its results; None: they are not printed.
    :param state: the state directory, which this process holds.
    :param tee: prints what programs print while they run; None: that is not asked for.
    """
    more = {
        "command": "mu map",
        "configured": configured,
        "inputs": inputs,
        "job_name": name,
        "printer": printer,
        "state": state,
        "tee": staticmethod(tee) if tee else None,
    }
    run_in_foreground("mu-coordinator", type("Options", (Options,), more), makeService, words)


def retry(
    names: Sequence[str], state_dir: Path, daemon: Sequence[str], state: StateDirectory, *, as_json: bool = False
) -> None:
    """Run the failed tasks of jobs on record again, one job after the other. As :func:`run_in_foreground`.

    :param daemon: the options of the coordinator that ran them before.
    :param state: the state directory, which this process holds.
    """
    more = {"retried": tuple(names), "recorded": True, "as_json": as_json, "state": state}
    kind = type("Options", (options_for("mu retry", CoordinatorOptions),), more)
    run_in_foreground("mu-coordinator", kind, makeService, [*daemon, f"--state-dir={state_dir}"])
