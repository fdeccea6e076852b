"""The site answers browsers: the page's files to all, jobs only to those with a session. Knows no sockets.

Every request names the host it was made for, which must be this one: a page of a stranger whose name suddenly leads
here (DNS rebinding) is refused with 421. A session is a token in a header, which no page elsewhere can send, and of
which no part stands in an address; pages of another origin are refused all the same.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from http import HTTPStatus
from importlib.resources import files

import msgspec

from mu_twisted.web._api import VERSION, Api
from mu_twisted.web._calls import Call, CallRefusal, Reply, json_reply, refusal_reply
from mu_twisted.web.dashboard._sessions import Sessions

KINDS = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
KINDS["svg"] = "image/svg+xml"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
READ = frozenset(("daemon", "jobs", "stream"))
CHANGES = frozenset(("cancel", "retry"))
"""What a session may have done to a job; all else is the control API's."""
BEARER = "bearer "


class Site:
    """The dashboard of one coordinator.

    :param api: answers what is asked about jobs.
    :param sessions: who may ask.
    :param hosts: names under which browsers reach this, each with its port, in small letters.
    :param scheme: ``http`` or ``https``.
    :param refused: is called with a caller who came with a wrong code, and the reason.
    """

    def __init__(
        self,
        api: Api,
        sessions: Sessions,
        hosts: Callable[[], Collection[str]],
        scheme: str,
        refused: Callable[[str, str], object],
    ) -> None:
        self._api = api
        self._sessions = sessions
        self._hosts = hosts
        self._scheme = scheme
        self._refused = refused
        self._files = page_files()

    async def answer(self, call: Call) -> Reply:
        """Answer a request."""
        try:
            reply = await self._answer(call)
        except CallRefusal as refusal:
            reply = refusal_reply(refusal)
        return replace(reply, headers={**HEADERS, **reply.headers})

    # -- inside ----------------------------------------------------------------------------------------------------

    async def _answer(self, call: Call) -> Reply:
        host = call.headers.get("host", "").lower()
        if host not in self._hosts():
            raise CallRefusal(HTTPStatus.MISDIRECTED_REQUEST, "this is the dashboard of another host")
        path = "/".join(call.path)
        if path in self._files:
            return self._file(call, path)
        self._check_origin(call, host)
        if path == "session":
            return self._session(call)
        if call.path[0] == VERSION:
            return await self._asked_api(call)
        raise CallRefusal(HTTPStatus.NOT_FOUND, "there is no such page")

    def _file(self, call: Call, path: str) -> Reply:
        if call.method != "GET":
            raise CallRefusal(HTTPStatus.METHOD_NOT_ALLOWED, f"expected GET, got {call.method[:20]}", {"Allow": "GET"})
        kind, content = self._files[path]
        return Reply(HTTPStatus.OK, content, kind)

    def _check_origin(self, call: Call, host: str) -> None:
        origin = call.headers.get("origin")
        elsewhere = origin is not None and origin.lower() != f"{self._scheme}://{host}"
        if elsewhere or call.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise CallRefusal(HTTPStatus.FORBIDDEN, "nothing is answered to pages of another origin")

    def _session(self, call: Call) -> Reply:
        """``POST`` a code for a token; ``DELETE`` ends the session."""
        if call.method == "DELETE":
            self._sessions.end(_token(call))
            return Reply(HTTPStatus.NO_CONTENT)
        if call.method != "POST":
            allowed = {"Allow": "POST, DELETE"}
            raise CallRefusal(HTTPStatus.METHOD_NOT_ALLOWED, f"expected POST, got {call.method[:20]}", allowed)
        try:
            code = msgspec.json.decode(call.body, type=dict[str, str]).get("code", "")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            code = ""
        token = self._sessions.redeem(code)
        if token is None:
            self._refused(call.caller, "it came to the dashboard with a code that is not good any more")
            raise CallRefusal(
                HTTPStatus.FORBIDDEN, "this address was used, or is too old: `mu dashboard` prints another"
            )
        return json_reply({"token": token})

    async def _asked_api(self, call: Call) -> Reply:
        name = self._sessions.name_of(_token(call))
        if name is None:
            raise CallRefusal(
                HTTPStatus.UNAUTHORIZED,
                "there is no session with this token: `mu dashboard` prints an address that begins one",
                {"WWW-Authenticate": "Bearer"},
            )
        what = call.path[1:]
        may_read = call.method == "GET" and what[:1] and what[0] in READ
        may_change = call.method == "POST" and len(what) == 3 and what[0] == "jobs" and what[2] in CHANGES
        if not may_read and not may_change:
            raise CallRefusal(HTTPStatus.FORBIDDEN, "the dashboard shows, cancels and retries jobs, and no more")
        headers = {key: value for key, value in call.headers.items() if key != "origin"}  # it is this one
        return await self._api.answer(replace(call, caller=name, headers=headers))


def page_files() -> Mapping[str, tuple[str, bytes]]:
    """The files of the page by their paths, each with its kind."""
    found = {}
    for file in files("mu_twisted.web.dashboard").iterdir():
        kind = KINDS.get(file.name.rpartition(".")[2])
        if kind is not None:
            found["" if file.name == "index.html" else file.name] = kind, file.read_bytes()
    return found


def _token(call: Call) -> str:
    text = call.headers.get("authorization", "")
    return text[len(BEARER) :].strip() if text[: len(BEARER)].lower() == BEARER else ""
