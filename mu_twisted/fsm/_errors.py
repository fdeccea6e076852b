"""This module makes one bounded line of whatever goes wrong in a state machine."""

import os
import re
import traceback
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType, TracebackType

from mu_twisted.base import MuError, one_line

_PACKAGE = str(Path(__file__).parent) + os.sep
_LIBRARY = str(Path(os.__file__).parent) + os.sep
_SHOWN = 300
_WHOLE_LINE = 1000
_KEYS = re.compile(r"(identity:|token:)[A-Za-z0-9+/=]{16,}( [A-Za-z0-9+/=]+)*")


class FSMError(MuError):
    """A state machine or script is wrong, or its worker said what it must not say."""


class StateFault(FSMError):
    """An error with the state's name already in its text; it ends the machine that it happened in.

    :ivar reply: the worker's message that caused it, if one did.
    :ivar status: the exit status of the run that caused it, if one did.
    :ivar output: what that run has printed.
    :ivar where: the place alone, where the message, the run, or what a script has to say to its user, is all the rest.
    """

    def __init__(
        self,
        text: str,
        *,
        reply: str | None = None,
        status: int | None = None,
        output: str | None = None,
        where: str | None = None,
    ) -> None:
        super().__init__(text)
        self.reply = reply
        self.status = status
        self.output = output
        self.where = where


class Interrupted(BaseException):
    """A call of a pipeline's code was interrupted, as it lasted too long: raised into it from outside.

    No exception of the code's own, so states and scripts do not take it for one: it leaves the machine, which is of no
    use any more.
    """


PROPAGATED = (KeyboardInterrupt, Interrupted)
"""What goes through states and scripts, as it is none of their mistakes."""


def without_keys(message: str) -> str:
    """A message without what is secret in a command that a worker sends back, or says to be wrong."""
    return _KEYS.sub(r"\1<secret>", message)


def show(what: object) -> str:
    """A message, or any value, as it may stand in an error: one printable line, long ones cut in the middle.

    The end is kept longer than the beginning, since the cause of a failed run is in the last lines of its output.
    """
    if not isinstance(what, str):
        text = repr(what)
        return show(text) if len(text) > _SHOWN else one_line(text, _SHOWN)
    if len(what) > _SHOWN:
        head, tail = _SHOWN // 3, _SHOWN - _SHOWN // 3
        return f"{what[:head]!r} ... {what[-tail:]!r} ({len(what)} characters)"
    return repr(what)


def error_line(text: str) -> str:
    """An error's text on one line of bounded length."""
    return one_line(text, _WHOLE_LINE)


def fault(where: str, error: BaseException) -> StateFault:
    """What an exception out of a state's own code becomes.

    :param where: e.g. ``state Config``.
    :returns: a fault that names the state, the exception, and the line of the user's code; a fault stays as it is.
    :raises KeyboardInterrupt: that one is the user's, and goes through, as :class:`Interrupted` does.
    """
    if isinstance(error, StateFault):
        return error
    if isinstance(error, PROPAGATED):
        raise error
    place = user_line(error.__traceback__)
    place = f" ({place})" if place else ""
    return StateFault(error_line(f"{where}: {describe(error)}{place}"))


def describe(error: BaseException) -> str:
    """An exception in a few words; those of the project need no class name."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a user's exception may not even have a text
        text = "(its text cannot be made)"
    if isinstance(error, MuError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def user_line(tb: TracebackType | None) -> str:
    """File, line and function of the innermost frame of the user's own code, or an empty text."""
    for frame, line in reversed(list(traceback.walk_tb(tb))):
        code = frame.f_code
        if not is_ours(code.co_filename) and not _of_python(code.co_filename):
            return place_of(code.co_filename, line, code.co_name)
    return ""


def user_place(frame: FrameType, until: CodeType) -> str:
    """Where a call stands: the innermost frame that is of the user's own code, else the innermost.

    :param until: the code of the caller's frame, which is outside.
    """
    at: FrameType | None = frame
    while at is not None and at.f_code is not until:
        code = at.f_code
        if not is_ours(code.co_filename) and not _of_python(code.co_filename):
            return place_of(code.co_filename, at.f_lineno, code.co_name)
        at = at.f_back
    return place_of(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


def _of_python(filename: str) -> bool:
    if filename.startswith("<frozen "):
        return True
    return filename.startswith(_LIBRARY) and "site-packages" not in filename


def place_of(filename: str, line: int, function: str) -> str:
    """A place in the user's code as errors name it."""
    return f"{Path(filename).name} line {line}, in {function}"


@lru_cache(maxsize=1000)
def is_ours(filename: str) -> bool:
    """Whether a code object belongs to this package, and so says nothing to a user."""
    return filename.startswith(_PACKAGE)
