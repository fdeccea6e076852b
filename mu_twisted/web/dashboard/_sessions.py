"""Sessions are who may see the dashboard: a one-time code is exchanged for a token, and of both only hashes are kept.

They outlive the process, in a file of the state directory. Knows no HTTP.
"""

import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
from twisted.logger import Logger

CODE_LIFE = 600.0
"""Seconds in which a code may be used, once."""
LIFE = 30 * 86_400.0
"""Seconds after which a session ends in any case."""
UNUSED = 7 * 86_400.0
"""The same, where it is not used."""
NOTED = 3600.0
"""Seconds between two writes of when a session was used."""
MAX_CODES = 32
MAX_SESSIONS = 64
"""That are kept; the oldest go."""
LONGEST = 128
"""Characters of a code or a token that are looked at."""


class _SessionTimes(msgspec.Struct):
    began: float
    used: float


class _StoredSessions(msgspec.Struct):
    codes: dict[str, float] = {}
    sessions: dict[str, _SessionTimes] = {}


class Sessions:
    """The sessions of one coordinator.

    :param path: of the file with the hashes; made if need be, for its owner only.
    :param wall: the time of day, seconds since 1970.
    """

    _log = Logger()

    def __init__(self, path: Path, wall: Callable[[], float]) -> None:
        self._path = path
        self._wall = wall
        self._state = _StoredSessions()
        try:
            self._state = msgspec.json.decode(path.read_bytes(), type=_StoredSessions)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._log.warn("the dashboard's sessions are begun anew: {path}: {error}", path=str(path), error=str(error))

    def new_code(self) -> str:
        """A code that is good for one session, within :data:`CODE_LIFE` seconds."""
        code = secrets.token_urlsafe(32)
        self._state.codes[_hash(code)] = self._wall() + CODE_LIFE
        self._keep()
        return code

    def redeem(self, code: str) -> str | None:
        """The token of a new session; None: the code is none, was used, or is too old. It is used up."""
        until = self._state.codes.pop(_hash(code), None)
        if until is None or not 0 <= until - self._wall() <= CODE_LIFE:
            return None
        token = secrets.token_urlsafe(32)
        now = self._wall()
        self._state.sessions[_hash(token)] = _SessionTimes(now, now)
        self._keep()
        return token

    def name_of(self, token: str) -> str | None:
        """What a session is called in the log; None: there is none with this token."""
        key = _hash(token)
        session = self._state.sessions.get(key)
        if session is None or self._is_over(session):
            return None
        if self._wall() - session.used > NOTED:
            session.used = self._wall()
            self._keep()
        return f"dashboard {key[:8]}"

    def end(self, token: str) -> None:
        """End the session with this token, if there is one."""
        if self._state.sessions.pop(_hash(token), None) is not None:
            self._keep()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _is_over(self, session: _SessionTimes) -> bool:
        now = self._wall()
        return now - session.began > LIFE or now - session.used > UNUSED

    def _keep(self) -> None:
        """Let go what is over or too much, and write the rest."""
        state, now = self._state, self._wall()
        codes = {key: until for key, until in state.codes.items() if until > now}
        sessions = {key: session for key, session in state.sessions.items() if not self._is_over(session)}
        state.codes = dict(list(codes.items())[-MAX_CODES:])
        state.sessions = dict(list(sessions.items())[-MAX_SESSIONS:])
        fresh = self._path.with_name(f"{self._path.name}.new")
        try:
            with suppress(FileNotFoundError):
                fresh.unlink()
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(state))
            fresh.replace(self._path)
        except OSError as error:
            self._log.warn(
                "the dashboard's sessions end with this process: {path}: {error}",
                path=str(self._path),
                error=error.strerror,
            )


def _hash(secret: str) -> str:
    """Of a secret with 256 random bits, which nothing slower would make safer."""
    return hashlib.sha256(secret[:LONGEST].encode("utf-8", "surrogatepass")).hexdigest()
