"""Shows ``mu-coordinator`` to twistd."""

from twisted.application.service import ServiceMaker

coordinator = ServiceMaker(
    "mu-coordinator",
    "mu_twisted.daemons.coordinator",
    "Launch workers on AWS Lambda and drive each through its state machine.",
    "mu-coordinator",
)
