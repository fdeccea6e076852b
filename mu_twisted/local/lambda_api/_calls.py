"""A checked call of Lambda's API, its reply, and the backend of all operations are defined here. Values only."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred

from mu_twisted.local._errors import ApiError
from mu_twisted.local._functions import Function, FunctionStore
from mu_twisted.local.environments._invocation import Invocation, InvocationResult


@dataclass(frozen=True)
class ApiCall:
    """One checked request.

    :param name: the function's, from the path; empty where there is none.
    :param region: the signature's.
    """

    name: str
    region: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    host: str

    def json(self) -> dict[str, Any]:
        """The body as an object.

        :raises ApiError: 400 where it is none.
        """
        try:
            value = json.loads(self.body) if self.body else {}
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise ApiError(400, "SerializationException", "The body must be a JSON object.")
        return value


@dataclass(frozen=True)
class ApiReply:
    """What goes back: an object as JSON, or bytes as they are."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[ApiCall], Awaitable[ApiReply]]


@dataclass(frozen=True)
class Backend:
    """What the API stands on.

    :param functions: those that exist.
    :param invoke: runs one invocation; refuses with an :class:`ApiError`.
    :param enqueue: queues an event; False where too many wait.
    :param unpack: unpacks a package, so that a function may have it; refuses with an :class:`ApiError`.
    :param tidy: removes unpacked code that no function has.
    :param changed: called when a function has changed or, with None, has gone.
    :param fetch: reads a package from S3 by bucket, key and version.
    :param concurrency: invocations at once, over all functions.
    """

    functions: FunctionStore
    invoke: Callable[[Function, Invocation], Deferred[InvocationResult]]
    enqueue: Callable[[Function, str, bytes], bool]
    unpack: Callable[[bytes], Deferred[None]]
    tidy: Callable[[], None]
    changed: Callable[[str, Function | None], None]
    fetch: Callable[[str, str, str | None], Deferred[bytes]]
    concurrency: int
