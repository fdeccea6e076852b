"""The API takes a request to the job service, and its answer back. Knows routes and limits, no sockets."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, TypeVar, get_args

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as WaitedEnough
from twisted.logger import Logger
from twisted.python.usage import UsageError

from mu_twisted.base import MuError, one_line
from mu_twisted.coordinator import EventQuery, ObservedJobService, Request, TeeCursor, TeePage, parse_tee_cursor
from mu_twisted.pipelines import MAX_PACKED, PipelineError
from mu_twisted.statuses import (
    MAX_PAGE,
    JobState,
    NotYet,
    OutputQuery,
    ServiceError,
    SettledPage,
    UnknownJob,
    Which,
    parse_cursor,
)
from mu_twisted.web._calls import EVENTS, Call, CallRefusal, Reply, json_reply, refusal_reply, text_reply

VERSION = "v1"
"""The first segment of every path; another one when what stands behind it changes its meaning."""
MAX_SOURCE = 1 << 20
"""Bytes of a pipeline module that is submitted."""
MAX_BODY = 3 * MAX_SOURCE + MAX_PACKED
"""Bytes of a request's body: a module's source, in which JSON may double each byte, the job's options and inputs."""
MAX_ONLY = 1_000_000
"""Tasks that are named to be run again."""
DEFAULT_WAIT = 30.0
MAX_WAIT = 300.0
"""Seconds that a request to wait for a job stays open; a caller that wants to wait longer asks again."""

STATES = ("blocked", "waiting", "backing off", "held", "active", "done", "failed")
"""Of tasks."""
JOB_STATES = get_args(JobState)

DEFAULT_ACTIVE = 100
"""Active tasks that are listed where no limit is given."""

T = TypeVar("T")
Handler = Callable[[Call], Awaitable[Reply]]


class _Extension(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Inputs of further tasks, packed."""

    inputs: str


class Api:
    """Answers requests.

    :param service: does what is asked for.
    :param clock: for the time that a request may wait; Twisted's reactor.
    :param new_address: an address that opens the dashboard once; None: there is no dashboard.
    """

    log = Logger()

    def __init__(
        self, service: ObservedJobService, clock: Any, new_address: Callable[[], str | None] = lambda: None
    ) -> None:
        self._new_address = new_address
        self._service = service
        self._clock = clock
        # None stands for a job's name.
        self._routes: dict[tuple[str | None, ...], dict[str, Handler]] = {
            ("daemon",): {"GET": self._daemon},
            ("dashboard",): {"POST": self._dashboard},
            ("jobs",): {"GET": self._jobs, "POST": self._submit},
            ("jobs", None): {"GET": self._job, "DELETE": self._remove},
            ("jobs", None, "tasks"): {"GET": self._tasks, "POST": self._extend},
            ("jobs", None, "close"): {"POST": self._close},
            ("jobs", None, "wait"): {"GET": self._wait},
            ("jobs", None, "settled"): {"GET": self._settled},
            ("jobs", None, "log"): {"GET": self._job_log},
            ("jobs", None, "events"): {"GET": self._job_events},
            ("jobs", None, "output"): {"GET": self._job_output},
            ("jobs", None, "active"): {"GET": self._active},
            ("jobs", None, "timeline"): {"GET": self._timeline},
            ("jobs", None, "failures"): {"GET": self._failures},
            ("jobs", None, "story"): {"GET": self._story},
            ("jobs", None, "stream"): {"GET": self._job_stream},
            ("stream",): {"GET": self._stream},
            ("jobs", None, "tee"): {"GET": self._job_tee},
            ("jobs", None, "cancel"): {"POST": self._cancel},
            ("jobs", None, "retry"): {"POST": self._retry},
        }

    async def answer(self, call: Call) -> Reply:
        """Do what is asked for. Cancelling gives up waiting for a job; what changes something is carried out."""
        try:
            return await self._handler(call)(call)
        except CallRefusal as refusal:
            return refusal_reply(refusal)
        except UnknownJob as error:
            return refusal_reply(CallRefusal(HTTPStatus.NOT_FOUND, str(error)))
        except NotYet as error:
            return refusal_reply(CallRefusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error)))
        except ServiceError as error:
            return refusal_reply(CallRefusal(HTTPStatus.CONFLICT, str(error)))
        except (PipelineError, UsageError) as error:
            return refusal_reply(CallRefusal(HTTPStatus.BAD_REQUEST, str(error), usage=True))
        except MuError as error:
            return refusal_reply(CallRefusal(HTTPStatus.BAD_REQUEST, str(error), usage=error.misuse))

    # -- which handler ---------------------------------------------------------------------------------------------

    def _handler(self, call: Call) -> Handler:
        if call.path == ("metrics",) and call.method == "GET":  # where Prometheus looks for them, whatever the version
            return self._metrics
        version, *path = call.path or ("",)
        shape = tuple(None if index == 1 else segment for index, segment in enumerate(path))
        methods = self._routes.get(shape) if version == VERSION else None
        if methods is None:
            raise CallRefusal(
                HTTPStatus.NOT_FOUND,
                f"no such resource; this is {VERSION} of mu's control API: /{VERSION}/jobs, /{VERSION}/daemon",
            )
        handler = methods.get(call.method)
        if handler is None:
            allowed = ", ".join(methods)
            raise CallRefusal(
                HTTPStatus.METHOD_NOT_ALLOWED, f"expected {allowed}, got {call.method[:20]}", {"Allow": allowed}
            )
        if call.method != "GET" and call.from_page:
            # A browser that holds an operator's certificate would show it on behalf of any page.
            raise CallRefusal(HTTPStatus.FORBIDDEN, "nothing is changed at the request of a web page (Origin)")
        return handler

    # -- reading ---------------------------------------------------------------------------------------------------

    async def _daemon(self, call: Call) -> Reply:
        _parameters(call)
        return json_reply(self._service.daemon())

    async def _metrics(self, call: Call) -> Reply:
        from mu_twisted.web.metrics import KIND, metrics_text  # costs, and few callers want them

        _parameters(call)
        return Reply(
            HTTPStatus.OK, metrics_text(self._service.daemon(), self._service.jobs(), self._service.counts()), KIND
        )

    async def _jobs(self, call: Call) -> Reply:
        state = _parameters(call, state=_job_state).get("state")
        return json_reply({"jobs": [job for job in self._service.jobs() if state in (None, job.state)]})

    async def _job(self, call: Call) -> Reply:
        _parameters(call)
        return json_reply(self._service.job(call.path[2]))

    async def _tasks(self, call: Call) -> Reply:
        wanted = _parameters(call, cursor=_number, limit=_limit, state=_state)
        return json_reply(
            await self._service.tasks(
                call.path[2],
                wanted.get("cursor", 0),
                limit=wanted.get("limit", MAX_PAGE),
                state=wanted.get("state"),
            )
        )

    async def _job_log(self, call: Call) -> Reply:
        task = _parameters(call, task=_number).get("task")
        return text_reply(await self._service.log(call.path[2], task))

    async def _job_events(self, call: Call) -> Reply:
        query = _parameters(call, after=_event, task=_number, failed=_flag, structured=_flag)
        return json_reply(await self._service.events(call.path[2], EventQuery(**query)))

    async def _job_output(self, call: Call) -> Reply:
        query = _parameters(call, after=parse_cursor, task=_number, called=str, which=_which, failed=_flag)
        return json_reply(await self._service.output(call.path[2], OutputQuery(**query)))

    async def _active(self, call: Call) -> Reply:
        limit = _parameters(call, limit=_limit).get("limit", DEFAULT_ACTIVE)
        return json_reply(await self._service.active(call.path[2], limit))

    async def _timeline(self, call: Call) -> Reply:
        _parameters(call)
        return json_reply(await self._service.timeline(call.path[2]))

    async def _failures(self, call: Call) -> Reply:
        _parameters(call)
        return json_reply(await self._service.failures(call.path[2]))

    async def _story(self, call: Call) -> Reply:
        task = _parameters(call, task=_number).get("task")
        if task is None:
            raise CallRefusal(HTTPStatus.BAD_REQUEST, "task: expected a task's number")
        return json_reply(await self._service.story(call.path[2], task))

    async def _job_stream(self, call: Call) -> Reply:
        name, after = call.path[2], _parameters(call, after=_event).get("after", 0)
        self._service.job(name)
        return Reply(
            HTTPStatus.OK, kind=EVENTS, stream=lambda sink: self._service.watch_job(name, sink, _last(call) or after)
        )

    async def _stream(self, call: Call) -> Reply:
        _parameters(call)
        return Reply(HTTPStatus.OK, kind=EVENTS, stream=self._service.watch_jobs)

    async def _job_tee(self, call: Call) -> Reply:
        query = _parameters(call, after=parse_tee_cursor, timeout=_seconds)
        after, timeout = query.get("after"), min(query.get("timeout", DEFAULT_WAIT), MAX_WAIT)
        try:
            return json_reply(await self._service.tee(call.path[2], after).addTimeout(timeout, self._clock))
        except WaitedEnough:
            return json_reply(TeePage((), str(after or TeeCursor())))

    async def _wait(self, call: Call) -> Reply:
        timeout = min(_parameters(call, timeout=_seconds).get("timeout", DEFAULT_WAIT), MAX_WAIT)
        waiting = self._service.wait(call.path[2]).addTimeout(timeout, self._clock)
        try:
            return json_reply(await waiting)
        except WaitedEnough:
            return json_reply(self._service.job(call.path[2]))

    async def _settled(self, call: Call) -> Reply:
        wanted = _parameters(call, after=_event, timeout=_seconds, results=_flag)
        after, timeout = wanted.get("after", 0), min(wanted.get("timeout", DEFAULT_WAIT), MAX_WAIT)
        waiting = self._service.settled(call.path[2], after, results=wanted.get("results", False))
        waiting = waiting.addTimeout(timeout, self._clock)
        try:
            return json_reply(await waiting)
        except WaitedEnough:
            return json_reply(SettledPage((), after))

    # -- changing --------------------------------------------------------------------------------------------------

    async def _submit(self, call: Call) -> Reply:
        _parameters(call)
        request = _request(call.body)
        try:
            status = await _carried_out(self._service.submit(request))
        except ServiceError:
            note = self._service.daemon().note
            if note is None:
                raise
            raise CallRefusal(HTTPStatus.SERVICE_UNAVAILABLE, f"no new job is taken: {note}") from None
        self.log.info("{caller} submitted {job}", caller=call.caller, job=status.job)
        return json_reply(status, HTTPStatus.CREATED, {"Location": f"/{VERSION}/jobs/{status.job}"})

    async def _dashboard(self, call: Call) -> Reply:
        _parameters(call)
        address = self._new_address()
        if address is None:
            raise CallRefusal(
                HTTPStatus.CONFLICT, "this coordinator has no dashboard: start it with --dashboard PORT, or HOST:PORT"
            )
        self.log.info("{caller} opens the dashboard", caller=call.caller)
        return json_reply({"url": address}, HTTPStatus.CREATED)

    async def _extend(self, call: Call) -> Reply:
        _parameters(call)
        try:
            inputs = msgspec.json.decode(call.body, type=_Extension).inputs
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            text = one_line(str(error), 300)
            raise CallRefusal(HTTPStatus.BAD_REQUEST, f"expected inputs in JSON: {text}") from None
        return json_reply({"first": self._service.extend(call.path[2], inputs)}, HTTPStatus.CREATED)

    async def _close(self, call: Call) -> Reply:
        _parameters(call)
        return json_reply(self._service.close(call.path[2]))

    async def _cancel(self, call: Call) -> Reply:
        _parameters(call)
        self._service.job(call.path[2])
        self.log.info("{caller} cancels {job}", caller=call.caller, job=call.path[2])
        return json_reply(await _carried_out(self._service.cancel(call.path[2])))

    async def _retry(self, call: Call) -> Reply:
        _parameters(call)
        status = await _carried_out(self._service.retry(call.path[2], _only(call.body)))
        self.log.info("{caller} has the failed tasks of {job} run again", caller=call.caller, job=status.job)
        return json_reply(status)

    async def _remove(self, call: Call) -> Reply:
        _parameters(call)
        await _carried_out(self._service.remove(call.path[2]))
        self.log.info("{caller} removed {job}", caller=call.caller, job=call.path[2])
        return Reply(HTTPStatus.NO_CONTENT)


def _carried_out(doing: Deferred[T]) -> Deferred[T]:
    """What fires with it, and can be cancelled without it."""
    answer: Deferred[T] = Deferred()
    doing.addCallbacks(answer.callback, answer.errback)
    return answer


def _request(body: bytes) -> Request:
    try:
        request = msgspec.json.decode(body, type=Request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = one_line(str(error), 300)
        raise CallRefusal(HTTPStatus.BAD_REQUEST, f"expected a job in JSON (pipeline, words, source): {text}") from None
    if request.source is not None and len(request.source.encode("utf-8", "surrogatepass")) > MAX_SOURCE:
        raise CallRefusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the module {request.pipeline} is longer than {MAX_SOURCE} bytes"
        )
    return request


def _last(call: Call) -> int | None:
    """The number of the last event that a browser has which connects again by itself."""
    text = call.headers.get("last-event-id", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _only(body: bytes) -> frozenset[int] | None:
    """The tasks that are to be run again; None: all that have failed.

    :param body: none, or ``{"tasks": ["0-3", "7"]}``.
    """
    if not body.strip():
        return None
    try:
        texts = msgspec.json.decode(body, type=_Some).tasks
        found: set[int] = set()
        for text in texts:
            first, dash, last = text.partition("-")
            span = range(_number(first), _number(last if dash else first) + 1)
            if len(found) + len(span) > MAX_ONLY:
                raise ValueError(f"expected at most {MAX_ONLY} tasks")
            found.update(span)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        text = one_line(str(error), 300)
        raise CallRefusal(HTTPStatus.BAD_REQUEST, f'expected {{"tasks": ["0-3", "7"]}}, or no body: {text}') from None
    return frozenset(found)


class _Some(msgspec.Struct, forbid_unknown_fields=True):
    tasks: list[str]


def _parameters(call: Call, **known: Callable[[str], Any]) -> dict[str, Any]:
    values = {}
    for name, text in call.query.items():
        if name not in known:
            raise CallRefusal(HTTPStatus.BAD_REQUEST, f"no parameter is called {name[:40]!r} here")
        try:
            values[name] = known[name](text)
        except ValueError as error:
            raise CallRefusal(HTTPStatus.BAD_REQUEST, f"{name}: {error}, got {text[:40]!r}") from None
    return values


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError("expected a task's number")
    return int(text)


def _event(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ValueError("expected the end of a page")
    return int(text)


def _which(text: str) -> Which:
    if text == "last":
        return "last"
    if text == "all":
        return "all"
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError("expected an attempt's number, last or all")
    return int(text)


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("expected 1 or 0")
    return text == "1"


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= MAX_PAGE):
        raise ValueError(f"expected a number of tasks from 1 to {MAX_PAGE}")
    return int(text)


def _state(text: str) -> str:
    if text not in STATES:
        raise ValueError(f"expected one of {', '.join(STATES)}")
    return text


def _job_state(text: str) -> str:
    if text not in JOB_STATES:
        raise ValueError(f"expected one of {', '.join(JOB_STATES)}")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise ValueError("expected a number of seconds from 0, below 1000000000")
    return seconds
