"""The end of a daemon: everything that it has opened, given back in order."""

import cProfile
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

_log = Logger()


def write_profile(profile: cProfile.Profile, path: str) -> None:
    """End a profile that :func:`~mu_twisted.daemons._start.open_profile` has begun."""
    profile.disable()
    profile.dump_stats(path)


async def close_in_turn(*steps: Callable[[], Any]) -> None:
    """Take the steps one after the other. One that fails is logged, and keeps none after it from being taken.

    :param steps: each may return a Deferred or a coroutine, which is waited for.
    """
    for step in steps:
        try:
            await maybeDeferred(step)
        except Exception:  # noqa: BLE001 - the journal, not least, is to be closed whatever happens before
            _log.failure("closing failed at {step}", step=getattr(step, "__qualname__", repr(step)))
