"""Connections carry frames to a coordinator, a rendezvous or another worker, with TLS or without, and never block.

Knows addresses, sockets and certificates, not what a frame says.
"""

from worker_lambda.connection._dialling import DIAL_TIMEOUT, Partner, Target, is_loopback, resolve, tune
from worker_lambda.connection._frame_connection import FrameConnection
from worker_lambda.connection._socket_watch import SocketWatch
from worker_lambda.connection._streams import Stream, TlsStream
from worker_lambda.connection._tls import COORDINATOR, RENDEZVOUS, client_context, link_contexts, shown_identities

__all__ = [
    "COORDINATOR",
    "DIAL_TIMEOUT",
    "RENDEZVOUS",
    "FrameConnection",
    "Partner",
    "SocketWatch",
    "Stream",
    "Target",
    "TlsStream",
    "client_context",
    "is_loopback",
    "link_contexts",
    "resolve",
    "shown_identities",
    "tune",
]
