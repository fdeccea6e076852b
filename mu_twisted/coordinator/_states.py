"""States of attempts, as they are kept, become names at times of the job here. Knows nothing of where they are kept."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from mu_twisted.base import printable
from mu_twisted.base.json_types import Json

MAX_STATES = 40
"""States of one attempt that are listed, the last ones."""


def shifted(states: Iterable[Sequence[Json]], begin: float) -> list[tuple[float, str]]:
    """States of an attempt as they are kept, at times from another zero.

    :param begin: when the attempt began.
    :returns: those whose name is not that of the one before, the last ones.
    :raises ValueError: they are damaged, as :class:`TypeError`.
    """
    named = [(float(at), printable(state_name(str(text)))) for at, text in states]
    if not named:
        return []
    zero = named[0][0]
    kept = [named[0], *(later for earlier, later in pairwise(named) if later[1] != earlier[1])]
    return [(round(begin + at - zero, 3), name) for at, name in kept[-MAX_STATES:]]


def state_name(text: str) -> str:
    """The name of a state as machines give it, ``encoding`` of ``3:(encoding)``."""
    return text.partition(":")[2].strip("()") or text
