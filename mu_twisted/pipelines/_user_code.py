"""Calls of what a pipeline's author wrote: whatever goes wrong in there is one line that names pipeline and place."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mu_twisted.wire import MuError


class PipelineError(MuError):
    """A pipeline cannot be found, loaded or used."""


@contextmanager
def user_code(doing: str, passing: tuple[type[Exception], ...] = (MuError,)) -> Iterator[None]:
    """Turn what the body raises into a :class:`PipelineError`, ``sys.exit()`` too: it is not the daemon that ends.

    So is a KeyboardInterrupt in a daemon, where the signal is handled and comes as no exception.

    :param doing: what is said of it, e.g. ``"pipeline p: its order cannot be told"``.
    :param passing: what is meant for the user as it is.
    """
    try:
        yield
    except passing:
        raise
    except BaseException as error:  # whatever it is that it raises
        if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            raise
        raise PipelineError(f"{doing}: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """The exception's name and text, and where it was raised: of a mistake in the syntax, the text tells that."""
    where = ""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    if at is not None and not isinstance(error, SyntaxError):
        where = f" ({Path(at.tb_frame.f_code.co_filename).name}, line {at.tb_lineno})"
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"
