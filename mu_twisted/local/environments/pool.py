"""The pool chooses an environment for each invocation, and limits how many there are."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from mu_twisted.local._errors import ApiError, throttled
from mu_twisted.local._functions import Function
from mu_twisted.local.environments._environment import Environment, Host
from mu_twisted.local.environments.invocation import Invocation, InvocationResult

_MAX_IDLE_OVER = 64


@dataclass(frozen=True)
class PoolLimits:
    """What all environments together may be.

    :param concurrency: invocations at once, over all functions.
    :param idle: seconds after which an environment without work ends.
    """

    concurrency: int = 1000
    idle: float = 60.0


class EnvironmentPool:
    """All environments, by name.

    :param clock: for time-outs.
    :param now: seconds since the epoch, for deadlines.
    :param host: where environments are made.
    :param limits: for all of them.
    :param on_freed: called when an invocation more could be taken.
    """

    def __init__(
        self, clock: Any, now: Callable[[], float], host: Host, limits: PoolLimits, on_freed: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._now = now
        self._host = host
        self._limits = limits
        self._on_freed = on_freed
        self._environments: dict[str, Environment] = {}
        self._active: dict[str, int] = {}
        self._reserved: dict[str, int] = {}
        self._stopped = False

    def __len__(self) -> int:
        return len(self._environments)

    def reserve(self, function: str, concurrency: int | None) -> None:
        """Set a function's reserved concurrency; None takes it away."""
        if concurrency is None:
            self._reserved.pop(function, None)
        else:
            self._reserved[function] = concurrency

    def refusal(self, function: str) -> str | None:
        """AWS's reason why one more invocation cannot be taken now, or None."""
        active = self._active.get(function, 0)
        reserved = self._reserved.get(function)
        if reserved is not None:
            return "ReservedFunctionConcurrentInvocationLimitExceeded" if active >= reserved else None
        others = sum(self._active.get(name, 0) for name in self._reserved)
        kept = sum(self._reserved.values())
        unreserved = sum(self._active.values()) - others
        if unreserved >= max(0, self._limits.concurrency - kept):
            return "ConcurrentInvocationLimitExceeded"
        return None

    def invoke(self, function: Function, invocation: Invocation) -> Deferred[InvocationResult]:
        """Run one invocation.

        :raises ApiError: 429 with a reason where there are too many; 503 when the stack is stopping.
        """
        reason = self.refusal(function.name)
        if reason is not None:
            raise throttled(reason)
        if self._stopped:
            raise ApiError(503, "ServiceUnavailableException", "The local stack is stopping.")
        self._active[function.name] = self._active.get(function.name, 0) + 1
        warm = next((e for e in self._environments.values() if e.idle and self._fits(e, function)), None)
        if warm is not None:
            warm.give(invocation)
        else:
            self._make_room()
            environment = Environment(
                function,
                uuid.uuid4().hex,
                listener=self,
                host=self._host,
                clock=self._clock,
                now=self._now,
                idle=self._limits.idle,
            )
            self._environments[environment.name] = environment
            environment.start(invocation)
        return invocation.result

    def retire_stale(self, function: str, revision: str | None) -> None:
        """The function has changed or is gone: environments of other revisions take no more work."""
        for environment in list(self._environments.values()):
            if environment.function.name == function and environment.function.revision != revision:
                environment.retired = True
                if environment.idle:
                    environment.end()

    def codes(self) -> set[str]:
        """The code that environments run now."""
        return {environment.function.code for environment in self._environments.values()}

    def find(self, name: str) -> Environment | None:
        return self._environments.get(name)

    def ended(self, environment: Environment) -> None:
        environment.retired = True

    def gone(self, environment: Environment) -> None:
        if self._environments.pop(environment.name, None) is not None:
            self._host.clear(environment)

    def lost(self) -> None:
        """Every process is gone at once."""
        for environment in list(self._environments.values()):
            environment.gone()

    def freed(self, environment: Environment) -> None:
        name = environment.function.name
        self._active[name] -= 1
        if not self._active[name]:
            del self._active[name]
        if not self._stopped:
            self._clock.callLater(0, self._on_freed)

    def stop(self) -> None:
        """Take no more invocations."""
        self._stopped = True

    @staticmethod
    def _fits(environment: Environment, function: Function) -> bool:
        return (
            not environment.retired
            and environment.function.name == function.name
            and (environment.function.revision == function.revision)
        )

    def _make_room(self) -> None:
        """End an idle environment where there are more than the limit, as those of other functions stay warm."""
        if len(self._environments) >= self._limits.concurrency + _MAX_IDLE_OVER:
            for environment in self._environments.values():
                if environment.idle:
                    environment.end()
                    return
