"""The base holds what every layer may use: the root of all errors, masking, text fit to be shown.

Knows the standard library only, and travels to the worker.
"""

from mu_twisted.base._errors import MuError
from mu_twisted.base._text import byte_size, counted, one_line, printable, terminal_safe, unicode_only

__all__ = ["MuError", "byte_size", "counted", "one_line", "printable", "terminal_safe", "unicode_only"]
