"""MuError is the root of all errors that this project raises on purpose."""


class MuError(Exception):
    """Every error of ours; its text is one line for the user: what, why, what to do."""
