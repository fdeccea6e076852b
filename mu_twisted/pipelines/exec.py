"""exec runs one shell command a task, with no state machine to write.

``{n}`` in keys and command stands for the task's number, offset included; ``{in}`` and ``{out}`` in the command stand
for the files that the worker has in its private directory.
"""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from twisted.python import usage

from mu_twisted.fsm import Worker
from mu_twisted.pipelines import JobSettings, Pipeline, PipelineOptions, s3_key
from mu_twisted.pipelines._command_task import Transfer, fetch_run_store, file_name

_FIELD = re.compile(r"\{(n|in|out)(:0?[0-9]+d?)?\}")


class Options(PipelineOptions):
    """What exec takes besides the options of every job."""

    longdesc = (
        "Fetches the object at --in (if given), runs COMMAND in a shell, and stores what it made at --out (if given). "
        "In both keys and in COMMAND {n} is the task's number, {n:08d} the same with leading zeros; in COMMAND {in} "
        "and {out} are the input and output file."
    )
    optParameters = [
        ["in", None, None, "S3 key of a task's input", s3_key("--in")],
        ["out", None, None, "S3 key of a task's output", s3_key("--out")],
    ]
    synopsis = "[options] -- COMMAND"

    def parseArgs(self, *words: str) -> None:
        """The command: one word is taken as shell text, several as a program and its arguments."""
        self["command"] = words[0] if len(words) == 1 else shlex.join(words)

    def postOptions(self) -> None:
        """Whether there is a command, and one output for each task."""
        if not self["command"].strip():
            raise usage.UsageError("exec needs a command: exec [options] -- COMMAND")
        if "{out}" in self["command"] and self["out"] is None:
            raise usage.UsageError("the command uses {out}: say with --out under which key it is stored")
        if "{in}" in self["command"] and self["in"] is None:
            raise usage.UsageError("the command uses {in}: say with --in which object that is")
        for key in ("in", "out"):
            if self[key] is not None and re.search(r"\{(in|out)", self[key]):
                raise usage.UsageError(f"--{key}: only {{n}} can stand in a key")
        if self["out"] is not None and self["tasks"] > 1 and "{n" not in self["out"]:
            raise usage.UsageError(f"--out: {self['tasks']} tasks would overwrite one object; put {{n}} in the key")
        used = next((key for key in ("in", "out") if self[key] is not None), None)
        if used is not None and not self["bucket"]:
            raise usage.UsageError(f"--{used} is the key of an object: say in which bucket with -b BUCKET")


def fill(text: str, values: Mapping[str, Any]) -> str:
    """Replace ``{n}``, ``{n:08d}``, ``{in}`` and ``{out}``; other braces, a shell's own, stay."""

    def value(field: re.Match[str]) -> str:
        name, form = field[1], field[2]
        if name not in values or (form and name != "n"):
            return field[0]
        return format(values[name], form[1:] if form else "")

    return _FIELD.sub(value, text)


def outputs(settings: JobSettings, task: int) -> list[str]:
    """The object that a task stores, if any."""
    return [] if settings["out"] is None else [fill(settings["out"], {"n": settings["offset"] + task})]


async def run_command(w: Worker) -> None:
    """Fetch, run, store."""
    settings = w.settings
    values: dict[str, Any] = {"n": settings["offset"] + w.task}
    fetched, stored = list[Transfer](), None
    if settings["in"] is not None:
        key = fill(settings["in"], values)
        fetched.append(Transfer(key, file_name(key, "in")))
        values["in"] = fetched[0].file
    if settings["out"] is not None:
        key = fill(settings["out"], {"n": values["n"]})
        stored = Transfer(key, file_name(key, "out"))
        values["out"] = stored.file
    await fetch_run_store(w, fill(settings["command"], values), fetched, stored)


pipeline = Pipeline(
    name="exec",
    summary="run a shell command for each task",
    first=run_command,
    options=Options,
    outputs=outputs,
)
