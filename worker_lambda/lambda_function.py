"""Lambda calls the entry here: ``worker_lambda.lambda_function.lambda_handler``."""

import os
import sys
from pathlib import Path

from mu_twisted.base import MuError
from worker_lambda._event import RUN_ONCE, parse_event
from worker_lambda._expansion import WorkerPaths
from worker_lambda._lambda_context import InitTime, LambdaContext
from worker_lambda._workdir import temporary_directory
from worker_lambda._worker import WorkerLoop

COMMAND_FILE = "mu_command"
"""At the zip's root: the command given when the function was made."""


_INIT = InitTime()


def lambda_handler(event: object, context: object = None) -> dict[str, object]:
    """Serve the coordinator that the event names, or run the command once; docs/protocol.md describes the event.

    Returns normally whatever happens, so that Lambda does not run it again; what went wrong is also printed, so that it
    is in the log's tail.

    :param event: decoded from JSON.
    :param context: Lambda's.
    :returns: ``{"ended": why}`` or ``{"error": why}``; in mode 0 ``retval``, ``output`` and ``command``.
    """
    return serve_event(event, context)


def serve_event(event: object, context: object = None, command_file: Path | None = None) -> dict[str, object]:
    """As :func:`lambda_handler`.

    :param command_file: holds the command; None: the function's own.
    """
    root = Path(os.environ.get("LAMBDA_TASK_ROOT") or Path(__file__).resolve().parent.parent)
    paths = WorkerPaths(root, command_file or root / COMMAND_FILE, temporary_directory())
    result: dict[str, object]
    try:
        parsed = parse_event(event)
        context = LambdaContext(context, _INIT.take())
        if parsed.mode == RUN_ONCE:
            from worker_lambda._mode0 import run_once

            return run_once(parsed, paths, context)
        result = {**WorkerLoop(parsed, paths, context, log).serve()}
    except MuError as error:
        result = {"error": str(error)}
    except Exception as error:  # noqa: BLE001 (a fault of ours: logged in full, and not worth a second invocation)
        import traceback

        log(traceback.format_exc().rstrip())
        result = {"error": " ".join(f"fault of the worker: {type(error).__name__}: {error}".split())[:500]}
    if "error" in result:
        log(f"error: {result['error']}")
    return result


def log(line: str) -> None:
    """A line for the function's log."""
    sys.stderr.write(f"mu worker: {line}\n")
    sys.stderr.flush()
