"""Errors of the local stack are for its user; API errors are answers to callers of the Lambda API."""

from __future__ import annotations

from collections.abc import Mapping

from mu_twisted.base import MuError


class LocalError(MuError):
    """The local stack cannot start or go on; one line says why and what to do."""


class ApiError(LocalError):
    """A refusal in AWS's shape: status, ``x-amzn-ErrorType`` and a JSON body with ``message``.

    :param status: HTTP status.
    :param code: AWS's error code, for example ``ResourceNotFoundException``.
    :param message: one line.
    :param details: further members of the body, for example ``Reason`` of a throttle.
    """

    def __init__(self, status: int, code: str, message: str, details: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = dict(details or {})


def invalid(message: str) -> ApiError:
    """A parameter that AWS would refuse: 400 ``InvalidParameterValueException``."""
    return ApiError(400, "InvalidParameterValueException", message)


def throttled(reason: str) -> ApiError:
    """Too many invocations at once: 429 with its ``Reason``, as AWS sends it."""
    return ApiError(429, "TooManyRequestsException", "Rate Exceeded.", {"Reason": reason})
