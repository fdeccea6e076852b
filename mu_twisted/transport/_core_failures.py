"""A failure of the core is put into the words that Twisted's transport has for it. Knows no connection."""

import os

from mu_twisted.tls import describe_reason, describe_refusal
from mu_twisted.transport import _core
from mu_twisted.transport._reasons import (
    broke,
    closed,
    handshake_stalled,
    no_handshake,
    protocol_error,
    too_many_connections,
    where,
)
from mu_twisted.wire import malformed, too_long

CoreFailure = tuple[int, int, bytes]
"""What the core says: kind, code and text, as the constants in _core.pyi have them."""


def is_ordinary(why: CoreFailure) -> bool:
    """Whether a connection that ends so has ended as connections do, so that it is not worth a line of the log."""
    return why[0] in (_core.CLOSED, _core.BROKE, _core.ENDED)


def describe(why: CoreFailure, *, in_frame: bool) -> str:
    """Describe the end of an established connection, in one line.

    :param in_frame: whether a frame was incomplete.
    """
    kind, code, text = why
    if kind == _core.MALFORMED:
        return protocol_error(malformed(text))
    if kind == _core.TOO_LONG:
        return protocol_error(too_long(code, int(text)))
    if kind == _core.KEY_UPDATES:
        return describe_reason("it renews its keys again and again")
    if kind in (_core.CLOSED, _core.BROKE):
        return where(_left(kind), established=True, in_frame=in_frame)
    return _common(why)


def describe_drop(why: CoreFailure, *, handshake_timeout: float, stall_timeout: float) -> str:
    """Describe why a peer has never become a connection, in one line.

    :param handshake_timeout: seconds, the limit; and so for stall_timeout.
    """
    kind, code, _ = why
    if kind == _core.CERTIFICATE:
        return describe_refusal(code)
    if kind == _core.TIMEOUT:
        return no_handshake(handshake_timeout)
    if kind == _core.STALLED:
        return handshake_stalled(stall_timeout, code)
    if kind == _core.FULL:
        return too_many_connections(code)
    if kind in (_core.CLOSED, _core.BROKE):
        return where(_left(kind), established=False, in_frame=False)
    return _common(why)


def _left(kind: int) -> str:
    return closed() if kind == _core.CLOSED else broke("")


def _common(why: CoreFailure) -> str:
    kind, code, text = why
    if kind == _core.TLS:
        return describe_reason(text.decode("ascii", "replace"))
    if kind == _core.MEMORY:
        return "failed here: there is no memory for it"
    if kind == _core.ACCEPT:
        return f"no connection can be accepted: {os.strerror(code)}"
    return "ended here, as the listener has ended"
