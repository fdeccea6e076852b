"""The client package asks a coordinator, by its control API: for the commands, and for programs in Python.

Importing it does not import Twisted.
"""

from mu_twisted.client._control import Coordinator, RequestRefused
from mu_twisted.client._transport import (
    ConnectionLost,
    CoordinatorError,
    NotServed,
    TlsTransport,
    UnixTransport,
    Unreachable,
)

__all__ = [
    "ConnectionLost",
    "Coordinator",
    "CoordinatorError",
    "NotServed",
    "RequestRefused",
    "TlsTransport",
    "UnixTransport",
    "Unreachable",
]
