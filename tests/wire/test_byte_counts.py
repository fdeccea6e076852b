"""What a worker says that its task has moved is read as it was meant, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.wire import PeerError
from mu_twisted.wire.byte_counts import BYTE_COUNTS, ByteCounts, parse_byte_counts
from worker_lambda._event import BYTE_COUNTS as CAPABILITY
from worker_lambda._traffic import Traffic

NUMBERS = st.integers(0, 1 << 53)


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_what_the_worker_writes_is_read(retrieved: int, uploaded: int, sent: int, received: int) -> None:
    traffic = Traffic(wanted=True)
    traffic.add(retrieved=retrieved, sent=sent)
    traffic.add(uploaded=uploaded, received=received)
    counts = ByteCounts(retrieved, uploaded, sent, received)
    assert traffic.report() == counts.encode()
    assert parse_byte_counts(counts.encode()) == counts
    assert traffic.report() is None  # nothing has changed


def test_both_call_the_capability_the_same() -> None:
    assert BYTE_COUNTS == CAPABILITY


def test_members_of_later_versions_are_passed_over() -> None:
    assert parse_byte_counts(b'INFO:bytes:{"sent":3,"direct":"x"}') == ByteCounts(sent=3)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"INFO:bytes:5",
        b"INFO:bytes:{",
        b'INFO:bytes:{"sent":-1}',
        b'INFO:bytes:{"sent":1.5}',
        b'INFO:bytes:{"sent":true}',
        b'INFO:bytes:{"sent":null}',
        b'INFO:bytes:{"sent":9007199254740993}',
        b'INFO:bytes:{"sent":' + b"[" * 100_000,
        b'INFO:bytes:{"sent":' + b"9" * 10_000 + b"}",
        b'INFO:bytes:{"\xff":1}',
    ],
)
def test_anything_else_is_refused(message: bytes) -> None:
    with pytest.raises(PeerError, match=r"^expected INFO:bytes:"):
        parse_byte_counts(message)


def test_a_worker_that_was_not_asked_says_nothing() -> None:
    traffic = Traffic()
    traffic.add(sent=7)
    assert traffic.report() is None


def test_while_more_follows_not_each_reply_has_a_report_before_it_and_the_last_has() -> None:
    traffic = Traffic(wanted=True)
    reports = []
    for left in range(999, -1, -1):
        traffic.add(sent=1, more=left > 0)
        reports.append(traffic.report())
    assert reports[-1] == ByteCounts(sent=1000).encode()
    assert sum(report is not None for report in reports) < 500
    traffic.begin()
    assert traffic.report() is None
