"""Shows ``mu-rendezvous`` to twistd."""

from twisted.application.service import ServiceMaker

mu_rendezvous = ServiceMaker(
    "mu-rendezvous",
    "mu_twisted.daemons.rendezvous",
    "Carry messages between workers that can only dial out.",
    "mu-rendezvous",
)
