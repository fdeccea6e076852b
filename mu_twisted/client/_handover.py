"""A job is handed to a coordinator here, also while that comes or goes. Knows nothing of what the job does."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mu_twisted.base.json_types import Json, JsonObject
from mu_twisted.client._control import Coordinator, RequestRefused
from mu_twisted.client._errors import UsageError
from mu_twisted.client._transport import ConnectionLost, CoordinatorError, NotServed, Unreachable
from mu_twisted.daemons import InUse, StateDirectory

MAX_SOURCE = 1 << 20
"""Bytes of a pipeline module; the control API takes no more."""
ENDING = 10.0
"""Seconds that a coordinator may need to end, in which it takes no job and still has its state directory."""
COMEBACK = 60.0
"""Seconds that a coordinator may be gone, as it is when it is restarted."""
PAUSE = 0.2
COMEBACK_PAUSE = 0.5
"""Seconds between two attempts."""


def pipeline_source(path: Path) -> str:
    """The source of a pipeline module, as a request has it.

    :raises UsageError: it cannot be read, or is too long.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the pipeline module {path}: {error.strerror}") from None
    if len(content) > MAX_SOURCE:
        raise UsageError(f"the pipeline module {path} has {len(content)} bytes; at most {MAX_SOURCE} can be sent")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"the pipeline module {path} is not UTF-8") from None


def submitted(coordinator: Coordinator, request: JsonObject) -> Json:
    """The status of a job that a coordinator which runs has taken.

    :param request: the job, as the control API takes it.
    :raises UsageError: the request is wrong in itself.
    :raises CoordinatorError: it is refused, or whether it was taken is not known.
    """
    try:
        return coordinator.post("jobs", body=request)
    except RequestRefused as error:
        if error.usage:
            raise UsageError(str(error)) from None
        raise
    except ConnectionLost as error:
        raise CoordinatorError(f"{error}; whether the job was taken is not known, `mu jobs` shows it") from None


def handed_over(coordinator: Coordinator, request: JsonObject) -> Json:
    """The job as a coordinator that runs has taken it; None where it has ended meanwhile.

    :param request: the job, as the control API takes it.
    :raises MuError: it cannot be handed over.
    """
    until = time.monotonic() + ENDING
    while True:
        try:
            return submitted(coordinator, request)
        except NotServed:
            return None
        except RequestRefused as error:
            if error.status != 503 or time.monotonic() > until:
                raise
            time.sleep(PAUSE)


def free_or_served(coordinator: Coordinator, directory: Path) -> tuple[StateDirectory | None, Json]:
    """The state directory, held by this process, or what the coordinator says of itself that was faster to have it.

    :raises mu_twisted.base.MuError: a process has the directory and does not serve it within :data:`ENDING` seconds.
    """
    until = time.monotonic() + ENDING
    while True:
        try:
            return StateDirectory(directory), None
        except InUse as error:
            held = error
        try:
            return None, coordinator.get("daemon", served=True)
        except Unreachable:
            if time.monotonic() > until:
                raise held from None
            time.sleep(PAUSE)


class ReconnectingClient:
    """Asks a coordinator that runs, and waits for it where it is being restarted.

    :param waiting: is called while it is away.
    """

    def __init__(self, coordinator: Coordinator, waiting: Callable[[], None] = lambda: None) -> None:
        self._coordinator = coordinator
        self._waiting = waiting

    def get(self, *path: str, **query: Any) -> Json:
        """The answer of the coordinator; None where it has been away for :data:`COMEBACK`.

        :param query: see :meth:`Coordinator.get`.
        """
        # Not the records that it has left: reading them would keep it from coming back.
        return self._answer(lambda: self._coordinator.get(*path, served=True, **query), repeats=True)

    def post(self, *path: str, body: Mapping[str, Json] | None = None, repeats: bool = False) -> Json:
        """The same for a POST.

        :param body: see :meth:`Coordinator.post`.
        :param repeats: whether it may be done twice: it is asked again also where its answer was lost.
        :raises ConnectionLost: whether it was done is not known.
        """
        return self._answer(lambda: self._coordinator.post(*path, body=body, served=True), repeats=repeats)

    def _answer(self, ask: Callable[[], Json], *, repeats: bool) -> Json:
        lost: float | None = None
        while True:
            try:
                return ask()
            except (Unreachable, RequestRefused) as error:
                if isinstance(error, RequestRefused) and error.status != 503:
                    raise
                if isinstance(error, ConnectionLost) and not repeats:
                    raise
                now = time.monotonic()
                lost = now if lost is None else lost
                if now - lost > COMEBACK:
                    return None
                self._waiting()
                time.sleep(COMEBACK_PAUSE)
