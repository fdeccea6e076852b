"""Connections that have something to send while a read is gone through send it afterwards, each once."""

from typing import Protocol


class Deliverer(Protocol):
    """A connection for links."""

    def deliver(self) -> None:
        """Send what there is, as far as the worker takes it."""


class DueDeliveries:
    """Puts deliveries off, from a :meth:`begin` to its :meth:`end`."""

    def __init__(self) -> None:
        self._due: dict[Deliverer, None] | None = None

    def begin(self) -> bool:
        """Put deliveries off from now on.

        :returns: whether to call :meth:`end`; False: that is another's, which has begun before.
        """
        if self._due is not None:
            return False
        self._due = {}
        return True

    def put_off(self, connection: Deliverer) -> bool:
        """Have a connection deliver later, if it is to be later.

        :returns: whether it is; else it may at once.
        """
        if self._due is None:
            return False
        self._due[connection] = None
        return True

    def end(self) -> None:
        """Have those deliver that were put off."""
        due, self._due = self._due or {}, None
        for connection in due:
            connection.deliver()
