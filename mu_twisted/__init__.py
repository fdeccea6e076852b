"""mu runs thousands of native programs at once, each driven by its own state machine.

This module imports nothing by itself, as it travels in the worker's zip; :func:`connect` comes when it is asked for.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from mu_twisted.client import connect

__all__ = ["connect"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mu_twisted import client

    return getattr(client, name)
