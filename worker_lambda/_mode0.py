"""Mode 0 runs the packaged command once, without a coordinator."""

import selectors
import time

from worker_lambda._errors import WorkerError
from worker_lambda._event import LaunchEvent
from worker_lambda._expansion import WorkerPaths, expand_run
from worker_lambda._lambda_context import LambdaContext, Timing
from worker_lambda._variables import Variables
from worker_lambda._workdir import WorkDirectory, sweep
from worker_lambda.programs import CommandRuns
from worker_lambda.programs.program import Program


def run_once(
    event: LaunchEvent, paths: WorkerPaths, context: LambdaContext, timing: Timing | None = None
) -> dict[str, object]:
    """Run the command that was given when the function was made, placeholders replaced.

    :returns: ``retval``, ``output`` (text, at most the last 64 KiB) and ``command``; ``remark``, where a program that
        the command left in the background was not waited for.
    :raises MuError: it cannot be run, or the function's time is up first; its processes have been ended then.
    """
    timing = timing or Timing()
    remaining = context.remaining_ms()
    deadline = None if remaining is None else time.monotonic() + remaining / 1000 - timing.margin
    if event.variables.get(b"rm_tmpdir", b"1") != b"0":
        sweep(paths.temporary)
    ended: list[Program] = []
    variables, directory = Variables(event.variables), WorkDirectory(paths.temporary)
    with selectors.DefaultSelector() as selector:
        runs = CommandRuns(selector, paths.root, timing.background)
        try:
            runs.run(expand_run(b"", event, variables, paths, directory.path), ended.append)
            while not ended:
                wait = runs.tick()
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise WorkerError("the function's time is up")
                due = [each for each in (wait, left) if each is not None]
                for key, events in selector.select(min(due) if due else None) if not ended else ():
                    key.data(events)
        finally:
            runs.close()
            directory.close(remove=variables.flag(b"rm_tmpdir"))
    status, output = ended[0].result()
    remark = ended[0].remark.decode("utf-8", "replace")
    return {
        "retval": status,
        "output": output.decode("utf-8", "replace"),
        "command": ended[0].command.decode("utf-8", "replace"),
        **({"remark": remark} if remark else {}),
    }
