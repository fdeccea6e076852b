"""Steps are how long work is interrupted: a generator that yields where others may have their turn.

Knows nothing of what is done, nor of what is done in between.
"""

import gc
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Work in steps; what it returns is its result."""

STEP = 100
"""Records or tasks after which long work may be interrupted: where a generator of the name ``...ing`` yields."""


def exhaust(steps: Steps[T]) -> T:
    """Do work without its pauses."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


@contextmanager
def uncollected(wanted: bool = True) -> Iterator[None]:
    """Collect no garbage in a step that makes very many objects which stay: the collector would go through all of them
    again and again, which takes several times as long as making them.
    """
    pauses = wanted and gc.isenabled()
    if pauses:
        gc.disable()
    try:
        yield
    finally:
        if pauses:
            gc.enable()
