"""The error of a command line that does not say what is needed."""

from mu_twisted.base import MuError


class UsageError(MuError):
    """Exit status 2, as argparse has it."""
