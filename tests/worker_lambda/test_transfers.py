"""Blocking work in threads beside the loop."""

import select
import threading
from collections.abc import Iterator

import pytest

from worker_lambda.programs._transfers import ThreadedTransfer, TransferThreads

LIMIT = 180.0
"""Seconds after which a test that still waits has failed."""


@pytest.fixture
def threads() -> Iterator[TransferThreads]:
    made = TransferThreads(3)
    yield made
    made.close(LIMIT)


def collect(threads: TransferThreads) -> None:
    while threads.active:
        assert select.select([threads.wake], [], [], LIMIT)[0], "nothing is finished"
        threads.collect()


def test_so_much_is_done_at_once_and_the_rest_waits(threads: TransferThreads) -> None:
    together, done = threading.Barrier(3), []
    for _ in range(30):
        threads.start(ThreadedTransfer(lambda _: together.wait(LIMIT) and None, lambda error: done.append(error)))
    collect(threads)
    assert done == [None] * 30


def test_whatever_work_raises_is_reported(threads: TransferThreads) -> None:
    def fail(error: BaseException) -> None:
        raise error

    errors: list[str | None] = []
    for error in (ValueError("no"), SystemExit("out"), KeyboardInterrupt()):
        threads.start(ThreadedTransfer(lambda _, error=error: fail(error), errors.append))  # type: ignore[misc]
        collect(threads)
    assert errors == ["ValueError: no", "SystemExit: out", "KeyboardInterrupt: "]
