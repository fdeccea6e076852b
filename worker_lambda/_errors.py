"""A worker error is the worker's branch of the project's errors."""

from mu_twisted.base import MuError


class WorkerError(MuError):
    """Something that ends the worker; the text is one line."""


class EventError(WorkerError):
    """The event lacks something, or a value of it cannot be used."""


class DialError(WorkerError):
    """A peer cannot be reached, or its certificate does not name the expected role.

    :ivar final: whether trying again cannot help.
    """

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class CommandFailure(MuError):
    """One command cannot be carried out; the text is the reason inside ``FAIL(...)``.

    :ivar code: the failure's, see :func:`mu_twisted.wire.fail`; empty where another attempt may do better.
    """

    def __init__(self, reason: str, code: str = "") -> None:
        super().__init__(reason)
        self.code = code
