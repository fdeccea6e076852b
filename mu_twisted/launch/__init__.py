"""Launches: thousands of Lambda invocations asked for with little CPU. C does the bytes, ``jobs`` the policy."""

from mu_twisted.jobs._launching import LaunchPolicy
from mu_twisted.launch._launcher import Launcher
from mu_twisted.launch._launchpar import launchpar
from mu_twisted.launch._types import Credentials, Launch, LaunchError, LaunchOutcome

__all__ = [
    "Credentials",
    "Launch",
    "LaunchError",
    "LaunchOutcome",
    "LaunchPolicy",
    "Launcher",
    "launchpar",
]
