"""A usage error says what a command line lacks."""

from mu_twisted.base import MuError


class UsageError(MuError):
    """Exit status 2, as argparse has it."""
