"""The codec's rules, on every split that hypothesis finds."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.wire import HEADER_SIZE, CallerError, Decoder, FrameError, _frames, encode

LIMIT = 100_000
payloads_lists = st.lists(st.one_of(st.binary(max_size=40), st.binary(min_size=4000, max_size=9000)), max_size=6)
cut_lists = st.lists(st.integers(0, 60_000), max_size=20)


def split(stream: bytes, cuts: list[int]) -> Iterator[bytes]:
    bounds = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in pairwise(bounds):
        yield stream[start:end]


@given(payloads_lists, cut_lists)
def test_every_split_of_a_stream_gives_the_same_payloads(payloads: list[bytes], cuts: list[int]) -> None:
    decoder = Decoder(LIMIT)
    stream = b"".join(map(encode, payloads))
    got = [payload for piece in split(stream, cuts) for payload in decoder.feed(piece)]
    assert got == payloads
    assert decoder.pending == 0


@given(payloads_lists)
def test_a_stream_fed_byte_by_byte_gives_the_same_payloads(payloads: list[bytes]) -> None:
    decoder = Decoder(LIMIT)
    stream = b"".join(map(encode, payloads))
    assert [got for at in range(len(stream)) for got in decoder.feed(stream[at : at + 1])] == payloads


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_may_be_fed_and_reused_by_its_owner(kind: Any) -> None:
    stream = bytearray(encode(b"first") + encode(b"second")[:-1])
    decoder = Decoder(LIMIT)
    got = decoder.feed(kind(stream))
    stream[:] = bytes(len(stream))
    assert got + decoder.feed(b"d") == [b"first", b"second"]
    assert all(type(payload) is bytes for payload in got)


@given(st.binary(max_size=30), st.integers(0, 42))
def test_pending_counts_the_bytes_of_the_incomplete_frame(payload: bytes, cut: int) -> None:
    stream = encode(payload)
    cut %= len(stream)
    decoder = Decoder(LIMIT)
    assert decoder.feed(stream[:cut]) == []
    assert decoder.pending == cut
    assert decoder.feed(stream[cut:]) == [payload]
    assert decoder.pending == 0


BAD_HEADERS = [
    b"GET / HTTP/1.1",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abc",
    b"+00000000001 ",
    b"-00000000001 ",
    b"0000000001_1 ",
    b"            1",
    b"000000000001x",
    b"0000000000010",
    "٠٠٠٠٠٠".encode(),
    b"000000100001 ",
    b"966367641600 ",
    b"999999999999 ",
]


@given(payloads_lists, st.sampled_from(BAD_HEADERS), st.binary(max_size=50), cut_lists)
def test_a_bad_header_raises_at_once_with_what_was_completed_before(
    payloads: list[bytes], header: bytes, rest: bytes, cuts: list[int]
) -> None:
    decoder = Decoder(LIMIT)
    stream = b"".join(map(encode, payloads)) + header + rest
    got: list[bytes] = []

    def feed() -> None:
        fed = 0
        for piece in split(stream, cuts):
            fed += len(piece)
            got.extend(decoder.feed(piece))
            assert fed < len(stream) - len(rest), "the header was complete and nothing was raised"

    with pytest.raises(FrameError) as caught:
        feed()
    assert got + caught.value.completed == payloads
    assert decoder.pending == 0
    with pytest.raises(FrameError) as again:
        decoder.feed(encode(b"well-formed"))
    assert again.value.completed == []


@pytest.mark.parametrize("start", [b"G", b"1\n", b"0 ", b"00000000000a", b"\xff"])
def test_a_header_that_cannot_become_one_is_refused_before_it_is_complete(start: bytes) -> None:
    with pytest.raises(FrameError, match="expected a frame header"):
        Decoder(LIMIT).feed(start)


def test_the_limit_is_checked_from_the_header_before_any_of_the_body_is_kept() -> None:
    decoder = Decoder(10)
    assert decoder.feed(encode(b"x" * 10)) == [b"x" * 10]
    with pytest.raises(FrameError, match="11 bytes was announced, the limit is 10"):
        decoder.feed(b"%012d " % 11)
    assert decoder.pending == 0


def test_the_limit_may_change_between_frames() -> None:
    decoder = Decoder(5)
    decoder.max_frame = 6
    assert decoder.feed(encode(b"123456")) == [b"123456"]
    decoder.max_frame = 5
    with pytest.raises(FrameError):
        decoder.feed(encode(b"123456"))


def test_a_payload_that_no_header_can_announce_is_not_encoded() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 10**12

    with pytest.raises(CallerError, match="does not fit"):
        encode(Huge())


class Ledger:
    """Counts what goes into buffers, comes out of them, or is held by them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.copied = self.allocated = 0
        ledger = self

        class Buffer(bytearray):
            def __init__(self, source: Any = 0) -> None:
                super().__init__(source)
                ledger.allocated += len(self)
                if not isinstance(source, int):
                    ledger.copied += len(self)

            def __setitem__(self, key: Any, value: Any) -> None:
                ledger.copied += len(value)
                super().__setitem__(key, value)

            def __iadd__(self, value: Any) -> Any:
                ledger.copied += len(value)
                return super().__iadd__(value)

            def extend(self, value: Any) -> None:
                ledger.copied += len(value)
                super().extend(value)

        class Payload(_frames._Payload):
            __slots__ = ()

            def take(self) -> bytes:
                payload = super().take()
                ledger.copied += len(payload)
                return payload

        def counted_bytes(source: Any) -> bytes:
            ledger.copied += len(source)
            return bytes(source)

        monkeypatch.setattr(_frames, "bytearray", Buffer, raising=False)
        monkeypatch.setattr(_frames, "bytes", counted_bytes, raising=False)
        monkeypatch.setattr(_frames, "_Payload", Payload)


@given(
    st.lists(st.integers(0, 20_000), min_size=1, max_size=4),
    st.one_of(st.integers(1, 20), st.integers(1000, 30_000)),
    cut_lists,
)
def test_bytes_are_copied_at_most_three_times_the_input_whatever_the_split(
    sizes: list[int], step: int, cuts: list[int]
) -> None:
    stream = b"".join(encode(bytes(size)) for size in sizes)
    for pieces in (split(stream, cuts), (stream[at : at + step] for at in range(0, len(stream), step))):
        with pytest.MonkeyPatch.context() as monkeypatch:
            ledger = Ledger(monkeypatch)
            decoder = Decoder(LIMIT)
            got = [len(payload) for piece in pieces for payload in decoder.feed(piece)]
        assert got == sizes
        assert ledger.copied <= 3 * len(stream)


@pytest.mark.parametrize("size", [4096, 4097, 8193, 16385, (1 << 20) + 1])
def test_one_byte_over_a_block_costs_no_copy_of_the_blocks(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(monkeypatch)
    decoder = Decoder(1 << 21)
    stream = encode(b"x" * size)
    got = [payload for at in range(0, len(stream), 999) for payload in decoder.feed(stream[at : at + 999])]
    assert got == [b"x" * size]
    assert ledger.copied <= 2 * len(stream)


def test_a_peer_that_announces_much_and_sends_little_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(monkeypatch)
    decoder = Decoder(64 << 20)
    decoder.feed(b"%012d " % (64 << 20))
    for _ in range(1000):
        decoder.feed(b"y" * 100)
    assert decoder.pending == HEADER_SIZE + 100_000
    assert ledger.allocated <= 2 * 100_000
