"""Steps are how long work is interrupted: a generator that yields where others may have their turn.

Knows nothing of what is done, nor of what is done in between.
"""

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

STEP = 100
"""Records or tasks after which long work may be interrupted: where a generator of the name ``...ing`` yields."""


def exhaust(steps: "Generator[None, None, T]") -> T:
    """Do work without its pauses."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
