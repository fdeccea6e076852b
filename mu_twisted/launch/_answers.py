"""This module reads an endpoint's answers into words for the user that hold no secret. Pure; knows no connections."""

import json
import math
from collections.abc import Callable, Iterable

from mu_twisted.base import one_line
from mu_twisted.base.access_keys import AccessKeys
from mu_twisted.base.json_types import JsonObject
from mu_twisted.base.masking import masked
from mu_twisted.jobs import ACCEPTED, Answer, Fault
from mu_twisted.launch._launch import CANCELLED, NEVER, NO_ANSWER, UNREACHED, Result

LONGEST_REASON = 300
LONGEST_WAIT = 3600.0
"""Seconds that an endpoint may have the launcher wait, at most."""

_FAULTS = {NO_ANSWER: Fault.NO_ANSWER, NEVER: Fault.NEVER, UNREACHED: Fault.NO_ANSWER}
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException"})


def read_answers(
    results: Iterable[Result], endpoint: str, credentials: AccessKeys, *, hopeless: bool = False
) -> list[Answer]:
    """Turn the results of a batch into answers for the policy.

    :param endpoint: where it was sent, for the texts.
    :param credentials: with which it was signed, to keep them out of the texts.
    :param hopeless: whether launches that could not connect are not to be tried again.
    """
    shown = _shown_without(credentials)
    return [
        Answer(result.id, ACCEPTED)
        if result.status == ACCEPTED
        else _unreached(result, endpoint, shown)
        if hopeless and result.status == UNREACHED
        else _read(result, endpoint, shown)
        for result in results
    ]


def _unreached(result: Result, endpoint: str, shown: Callable[[str], str]) -> Answer:
    reason = f"{endpoint}: {shown(result.reason)}; it has never answered: is its URL right, and does it run?"
    return Answer(result.id, 0, reason, fault=Fault.NEVER)


def _read(result: Result, endpoint: str, shown: Callable[[str], str]) -> Answer:
    launch_id, status, reason = result.id, result.status, result.reason
    if status == CANCELLED:
        return Answer(launch_id, 0, reason, fault=Fault.CANCELLED)
    if status in _FAULTS:
        return Answer(launch_id, 0, f"{endpoint}: {shown(reason)}", fault=_FAULTS[status])
    body = _json_object(result.body)
    kind = result.error_type or shown(_text(body, "__type", "code", "Code").rpartition("#")[2])
    if 300 <= status <= 399:
        reason = f"{endpoint}: HTTP {status} is a redirect, which is not followed; is its URL right?"
    elif status < 300:
        reason = f"{endpoint}: expected HTTP {ACCEPTED}, got {status}; is this Lambda's endpoint?"
    else:
        reason = ": ".join(text for text in (kind or f"HTTP {status}", shown(_message(body))) if text)
    expired = status == 403 and (kind in _EXPIRED or b"token included in the request is expired" in result.body)
    return Answer(launch_id, status, reason, _retry_after(result.retry_after, body), Fault.EXPIRED if expired else None)


def _json_object(body: bytes) -> JsonObject:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(body: JsonObject, *names: str) -> str:
    for name in names:
        if isinstance(value := body.get(name), str) and value:
            return value
    return ""


def _message(body: JsonObject) -> str:
    """AWS's message, of several lines the first: the others repeat what was signed, the token included."""
    first = _text(body, "message", "Message", "errorMessage").split("\n", 1)[0].strip()
    reason = _text(body, "Reason")
    return f"{first} ({reason})".strip() if reason and reason not in first else first


def _retry_after(header: float | None, body: JsonObject) -> float | None:
    try:
        seconds = float(body["retryAfterSeconds"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return header
    if not 0 <= seconds < math.inf:
        return header
    return max(min(seconds, LONGEST_WAIT), header or 0.0)


def _shown_without(credentials: AccessKeys) -> Callable[[str], str]:
    secrets = [secret for secret in (credentials.token, credentials.secret_key) if secret]

    def shown(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "...")
        return one_line(masked(text), LONGEST_REASON - 3)

    return shown
