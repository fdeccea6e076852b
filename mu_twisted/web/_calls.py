"""A call is one request to the control API, a reply its answer: both are values. Knows no sockets and no jobs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec

from mu_twisted.base import MuError
from mu_twisted.coordinator import EventSink

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
EVENTS = "text/event-stream"


class ControlError(MuError):
    """The control API cannot be opened; one line that says what to do."""


class CallRefusal(MuError):
    """A request that is not carried out.

    :param status: of HTTP.
    :param text: one line for the user.
    :param headers: further ones that the status asks for.
    :param usage: whether the request itself is wrong: another coordinator would refuse it, too.
    """

    def __init__(
        self, status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None, *, usage: bool = False
    ) -> None:
        super().__init__(text)
        self.usage = usage
        self.status = status
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Call:
    """A request.

    :param path: its segments, percent-decoded.
    :param query: the parameters behind the ``?``.
    :param caller: names the peer, for the log.
    :param headers: those that are looked at, by their names in small letters.
    """

    method: str
    path: tuple[str, ...]
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    caller: str = "an unknown caller"
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def from_page(self) -> bool:
        """Whether a web page had it sent."""
        return "origin" in self.headers


@dataclass(frozen=True)
class Reply:
    """An answer.

    :param stream: begins to send events in place of a body, which ends with the connection; what it returns is called
        then.
    """

    status: HTTPStatus
    body: bytes = b""
    kind: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Callable[[EventSink], Callable[[], None]] | None = None


def json_reply(content: Any, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Reply:
    """An answer in JSON, on one line."""
    try:
        body = msgspec.json.encode(content)
    except UnicodeEncodeError:
        body = msgspec.json.encode(_encodable(msgspec.to_builtins(content)))
    return Reply(status, body + b"\n", headers=headers or {})


def refusal_reply(refusal: CallRefusal) -> Reply:
    """The answer to a caller that is refused: ``{"error": ...}``, and ``"usage": true`` if the request was wrong."""
    body: dict[str, Any] = {"error": " ".join(str(refusal).split())}
    if refusal.usage:
        body["usage"] = True
    return json_reply(body, refusal.status, refusal.headers)


def text_reply(text: str) -> Reply:
    """An answer for people."""
    return Reply(HTTPStatus.OK, text.encode("utf-8", "backslashreplace"), TEXT)


def _encodable(content: object) -> object:
    """With bytes that were no UTF-8, as programs print them and errors quote them, spelt out."""
    if isinstance(content, str):
        return content.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(content, dict):
        return {key: _encodable(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_encodable(value) for value in content]
    return content
