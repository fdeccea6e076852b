"""calls runs Python functions for programs that call them: each task is a call, and tasks are added meanwhile.

A call is pickled by its caller, and so is its answer by the worker; neither is read here. What is too long for a
command or an output goes through S3, and its SHA-256 with the call or the answer.
"""

from typing import Any

from twisted.python import usage

from mu_twisted.fsm import Worker
from mu_twisted.pipelines import InputList, Pipeline, PipelineOptions

RUNNER = "mu_call.py"
"""In the function's package: unpickles the call, does it, and pickles the answer."""
STORED = "stored"
"""Says of a call, and of an answer, that it lies in S3."""
NOWHERE = "-"
"""In place of the key of a result: it may not go through S3."""
_DIRECTORY = "##TMPDIR##"


class Options(PipelineOptions):
    """What calls take besides the options of every job."""

    longdesc = "Runs Python functions for `mu.executor` of a program in Python, which adds calls while the job runs."
    optParameters = [["bucket", "b", None, "S3 bucket of long arguments and results"]]

    def take_inputs(self, inputs: InputList) -> None:
        """Calls that came beside the words."""
        self["inputs"] = [inputs.whole(number) for number in range(len(inputs))]

    def postOptions(self) -> None:
        """There are calls."""
        if not self.get("inputs"):
            raise usage.UsageError("calls come from a program in Python: see docs/python.md")
        self["tasks"] = len(self["inputs"])


def extend(settings: Any, inputs: InputList) -> int:
    """Take further calls into the settings."""
    more = [inputs.whole(number) for number in range(len(inputs))]
    settings["inputs"].extend(more)
    settings["tasks"] += len(more)
    return len(more)


async def do_call(w: Worker) -> None:
    """One call: ``RESULT inline BASE64`` or ``RESULT stored KEY SHA256``; a long result is stored under RESULT."""
    result, where, call = w.settings["inputs"][w.task].split(" ", 2)
    command = f"./{RUNNER} {_DIRECTORY} {int(result != NOWHERE)}"
    if where == STORED:
        key, digest = call.split(" ")
        w.extra = "fetching"
        await w.retrieve(key, f"{_DIRECTORY}/call")
        w.extra = "running"
        await w.run(f"{command} {digest}")
    else:
        w.extra = "running"
        await w.run(f"{command} <<'.'\n{call}\n.\n")
    answer = await w.run(f"cat {_DIRECTORY}/answer")
    if answer.output.startswith(STORED):
        w.extra = "storing"
        await w.upload(result, f"{_DIRECTORY}/result")


pipeline = Pipeline(
    name="calls",
    summary="run Python functions for a program that calls them",
    first=do_call,
    options=Options,
    extends=extend,
)
