"""What the tasks of ``mu map --out -`` have printed is printed here, in the order of the inputs or as it comes.

Each task stores its result as an object, so that it may have any size and any bytes, and nothing is lost if this
command is; what has been printed is deleted.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mu_twisted.aws import Clients, aws_errors
from mu_twisted.base import MuError
from mu_twisted.base.json_types import Json
from mu_twisted.cli._wait import MARGIN, ProgressLine
from mu_twisted.client import COMEBACK, COMEBACK_PAUSE, Coordinator, RequestRefused, Unreachable
from mu_twisted.pipelines import JobSettings, split_url
from mu_twisted.pipelines.map import output_key, results_of

if TYPE_CHECKING:
    from botocore.response import StreamingBody

FETCHES = 8
"""Results that are fetched at once."""
STEP = 1.0
"""Seconds between two looks at a job."""
_PIECE = 1 << 20
_MOST = 8 << 20
"""Bytes of a result that are fetched before its turn; a longer one is copied when it has come."""
_TOGETHER = 1000
"""Objects that S3 deletes at once."""


class Results:
    """Prints the results of one job, and takes them away.

    :param prefix: ``s3://BUCKET/PREFIX/`` of the results.
    :param settings: the job's.
    :param ordered: whether a result waits for those before it.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        clients: Clients,
        prefix: str,
        settings: JobSettings,
        *,
        ordered: bool,
    ) -> None:
        self._coordinator = coordinator
        self._clients = clients
        self._bucket, self._prefix = split_url(prefix) or ("", "")
        self._settings = settings
        self._ordered = ordered
        self._line = ProgressLine()
        self.say = self._line.say
        """Prints a line on standard error, from any thread."""
        # As it is now: twistd replaces sys.stdout by its log.
        self._out: Any = sys.stdout
        self._cursor = 0
        self._reported: set[int] = set()
        self._printed: list[str] = []

    def print_all(self, job: Mapping[str, Json]) -> None:
        """Print what comes, until the job is over and all is printed.

        :param job: as it was last seen.
        """
        pool = ThreadPoolExecutor(FETCHES)
        over = False
        try:
            while not over:
                over = job["state"] != "running"
                for tasks in self._settled(job["job"]):
                    self._print(pool, tasks)
                if not over:
                    job = self._wait(job["job"])
        finally:
            self._line.clear()
            pool.shutdown(wait=True, cancel_futures=True)
            with suppress(MuError):
                self._delete()
                if job["state"] != "running":
                    self._sweep()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _settled(self, job: str) -> Iterator[list[int]]:
        """Tasks whose turn it is, page by page."""
        cursor: int | None = self._cursor
        unbroken = True
        while cursor is not None:
            page = self._coordinator.get("jobs", job, "tasks", cursor=cursor)
            ready = []
            for task in page["tasks"]:
                number, state = task["task"], task["state"]
                if state not in ("done", "failed"):
                    unbroken = False
                    if self._ordered:
                        break
                elif state == "done" and number not in self._reported:
                    ready.append(number)
                if unbroken:
                    self._cursor = number + 1
                    self._reported.discard(number)
                elif state == "done":
                    self._reported.add(number)
            yield ready
            cursor = page.get("next") if unbroken or not self._ordered else None

    def _print(self, pool: ThreadPoolExecutor, tasks: Sequence[int]) -> None:
        keys = [output_key(self._settings, number) for task in tasks for number in results_of(self._settings, task)]
        for first in range(0, len(keys), 2 * FETCHES):
            some = [key for key in keys[first : first + 2 * FETCHES] if key is not None]
            for key, (head, rest) in zip(some, pool.map(self._fetch, some), strict=True):
                self._line.clear()
                self._out.write_bytes(head)
                while rest is not None and (piece := self._read(rest, _PIECE, key)):
                    self._out.write_bytes(piece)
                self._printed.append(key)
            self._out.flush()
            if len(self._printed) >= _TOGETHER:
                self._delete()

    def _fetch(self, key: str) -> "tuple[bytes, StreamingBody | None]":
        with aws_errors(f"fetch the result s3://{self._bucket}/{key}"):
            answer = self._clients.s3.get_object(Bucket=self._bucket, Key=key)
            size, body = answer["ContentLength"], answer["Body"]
        if size > _MOST:
            return b"", body
        return self._read(body, None, key), None

    def _read(self, body: "StreamingBody", most: int | None, key: str) -> bytes:
        with aws_errors(f"fetch the result s3://{self._bucket}/{key}"):
            piece: bytes = body.read(most)
            return piece

    def _delete(self) -> None:
        while self._printed:
            some, self._printed = self._printed[:_TOGETHER], self._printed[_TOGETHER:]
            with aws_errors(f"delete results in bucket {self._bucket}"):
                self._clients.s3.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in some], "Quiet": True}
                )

    def _sweep(self) -> None:
        """Take away what tasks have stored that have failed all the same."""
        with aws_errors(f"list bucket {self._bucket}"):
            pages = self._clients.s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            self._printed = [item["Key"] for page in pages for item in page.get("Contents", ())]
        self._delete()

    def _wait(self, job: str) -> Mapping[str, Json]:
        """The job, once something may have changed. A coordinator that is being restarted is waited for."""
        lost = time.monotonic()
        while True:
            try:
                seen: Mapping[str, Json] = self._coordinator.get(
                    "jobs", job, "wait", timeout=STEP, answer_timeout=STEP + MARGIN
                )
            except (Unreachable, RequestRefused) as error:
                refused = isinstance(error, RequestRefused) and error.status != 503
                if refused or time.monotonic() - lost > COMEBACK:
                    raise
                time.sleep(COMEBACK_PAUSE)
            else:
                self._line.show_job(seen)
                return seen
