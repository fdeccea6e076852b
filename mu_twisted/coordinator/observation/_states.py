"""States of attempts, as they are kept, become names at times of the job here. Knows nothing of where they are kept."""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from mu_twisted.base import printable
from mu_twisted.base.json_types import Json

_STEP = re.compile(r"(.*) \(#([0-9]+)\)", re.DOTALL)
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
    """The name of a state as machines give it: ``encoding`` of ``3:(encoding)``, ``encoding, step 2`` of
    ``3:((encoding) (#2))``, in which the second command of a list is under way.
    """
    name = _unwrapped(text.partition(":")[2])
    listed = _STEP.fullmatch(name)
    if listed is not None:
        name = f"{_unwrapped(listed[1])}, step {listed[2]}"
    return name or text


def _unwrapped(text: str) -> str:
    """A text without the brackets around all of it."""
    while text.startswith("(") and text.endswith(")"):
        depth = 0
        for at, letter in enumerate(text):
            depth += (letter == "(") - (letter == ")")
            if depth <= 0 and at < len(text) - 1:
                return text
        text = text[1:-1]
    return text
