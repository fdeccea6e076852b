"""An invocation and its result are held here, with errors in AWS's words. Values only."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime

from twisted.internet.defer import Deferred

LARGEST_RESPONSE = 6 * 1024 * 1024 + 100
LOG_TAIL = 4096


@dataclass(frozen=True)
class InvocationResult:
    """How an invocation ended.

    :param payload: the response's or the error's bytes.
    :param error: what ``X-Amz-Function-Error`` says, or None.
    :param log: at most the last 4 KiB of what was printed, AWS's own lines included.
    """

    payload: bytes
    error: str | None = None
    log: bytes = b""


@dataclass
class Invocation:
    """One invocation on its way through an environment.

    :param request_id: a UUID.
    :param payload: the event.
    :param arn: the invoked function's.
    :param client_context: JSON, or None.
    """

    request_id: str
    payload: bytes
    arn: str
    client_context: str | None = None
    result: Deferred[InvocationResult] = field(default_factory=Deferred)


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()


def timed_out(request_id: str, seconds: float) -> bytes:
    """The payload after the function's time is over."""
    return _error("Sandbox.Timedout", f"RequestId: {request_id} Error: Task timed out after {seconds:.2f} seconds")


def exited(request_id: str, status: int | None, reason: str) -> bytes:
    """The payload where the runtime ended in mid-invocation.

    :param status: exit status, negative for a signal; None where it never ran.
    :param reason: why it never ran.
    """
    if status is None:
        return _error("Runtime.ExitError", f"RequestId: {request_id} Error: {reason}")
    if status == 0:
        return _error("Runtime.ExitError", f"RequestId: {request_id} Error: Runtime exited without providing a reason")
    how = f"exit status {status}" if status > 0 else f"signal: {_SIGNALS.get(-status, f'signal {-status}')}"
    return _error("Runtime.ExitError", f"RequestId: {request_id} Error: Runtime exited with error: {how}")


_SIGNALS = {
    1: "hangup",
    2: "interrupt",
    3: "quit",
    4: "illegal instruction",
    6: "aborted",
    7: "bus error",
    8: "floating point exception",
    9: "killed",
    11: "segmentation fault",
    13: "broken pipe",
    14: "alarm clock",
    15: "terminated",
}


def too_large(size: int) -> bytes:
    """The payload where the response is more than Lambda carries."""
    return _error(
        "Function.ResponseSizeTooLarge",
        f"Response payload size ({size} bytes) exceeded maximum allowed payload size ({LARGEST_RESPONSE} bytes).",
    )


def report(request_id: str, milliseconds: float, memory: int, used: int | None) -> bytes:
    """Lambda's last lines in the log of an invocation.

    :param memory: the function's, in MB.
    :param used: the most that its environment has held, in bytes.
    """
    shown = min(memory, -(-used // (1 << 20))) if used is not None else memory
    return (
        f"END RequestId: {request_id}\nREPORT RequestId: {request_id}\tDuration: {milliseconds:.2f} ms\t"
        f"Billed Duration: {int(milliseconds) + 1} ms\tMemory Size: {memory} MB\tMax Memory Used: {shown} MB\t\n"
    ).encode()


def moment(now: float) -> str:
    """A moment as Lambda's log shows it."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
