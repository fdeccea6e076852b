"""The local stack is the embedded default: a Lambda-compatible endpoint and an S3, in a process of this machine.

Knows nothing of coordinators or workers; they know only its addresses. What runs it is in
:mod:`mu_twisted.local.service`, which costs time to import and is for its own daemon only.
"""

from mu_twisted.local._errors import ApiError, LocalError
from mu_twisted.local._settings import Settings
from mu_twisted.local._stack import RunningStack, Stack, ensure, find, start, stop, uninterrupted
from mu_twisted.local._state import default_state_dir, running_stacks

__all__ = [
    "ApiError",
    "LocalError",
    "RunningStack",
    "Settings",
    "Stack",
    "default_state_dir",
    "ensure",
    "find",
    "running_stacks",
    "start",
    "stop",
    "uninterrupted",
]
