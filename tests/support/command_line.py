"""What a ``mu`` command that was run in this process came to."""

from collections.abc import Callable

from mu_twisted.tls import RoleIdentity

OPERATOR = RoleIdentity("operator")


class Said:
    """What a command came to."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    def error(self) -> str:
        """Its one line of complaint."""
        assert self.err.startswith("error: "), self.err
        assert self.err.count("\n") == 1, self.err
        assert self.out == ""
        return self.err


Mu = Callable[..., Said]
"""Runs a command: its words in, what it came to out."""
