"""States of attempts, as they are kept, become names at times of the job here. Knows nothing of where they are kept."""

import re
from collections.abc import Mapping
from itertools import pairwise
from math import inf

from mu_twisted.base import printable
from mu_twisted.base.json_types import Json
from mu_twisted.jobs import AttemptStates

_STEP = re.compile(r"(.*) \(#([0-9]+)\)", re.DOTALL)
MAX_STATES = 40
"""States of one attempt that are listed, the last ones."""


def shifted(line: Mapping[str, Json], begin: float) -> list[tuple[float, str]]:
    """The states of an attempt by its line in the attempt file, at times from another zero.

    :param begin: when the attempt began.
    :returns: those whose name is not that of the one before, the last ones, less the one in which it ended.
    :raises ValueError: it is damaged, as :class:`LookupError` and :class:`TypeError`.
    """
    end = float(line["end"]) - _begin(line) if "end" in line else inf
    named = [(at, name) for at, name in _named(line) if at < end or at == 0]
    return [(round(begin + at, 3), name) for at, name in named[-MAX_STATES:]]


def attempt_states(line: Mapping[str, Json]) -> AttemptStates:
    """What an attempt did, by its line, less what took no time: so is the state in which it ended.

    :raises ValueError: it is damaged, as :class:`LookupError` and :class:`TypeError`.
    """
    named = _named(line)
    ends = [*(at for at, _ in named), float(line["end"]) - _begin(line)][1:]
    spans = [(at, end, name) for (at, name), end in zip(named, ends, strict=False) if end > at]
    return AttemptStates(spans, int(line.get("dropped", 0)))


def _named(line: Mapping[str, Json]) -> list[tuple[float, str]]:
    """When an attempt came into each state, seconds since it began, and the state's name."""
    begin = _begin(line)
    named = [(float(at) - begin, printable(state_name(str(text)))) for at, text in line["states"]]
    return named[:1] + [later for earlier, later in pairwise(named) if later[1] != earlier[1]]


def _begin(line: Mapping[str, Json]) -> float:
    return float(line["begin"] if "begin" in line else line["states"][0][0] if line["states"] else 0.0)


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
