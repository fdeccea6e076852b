"""An error of the wire says on whose account it is: the peer's or the caller's."""

from collections.abc import Callable

import pytest

from mu_twisted.wire import (
    CallerError,
    Decoder,
    PeerError,
    parse_greeting,
    parse_info,
    parse_integer,
    parse_notice,
    parse_peer_greeting,
    parse_state,
)

READERS: list[Callable[[bytes], object]] = [
    Decoder(10).feed,
    parse_greeting,
    parse_info,
    parse_integer,
    parse_notice,
    parse_peer_greeting,
    lambda message: parse_state(message, 10),
]


@pytest.mark.parametrize("read", READERS)
def test_what_came_from_the_other_side_is_an_error_of_the_peer(read: Callable[[bytes], object]) -> None:
    with pytest.raises(PeerError) as caught:
        read(b"no message of any kind")
    assert str(caught.value).isprintable()


def test_no_error_is_of_both_sides() -> None:
    assert not issubclass(CallerError, PeerError)
    assert not issubclass(PeerError, CallerError)
