"""The rendezvous keeps mailboxes for messages between workers; its relay serves them. It knows no coordinator."""

from mu_twisted.rendezvous._counters import RelayCounts
from mu_twisted.rendezvous._errors import Full, PeerRefused, RendezvousError
from mu_twisted.rendezvous._limits import RelayLimits
from mu_twisted.rendezvous._mailboxes import Mailboxes, Subscription, Welcome
from mu_twisted.rendezvous._message_store import MessageStore
from mu_twisted.rendezvous._punch_service import PunchService
from mu_twisted.rendezvous._punching import PunchLimits
from mu_twisted.rendezvous._relay import Relay
from mu_twisted.rendezvous._spill import Spill, SpillError

__all__ = [
    "Full",
    "Mailboxes",
    "MessageStore",
    "PeerRefused",
    "PunchLimits",
    "PunchService",
    "Relay",
    "RelayCounts",
    "RelayLimits",
    "RendezvousError",
    "Spill",
    "SpillError",
    "Subscription",
    "Welcome",
]
