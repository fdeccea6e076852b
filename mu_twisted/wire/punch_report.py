"""This module reads and writes what a worker says of its punches when it is asked; see ``mu doctor --punch``."""

import json
import re
from dataclasses import dataclass

from mu_twisted.base.json_types import Json
from mu_twisted.wire._errors import PeerError
from mu_twisted.wire.punching import MAX_CANDIDATES, MAX_REPORTED, PunchOutcome, parse_candidate

PUNCHES = "punches"
"""What a worker announces that takes ``punches:``."""
MAX_REPORT = 64 << 10
"""Bytes of a report."""
_HEAD = b"OK:PUNCHES("
_ERROR = re.compile(r"[A-Z0-9]{0,20}", re.ASCII)
_MOST = 1 << 53


@dataclass(frozen=True)
class CandidateTried:
    """What came of one candidate of the peer.

    :param candidate: ``KIND/IP/PORT``.
    :param errors: how often a dial was answered by an error.
    :param error: the last one's name, such as ``ECONNREFUSED``; empty if there was none.
    :param connected: whether there was a TCP connection, whichever side had dialled.
    """

    candidate: str
    errors: int
    error: str
    connected: bool


@dataclass(frozen=True)
class PunchTried:
    """One punch.

    :param task: the peer's.
    :param tcp_ms: milliseconds from the first dial to the first TCP connection; None: there was none.
    :param link_ms: milliseconds from the first dial to the end of the punch.
    """

    task: int
    outcome: PunchOutcome
    tcp_ms: int | None
    link_ms: int
    candidates: tuple[CandidateTried, ...]


@dataclass(frozen=True)
class PunchReport:
    """What a worker knows of its punches.

    :param port: the local one.
    :param seen: where the rendezvous sees its connection, ``KIND/IP/PORT``; empty if that is not known.
    :param probed: where it has seen the probe; empty if there was none, or no answer.
    :param punches: the last ones, the oldest first.
    """

    port: int = 0
    seen: str = ""
    probed: str = ""
    punches: tuple[PunchTried, ...] = ()

    @property
    def varies(self) -> bool | None:
        """Whether the NAT maps each destination to another port; None: that is not known."""
        return self.seen != self.probed if self.seen and self.probed else None

    def encode(self) -> bytes:
        """``OK:PUNCHES({...})``."""
        body = {
            "port": self.port,
            "seen": self.seen,
            "probed": self.probed,
            "punches": [
                {
                    "task": punch.task,
                    "outcome": punch.outcome,
                    "tcp_ms": punch.tcp_ms,
                    "link_ms": punch.link_ms,
                    "candidates": [
                        [each.candidate, each.errors, each.error, each.connected] for each in punch.candidates
                    ],
                }
                for punch in self.punches
            ],
        }
        return _HEAD + json.dumps(body, separators=(",", ":")).encode("ascii") + b")"


def parse_punch_report(message: bytes) -> PunchReport:
    """Read a worker's report.

    :raises PeerError: it is none, or out of bounds.
    """
    try:
        if len(message) > MAX_REPORT or not message.startswith(_HEAD) or not message.endswith(b")"):
            raise ValueError
        body = json.loads(message[len(_HEAD) : -1])
        punches = body["punches"]
        if not isinstance(punches, list) or len(punches) > MAX_REPORTED:
            raise ValueError
        return PunchReport(
            _number(body["port"]), _seen(body["seen"]), _seen(body["probed"]), tuple(map(_punch, punches))
        )
    except (ValueError, TypeError, KeyError, RecursionError, PeerError):
        raise PeerError(f"expected OK:PUNCHES({{...}}), got {message[:80]!r}") from None


def _punch(punch: Json) -> PunchTried:
    tcp, candidates = punch["tcp_ms"], punch["candidates"]
    if not isinstance(candidates, list) or len(candidates) > MAX_CANDIDATES:
        raise ValueError
    return PunchTried(
        _number(punch["task"]),
        PunchOutcome(punch["outcome"]),
        None if tcp is None else _number(tcp),
        _number(punch["link_ms"]),
        tuple(map(_tried, candidates)),
    )


def _tried(each: Json) -> CandidateTried:
    candidate, errors, error, connected = each
    if not isinstance(connected, bool) or not isinstance(error, str) or not _ERROR.fullmatch(error):
        raise ValueError
    return CandidateTried(_candidate(candidate), _number(errors), error, connected)


def _seen(text: object) -> str:
    return _candidate(text) if text != "" else ""


def _candidate(text: object) -> str:
    if not isinstance(text, str):
        raise ValueError
    return str(parse_candidate(text))


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < _MOST:
        raise ValueError
    return value
