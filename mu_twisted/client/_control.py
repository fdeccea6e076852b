"""The client of a coordinator's control API asks over HTTP and reads the JSON of the answer.

Standard library alone, on purpose: importing Twisted takes half a second, and these commands are called in loops.
"""

import http.client
import json
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

from mu_twisted.base import MuError
from mu_twisted.base.json_types import Json
from mu_twisted.client._transport import (
    TIMEOUT,
    ConnectionLost,
    CoordinatorError,
    NotServed,
    TlsTransport,
    UnixTransport,
    Unreachable,
    reason_of,
)
from mu_twisted.daemons import InUse

VERSION = "v1"
CHANGING = 5.0
"""Seconds that a state directory may be held by a process that does not serve it yet, or any more."""
PAUSE = 0.1
READING = 0.5
"""Seconds for which records are open for one page after the other; a page more may be read."""
MAX_PAGES = 16
"""Of them at most, which are held in memory."""
_MAX_ANSWER = 256 << 20

T = TypeVar("T")

if TYPE_CHECKING:
    from mu_twisted.client._records import StoredRecords
    from mu_twisted.storage import StoredJobs


class RequestRefused(CoordinatorError):
    """The coordinator refuses a request.

    :param status: HTTP's.
    :param usage: whether the request is wrong in itself, so that the command ends with status 2.
    """

    def __init__(self, status: int, text: str, *, usage: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.usage = usage


class Coordinator:
    """A client of one coordinator. Every method blocks, and raises :class:`CoordinatorError` with one line.

    :param transport: where the coordinator listens.
    """

    def __init__(self, transport: UnixTransport | TlsTransport) -> None:
        self.transport = transport
        self._stored: StoredJobs | None = None

    def get(self, *path: str, answer_timeout: float = TIMEOUT, served: bool = False, **query: object) -> Json:
        """The answer to a GET, as JSON holds it.

        :param path: the segments of the path below the version.
        :param answer_timeout: seconds that the answer may take.
        :param served: whether only a coordinator that runs is to answer, and never the records that one has left: they
            are read under the lock that a coordinator needs to come back.
        :param query: the parameters of the query.
        """
        if served:
            return _decoded(self._ask_coordinator("GET", path, query, None, answer_timeout))
        return _decoded(self._ask("GET", path, query, timeout=answer_timeout))

    def tasks(self, job: str, state: str | None = None) -> list[Json]:
        """All tasks of a job, page by page.

        :param job: its name.
        :param state: only tasks in this state; None: all.
        """
        query: dict[str, Any] = {} if state is None else {"state": state}
        return [task for page in self.pages("jobs", job, "tasks", cursor="cursor", **query) for task in page["tasks"]]

    def pages(self, *path: str, cursor: str, **query: object) -> Iterator[Json]:
        """All pages of the answer to a GET, each as JSON holds it, read as they are asked for.

        :param path: as for :meth:`get`, and ``query`` too.
        :param cursor: the parameter that takes a page's ``next``.
        """
        while True:
            some = self._from_either(
                partial(self._ask_coordinator_page, path, query),
                partial(self._ask_records_pages, path, query, cursor),
                are_recorded=path[0] == "jobs",
                asks=True,
            )
            following = None
            for page in map(_decoded, some):
                yield page
                following = page.get("next")
            if following is None:
                return
            query = {**query, cursor: following}

    def text(self, *path: str, **query: object) -> str:
        """The answer to a GET, as text; parameters as for :meth:`get`."""
        return self._ask("GET", path, query).decode("utf-8", "replace")

    def post(self, *path: str, body: Mapping[str, Json] | None = None, served: bool = False) -> Json:
        """The answer to a POST, as JSON holds it.

        :param path: as for :meth:`get`.
        :param body: sent as JSON; None: no body.
        :param served: as for :meth:`get`.
        """
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if served:
            return _decoded(self._ask_coordinator("POST", path, {}, content, TIMEOUT))
        return _decoded(self._ask("POST", path, {}, content))

    def delete(self, *path: str) -> None:
        """Send a DELETE.

        :param path: as for :meth:`get`.
        """
        self._ask("DELETE", path, {})

    @property
    def is_on_record(self) -> bool:
        """Whether no process serves the coordinator's state directory, but the records of its jobs are there."""
        if not isinstance(self.transport, UnixTransport) or not (self.transport.state_dir / "journal.db").exists():
            return False
        try:
            self.transport.dial().close()
        except NotServed:
            return True
        return False

    def daemon_words(self, job: str) -> tuple[str, ...]:
        """The options of the coordinator that took a job, which is on record."""
        with self._records() as records:
            try:
                return tuple(records.daemon_words(job))
            except MuError as error:
                raise RequestRefused(404, str(error)) from None

    def _ask(
        self,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, object],
        body: bytes | None = None,
        timeout: float = TIMEOUT,
    ) -> bytes:
        return self._from_either(
            lambda: self._ask_coordinator(method, path, query, body, timeout),
            lambda: self._ask_records(method, path, query, body),
            are_recorded=path[0] == "jobs" and (method, len(path)) != ("POST", 1),
            asks=method == "GET",
        )

    def _from_either(
        self, coordinator: Callable[[], T], records: Callable[[], T], *, are_recorded: bool, asks: bool
    ) -> T:
        """What the coordinator says, or where none runs its records.

        :param asks: whether the request changes nothing: one that is lost with a coordinator that ends is made again.
        """
        until = time.monotonic() + CHANGING
        while True:
            try:
                return coordinator()
            except ConnectionLost:
                if not asks or not isinstance(self.transport, UnixTransport) or time.monotonic() >= until:
                    raise
                time.sleep(PAUSE)
                continue
            except NotServed:
                if not self.is_on_record or not are_recorded:
                    raise
            try:
                return records()
            except InUse as error:  # its coordinator is about to serve it, or to end
                if time.monotonic() >= until:
                    raise Unreachable(f"{error}; it answers no questions") from None
                time.sleep(PAUSE)

    def _ask_records(
        self, method: str, path: tuple[str, ...], query: Mapping[str, object], body: bytes | None
    ) -> bytes:
        with self._records() as records:
            return _answer(records, method, path, query, body)

    def _ask_coordinator_page(self, path: tuple[str, ...], query: Mapping[str, object]) -> list[bytes]:
        return [self._ask_coordinator("GET", path, query, None, TIMEOUT)]

    def _ask_records_pages(self, path: tuple[str, ...], query: Mapping[str, object], cursor: str) -> list[bytes]:
        """Some pages: to open the records takes as long as many of them, and a coordinator waits meanwhile."""
        pages: list[bytes] = []
        until = 0.0
        with self._records() as records:
            while True:
                pages.append(_answer(records, "GET", path, query, None))
                until = until or time.monotonic() + READING  # what the first has read is there for the others
                found = _decoded(pages[-1])
                following = found.get("next")
                ended = following is None or found.get("over") or following == query.get(cursor)
                if ended or len(pages) == MAX_PAGES or time.monotonic() >= until:
                    return pages
                query = {**query, cursor: following}

    def _records(self) -> "StoredRecords":
        from mu_twisted.client._records import StoredRecords  # few need them
        from mu_twisted.storage import StoredJobs

        assert isinstance(self.transport, UnixTransport)
        if self._stored is None:
            self._stored = StoredJobs(self.transport.state_dir)
        return StoredRecords(self.transport.state_dir, self._stored)

    def _ask_coordinator(
        self,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, object],
        body: bytes | None,
        timeout: float,
        probed: bool = True,
    ) -> bytes:
        """Ask, and where no answer comes for a while ask what the coordinator is: one that says nothing at all is hung.

        :param probed: whether that is asked.
        """
        target = "/".join(["", VERSION, *(quote(segment, safe="", errors="backslashreplace") for segment in path)])
        if query:
            target += "?" + urlencode(query, errors="backslashreplace")
        connection = http.client.HTTPConnection("mu")
        connection.sock = self.transport.dial()
        connection.sock.settimeout(timeout)
        try:
            with suppress(BrokenPipeError):  # it may have answered before it had read all
                connection.request(method, target, body, {"Content-Type": "application/json"} if body else {})
            if (
                probed
                and timeout > self.transport.silence_limit
                and not _readable(connection.sock, self.transport.silence_limit)
            ):
                with suppress(RequestRefused, NotServed, ConnectionLost):  # it says something, or is gone: see below
                    self._ask_coordinator("GET", ("daemon",), {}, None, self.transport.silence_limit, probed=False)
            with connection.getresponse() as answer:
                content = answer.read(_MAX_ANSWER)
        except TimeoutError:
            raise CoordinatorError(
                f"the coordinator at {self.transport} does not answer within {timeout:g} s: does its process hang?"
            ) from None
        except ssl.SSLError as error:
            raise Unreachable(f"no TLS with {self.transport}: {reason_of(error)}") from None
        except (http.client.HTTPException, OSError) as error:
            hint = self.transport.hint if isinstance(error, http.client.HTTPException) else ""
            raise ConnectionLost(f"the coordinator at {self.transport} went away: {reason_of(error)}{hint}") from None
        finally:
            connection.close()
        if answer.status >= 300:
            raise _refused(answer.status, content)
        return content


def _readable(connection: socket.socket, seconds: float) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _answer(
    records: "StoredRecords", method: str, path: tuple[str, ...], query: Mapping[str, object], body: bytes | None
) -> bytes:
    """What records that are open answer."""
    status, content = records.answer(method, path, query, body)
    if status >= 300:
        raise _refused(status, content)
    return content


def _decoded(content: bytes) -> Json:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise CoordinatorError("the answer is no JSON: is this a coordinator of mu?") from None


def _refused(status: int, content: bytes) -> RequestRefused:
    try:
        answer = json.loads(content)
        return RequestRefused(status, str(answer["error"]), usage=answer.get("usage") is True)
    except (ValueError, TypeError, KeyError, RecursionError):
        return RequestRefused(
            status, f"the answer is HTTP status {status} without a reason: is this a coordinator of mu?"
        )
