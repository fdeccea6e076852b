"""The ``mu`` command does what is done once and by hand, beside the daemons that run under twistd."""

from mu_twisted.cli._main import main

__all__ = ["main"]
