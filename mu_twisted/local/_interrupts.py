"""Interrupts that wait, for blocking callers."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put an interrupt off until the block is done, so that a process that was just started is not lost sight of."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals do not come here
        return
    late: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: late.append(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        if late:
            signal.raise_signal(late[0])
