"""Lambda's answers, as the policy wants them. Bytes in, values out."""

import json
import math
from typing import Any

from mu_twisted.jobs._launching import ACCEPTED, Answer, Fault
from mu_twisted.launch import _launch

LONGEST_REASON = 400
_EXPIRED = {"ExpiredTokenException", "ExpiredToken"}
_EXPIRED_MESSAGE = "security token included in the request is expired"
_FAULTS = {
    _launch.NO_ANSWER: Fault.NO_ANSWER,
    _launch.CANCELLED: Fault.CANCELLED,
    _launch.NEVER: Fault.NEVER,
}


def answer_of(result: _launch.Result, endpoint: str) -> Answer:
    """What the policy needs to know of one result."""
    if result.status == ACCEPTED:
        return Answer(result.id, ACCEPTED)
    fault = _FAULTS.get(result.status)
    if fault is Fault.CANCELLED:
        return Answer(result.id, 0, result.reason, fault=fault)
    if fault is not None:
        return Answer(result.id, 0, one_line(f"{endpoint}: {result.reason}"), fault=fault)
    return _refusal(result)


def one_line(text: str) -> str:
    """The text without control characters and runs of blanks, cut to a length fit for a line."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(printable.split())
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 1] + "…"


def _refusal(result: _launch.Result) -> Answer:
    known = _json_object(result.body)
    error = result.error_type or _text(known, "__type", "code", "Code").rpartition("#")[2]
    message = _text(known, "message", "Message", "errorMessage")
    cause = _text(known, "Reason", "reason")
    fault = Fault.EXPIRED if result.status == 403 and (error in _EXPIRED or _EXPIRED_MESSAGE in message) else None
    if error and cause:
        error = f"{error} ({cause})"
    said = ": ".join(part for part in (error, message) if part)
    return Answer(
        result.id,
        result.status,
        one_line(said or _unknown(result.status, result.body)),
        retry_after=_retry_after(result.retry_after, known),
        fault=fault,
    )


def _unknown(status: int, body: bytes) -> str:
    text = one_line(body[:120].decode("utf-8", "replace"))
    if 200 <= status < 400:
        return f"HTTP {status} where Lambda says 202; is the endpoint Lambda's?"
    return f"HTTP {status}: {text}" if text else f"HTTP {status}"


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(known: dict[str, Any], *names: str) -> str:
    for name in names:
        if isinstance(found := known.get(name), str) and found:
            return found
    return ""


def _retry_after(header: float | None, known: dict[str, Any]) -> float | None:
    try:
        said = float(known["retryAfterSeconds"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return header
    if not math.isfinite(said) or said < 0:
        return header
    return max(min(said, 3600.0), header or 0.0)
