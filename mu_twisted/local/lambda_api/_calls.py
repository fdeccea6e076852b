"""A checked call of Lambda's API, its reply, and the backend of all operations are defined here. Values only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred

from mu_twisted.local._functions import Function, FunctionStore
from mu_twisted.local.environments.invocation import Invocation, InvocationResult


@dataclass(frozen=True)
class ApiCall:
    """One checked request.

    :param name: the function's; empty where the request names none.
    :param region: the signature's.
    :param parameters: what the request gives, by the members of its shape.
    :param host: what the caller calls this endpoint.
    :param qualified: whether ``$LATEST`` is named.
    """

    name: str
    region: str
    parameters: Mapping[str, Any]
    host: str = ""
    qualified: bool = False


@dataclass(frozen=True)
class ApiReply:
    """What goes back: an object as JSON, or bytes as they are."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


Operation = Callable[[ApiCall], Awaitable[ApiReply]]


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
