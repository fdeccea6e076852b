"""The records of jobs answer here where no coordinator runs: what is asked most is read from each job's files alone.

All else, such as a log, takes what a coordinator is made of: half a second of imports.
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mu_twisted.daemons import StateDirectory
from mu_twisted.storage import StoredJobs

if TYPE_CHECKING:
    from mu_twisted.daemons.records import Records

VERSION = "v1"


class StoredRecords:
    """The records of a state directory, which is held meanwhile. A context manager.

    :param state_dir: that of a coordinator that does not run.
    :param stored: its jobs, of which earlier questions may have found something.
    :raises mu_twisted.base.MuError: it is in use, or the records cannot be read; so do the methods.
    """

    def __init__(self, state_dir: Path, stored: StoredJobs) -> None:
        self._state_dir = state_dir
        self._stored = stored
        self._all: Records | None = None
        self._open = ExitStack()
        self._open.callback(StateDirectory(state_dir, briefly=True).close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def answer(
        self, method: str, path: tuple[str, ...], query: Mapping[str, object], body: bytes | None
    ) -> tuple[int, bytes]:
        """What the control API answers.

        :param path: its segments, without the version; ``query`` its parameters.
        :returns: the status of HTTP, and the body.
        """
        content = self._stored.answer(path, query) if method == "GET" and self._all is None else None
        if content is not None:
            return 200, content
        parameters = {key: str(value) for key, value in query.items()}
        return self._whole().answer(method, (VERSION, *path), parameters, body or b"")

    def daemon_words(self, job: str) -> tuple[str, ...]:
        """The options of the coordinator that took a job."""
        return self._whole().daemon_words(job)

    def _whole(self) -> "Records":
        if self._all is None:
            from mu_twisted.daemons import records

            self._open.close()  # it holds the directory itself
            self._all = self._open.enter_context(records.opened(self._state_dir, time.time))
        return self._all
