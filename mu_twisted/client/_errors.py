"""A usage error says what a caller asks for that makes no sense."""

from mu_twisted.base import MuError


class UsageError(MuError):
    """A request is wrong in itself; of a command the exit status is 2, as argparse has it."""

    misuse = True
