"""MuError is the root of all errors that this project raises on purpose."""


class MuError(Exception):
    """Every error of ours; its text is one line for the user: what, why, what to do."""

    misuse = False
    """Whether what was asked for is wrong in itself: the exit status of a command is 2 then, else 1."""
