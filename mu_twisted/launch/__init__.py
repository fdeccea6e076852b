"""The launch package makes many invocations at once: requests in C, decisions in jobs/, threads in between.

Knows Lambda's Invoke call, and nothing of jobs, tasks or what its outcomes are for.
"""

from mu_twisted.jobs import LaunchPolicy
from mu_twisted.launch._launcher import Launcher
from mu_twisted.launch._launchpar import launchpar
from mu_twisted.launch._values import Launch, LaunchError

__all__ = [
    "Launch",
    "LaunchError",
    "LaunchPolicy",
    "Launcher",
    "launchpar",
]
