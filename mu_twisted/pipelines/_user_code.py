"""What a pipeline's author wrote is called here: what goes wrong in it is one line that names pipeline and place."""

import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mu_twisted.base import MuError, one_line
from mu_twisted.fsm import Interrupted
from mu_twisted.pipelines._guard import guard

T = TypeVar("T")

_OURS = Path(__file__).parents[1]


class PipelineError(MuError):
    """A pipeline cannot be found, loaded or used."""


class PipelineBlocked(PipelineError):
    """Its code was interrupted, as it lasted too long."""


def user_code(
    doing: str, function: Callable[..., T], *given: Any, expected: tuple[type[Exception], ...] = (MuError,)
) -> T:
    """Call a function of the author's, or one that leads to some, within the guard's time limit.

    So is a KeyboardInterrupt in a daemon, where the signal is handled and comes as no exception.

    :param doing: what is said if it fails, e.g. ``"pipeline p: its order cannot be found"``.
    :param expected: what it raises that is meant for the user as it is.
    :raises PipelineError: it raised anything else, ``SystemExit`` too: it is not the daemon that ends; or it lasted too
        long (:class:`PipelineBlocked`).
    """
    try:
        return guard.call_for_job(function, *given)
    except expected:
        raise
    except Interrupted as error:
        raise PipelineBlocked(f"{doing}: {error}") from None
    except BaseException as error:  # whatever it is that it raises
        if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            raise
        raise PipelineError(f"{doing}: {describe_error(error)}") from error


def describe_error(error: BaseException) -> str:
    """The exception's name and text, and where in the author's code: of a mistake in the syntax, the text says that.

    Of what mu's own code raises over a value that the author's has returned, no place is known.
    """
    where = ""
    for frame, line in traceback.walk_tb(None if isinstance(error, SyntaxError) else error.__traceback__):
        file = Path(frame.f_code.co_filename)
        if not (file.name.startswith("_") and file.is_relative_to(_OURS)):
            where = f" ({file.name}, line {line})"
    return f"{type(error).__name__}: {one_line(str(error))}{where}"
