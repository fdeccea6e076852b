"""Failures are put into the terms of jobs and of their users here: a machine's by its worker's words, or our own."""

import re

from mu_twisted.base import printable
from mu_twisted.fsm import Machine
from mu_twisted.jobs import Failure, is_hopeless
from mu_twisted.wire import failure_code
from mu_twisted.wording import explain_exit, is_out_of_memory

_CHANNEL = ("FAIL(the peer channel", "FAIL(rendezvous:", "FAIL(could not connect to")
_LINK = re.compile(r"FAIL\((?:sending|receiving) .*: (?:rendezvous: |no link to the rendezvous )", re.DOTALL)
"""How a worker begins to say that its messages have no way."""
_PIPE = re.compile(r"FAIL\(pipe '[^']*' (?:to|from) task [0-9]+ broke: ")
"""How a worker begins to say that a pipe broke, whose other end, or the way to it, has failed."""
_DIFFERS = "not deterministic"
_LAST_LINES = 10
_LONGEST_LINE = 150
"""Lines of an output that are shown, and characters of one."""
_TRANSFER = re.compile(
    r"(?:uploading (?P<file>.*?)->(?P<bucket>[^:/]*):(?P<key>.*?) to s3: |retrieving .*? from s3: )(?=.)", re.DOTALL
)
"""How a worker begins to say that a transfer has failed; object and file stand in what follows, too."""
_NAMED_BY_HASH = re.compile(r"(?<=^the process) [0-9a-f]{16}(?= )")
"""A program that stays has a name of its own only where the script gives it one."""
_PRIVATE = re.compile(r".*/mu_worker_[^/]*/")
"""A worker's private directory."""


def failure_of(machine: Machine) -> tuple[Failure, int | None, str]:
    """Kind, exit status and text of a failed machine's error.

    A reply that no state expected is a mistake of the pipeline, unless it says that something has failed. Of a script
    the error says what has failed, and not what was expected; of a pipeline that comes with mu not its place either.

    :returns: the text's first line says what has failed; the last lines of a program's output follow it.
    """
    error = machine.error or "failed"
    place = "" if machine.built_in or machine.where is None else f"{machine.where}: "
    reply = machine.reply or ""
    if machine.status is not None:
        if machine.where is not None:
            error = printable(f"{place}{_ending(machine.status)}") + _last_lines(machine.output or "")
        elif is_out_of_memory(machine.status):
            error = f"{error}: {explain_exit(machine.status)}"
        return Failure.EXIT, machine.status, error
    if not reply.startswith("FAIL"):
        if machine.built_in and machine.where is not None and not reply:
            error = error.removeprefix(f"{machine.where}: ")
        return Failure.MACHINE, None, error
    if machine.where is not None and (machine.built_in or machine.is_script):
        error = printable(place + _spelt_bytes(_reason(reply)))
    if is_hopeless(failure_code(reply)):
        return Failure.HOPELESS, None, error
    if reply.startswith(_CHANNEL) or _LINK.match(reply) or _PIPE.match(reply):
        return Failure.CHANNEL, None, error
    return (Failure.DIFFERS if _DIFFERS in reply else Failure.REPLY), None, error


def _ending(status: int) -> str:
    how = explain_exit(status)
    return f"the command {'was ' if how.startswith('killed') else 'ended with '}{how}"


def _last_lines(output: str) -> str:
    """The end of a program's output, each line indented in one of its own."""
    lines = [line.rstrip()[-_LONGEST_LINE:] for line in _spelt_bytes(output).splitlines() if line.strip()]
    return "".join(f"\n    {printable(line.expandtabs(4))}" for line in lines[-_LAST_LINES:])


def _reason(reply: str) -> str:
    """What a FAIL says, without what it repeats."""
    text = _NAMED_BY_HASH.sub("", reply.partition("(")[2].removesuffix(")"), count=1)
    found = _TRANSFER.match(text)
    if found is None:
        return text or reply
    if found["file"] is not None and failure_code(reply) == "NoSuchFile":
        name = _PRIVATE.sub("", found["file"])
        return f"the command made no output file: there is no {name} to store as {found['bucket']}/{found['key']}"
    return text[found.end() :]


def _spelt_bytes(text: str) -> str:
    """The text with bytes that are no UTF-8 spelt out as such."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def own_fault(error: Exception) -> str:
    """The error for a fault of the coordinator itself."""
    return printable(f"a fault of the coordinator itself, its log has more: {type(error).__name__}: {error}"[:500])


def joined_lines(error: str) -> str:
    """An error's lines as one, with a bar between them."""
    return " | ".join(line.strip() for line in error.splitlines())
