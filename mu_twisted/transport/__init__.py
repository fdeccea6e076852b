"""The transport carries frames over mutual TLS, for every daemon. Knows nothing of what the frames mean."""

from mu_twisted.transport._choice import (
    Transport,
    TransportChoiceError,
    choose_transport,
    io_descriptors,
    io_threads,
)
from mu_twisted.transport._deadlines import Deadlines
from mu_twisted.transport._droplog import DropLog
from mu_twisted.transport._endpoints import TransportError, connect, listen
from mu_twisted.transport._every import Repetition, every
from mu_twisted.transport._factory import FrameFactory
from mu_twisted.transport._interfaces import ListeningPort, ReactorTime, TcpPort
from mu_twisted.transport._port_holder import why_not_listening
from mu_twisted.transport._protocol import (
    Bundle,
    FrameProtocol,
    LinkEnd,
    LinkStream,
    LinkStreams,
    Peer,
    Receiver,
)
from mu_twisted.transport._reasons import HANDSHAKE_FAULTS

__all__ = [
    "HANDSHAKE_FAULTS",
    "Bundle",
    "Deadlines",
    "DropLog",
    "FrameFactory",
    "FrameProtocol",
    "LinkEnd",
    "LinkStream",
    "LinkStreams",
    "ListeningPort",
    "Peer",
    "ReactorTime",
    "Receiver",
    "Repetition",
    "TcpPort",
    "Transport",
    "TransportChoiceError",
    "TransportError",
    "choose_transport",
    "connect",
    "every",
    "io_descriptors",
    "io_threads",
    "listen",
    "why_not_listening",
]
