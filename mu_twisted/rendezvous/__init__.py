"""The rendezvous: mailboxes for messages between workers, and the relay that serves them. Knows no coordinator."""

from mu_twisted.rendezvous._errors import Full, Refused, RendezvousError
from mu_twisted.rendezvous._limits import Limits
from mu_twisted.rendezvous._mailboxes import Mailboxes, Seat, Welcome
from mu_twisted.rendezvous._relay import Relay
from mu_twisted.rendezvous._shelf import Shelf
from mu_twisted.rendezvous._spill import Spill, SpillError

__all__ = [
    "Full",
    "Limits",
    "Mailboxes",
    "Refused",
    "Relay",
    "RendezvousError",
    "Seat",
    "Shelf",
    "Spill",
    "SpillError",
    "Welcome",
]
