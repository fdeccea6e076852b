"""The client package asks a coordinator, by its control API: for the commands, and for programs in Python.

Importing it does not import Twisted. What a job of ``mu map`` is made of stands in modules beside it that do.
"""

from mu_twisted.client._address import coordinator_at, default_directory
from mu_twisted.client._client import Client, connect
from mu_twisted.client._control import Coordinator, RequestRefused
from mu_twisted.client._errors import UsageError
from mu_twisted.client._graph import GraphHandle, StageHandle
from mu_twisted.client._handover import (
    COMEBACK,
    COMEBACK_PAUSE,
    ReconnectingClient,
    free_or_served,
    handed_over,
    pipeline_source,
    submitted,
)
from mu_twisted.client._job_handle import JobHandle, Result
from mu_twisted.client._settings import UserSettings
from mu_twisted.client._transport import (
    ConnectionLost,
    CoordinatorError,
    NotServed,
    TlsTransport,
    UnixTransport,
    Unreachable,
)

__all__ = [
    "COMEBACK",
    "COMEBACK_PAUSE",
    "Client",
    "ConnectionLost",
    "Coordinator",
    "CoordinatorError",
    "GraphHandle",
    "JobHandle",
    "NotServed",
    "ReconnectingClient",
    "RequestRefused",
    "Result",
    "StageHandle",
    "TlsTransport",
    "UnixTransport",
    "Unreachable",
    "UsageError",
    "UserSettings",
    "connect",
    "coordinator_at",
    "default_directory",
    "free_or_served",
    "handed_over",
    "pipeline_source",
    "submitted",
]
