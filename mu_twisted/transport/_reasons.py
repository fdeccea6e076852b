"""Reasons say in words why a connection has ended: the same words, whatever carried it. Knows no connection."""

from mu_twisted.base import one_line

DETAIL = 200
"""Characters that are kept of an error's own text."""
_IN_HANDSHAKE = " during the TLS handshake"
_NO_HANDSHAKE = "no TLS handshake within"
_STALLED = "its TLS handshake stood still"
_FULL = " already"


HANDSHAKE_FAULTS = ("certificate", "tls", "timeout", "stalled", "closed", "full", "other")
"""Kinds of handshakes that have failed: the peer's certificate or ours was refused, TLS failed otherwise, it took too
long, made no progress while there were too many, its peer went away, or there was no place for it."""


def handshake_fault(reason: str) -> str:
    """The kind of a handshake's failure, by the words that are said of it."""
    if reason.startswith("TLS failed"):
        return "certificate" if "certificate" in reason or "unknown ca" in reason else "tls"
    if reason.endswith(_IN_HANDSHAKE):
        return "closed"
    for words, kind in ((_NO_HANDSHAKE, "timeout"), (_STALLED, "stalled"), (_FULL, "full")):
        if words in reason:
            return kind
    return "other"


def closed() -> str:
    """The peer has closed it."""
    return "closed by the peer"


def broke(detail: str) -> str:
    """It broke without a word of the peer's.

    :param detail: the system's text; empty where there is none.
    """
    return f"the connection broke: {detail}" if detail else "the connection broke"


def where(why: str, *, established: bool, in_frame: bool) -> str:
    """Add what the end came in the middle of.

    :param established: whether the TLS handshake was done.
    :param in_frame: whether a frame was incomplete.
    """
    if not established:
        return f"{why}{_IN_HANDSHAKE}"
    return f"{why} in the middle of a frame" if in_frame else why


def failed_here(error: BaseException | None) -> str:
    """A fault of our own has ended it."""
    return f"failed here: {type(error).__name__}: {one_line(str(error), DETAIL)}"


def protocol_error(error: Exception) -> str:
    """What the peer has sent are no frames."""
    return f"protocol error: {error}"


def takes_nothing(unsent: int) -> str:
    """The peer does not read.

    :param unsent: bytes that wait for it.
    """
    return f"it does not take what it is sent: {unsent} bytes wait, and more is to come"


def no_handshake(seconds: float) -> str:
    """The handshake has taken too long."""
    return f"{_NO_HANDSHAKE} {seconds:g} s"


def handshake_stalled(seconds: float, count: int) -> str:
    """The handshake has made no progress.

    :param seconds: for so long.
    :param count: handshakes that were in progress.
    """
    return f"{_STALLED} for {seconds:g} s while {count} were in progress"


def too_many_connections(limit: int) -> str:
    """There is no place for another connection."""
    return f"there are {limit} connections{_FULL}"


def too_many_handshakes(count: int) -> str:
    """There are too many others."""
    return f"{count} TLS handshakes are in progress{_FULL}"
