"""A call store makes texts of calls, and calls' results of answers; what is long of them it keeps in S3 meanwhile.

It knows nothing of jobs and when they are asked.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from mu_twisted.aws import Clients, aws_errors
from mu_twisted.base import MuError, counted
from mu_twisted.base.json_types import Json
from mu_twisted.client._pickling import CallError, answer_of
from mu_twisted.pipelines.calls import NOWHERE, STORED

MAX_INLINE_CALL = 11 << 10
"""Bytes of a pickled call that is no object of S3: as base64 it is an input of a job."""
DELETED = 1000
"""Objects that S3 deletes at once."""


class CallBucket(Protocol):
    """Where objects are kept."""

    @property
    def bucket(self) -> str | None:
        """Of long calls and results; None: there is none."""

    def clients(self) -> Clients:
        """Clients of the S3 of long calls."""


@dataclass
class FunctionCall:
    """A call that is waited for.

    :param future: gets its answer.
    :param name: what it is called in messages.
    :param content: the pickled call.
    :param result: the key of its result, where that may be long.
    :param stored: keys of what is long of the call itself.
    """

    future: "Future[Any]"
    name: str
    content: bytes
    result: str = NOWHERE
    stored: list[str] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        """Of the objects that it may have."""
        return self.stored if self.result == NOWHERE else [*self.stored, self.result]


class CallStore:
    """Keeps the objects of one executor's calls.

    :param where: they are kept.
    """

    def __init__(self, where: CallBucket) -> None:
        self._where = where
        self.prefix = f"mu-calls/{secrets.token_hex(8)}/"
        """Of their keys."""
        self.count = 0
        """Of calls."""

    def text(self, call: FunctionCall) -> str:
        """The input of the task that does a call; a long one is stored.

        :raises MuError: it cannot be.
        """
        bucket, self.count = self._where.bucket, self.count + 1
        if bucket is not None:
            call.result = f"{self.prefix}{self.count}.result"
        content, call.content = call.content, b""
        if len(content) <= MAX_INLINE_CALL:
            return f"{call.result} inline {base64.b64encode(content).decode()}"
        if bucket is None:
            raise CallError(
                f"its arguments are {len(content)} bytes, and more than {MAX_INLINE_CALL} go through S3: give the "
                "executor a bucket"
            )
        key = f"{self.prefix}{self.count}.call"
        call.stored.append(key)
        with aws_errors(f"store the arguments of {call.name}"):
            self._where.clients().s3.put_object(Bucket=bucket, Key=key, Body=content)
        return f"{call.result} {STORED} {key} {hashlib.sha256(content).hexdigest()}"

    def answer(self, call: FunctionCall, task: Mapping[str, Json]) -> Any:
        """What a call has returned; its objects are gone then.

        :param task: that did it, as the coordinator says how it has ended.
        :raises CallError: it was not done, or its result cannot be had; or what the function has raised.
        """
        if task["state"] != "done":
            raise CallError(f"{call.name} failed after {_attempts(task)}: {task.get('error') or 'its job has ended'}")
        if task.get("result") is None:
            raise CallError(f"{call.name} was done, and its result is lost: the coordinator was killed")
        where, _, content = base64.b64decode(task["result"]).partition(b" ")
        is_stored = where == STORED.encode()
        if is_stored:
            content = self._fetched(call, *content.decode().split(" "))
        if is_stored or call.stored or task["attempts"] > 1:  # an attempt that was lost may have stored a result
            self.delete(call.keys)
        call.stored, call.result = [], NOWHERE
        return answer_of(content, call.name)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, as far as that can be done."""
        for first in range(0, len(keys), DELETED):
            objects: Any = [{"Key": key} for key in keys[first : first + DELETED]]
            deleted: Any = {"Objects": objects, "Quiet": True}
            with suppress(MuError), aws_errors("delete what calls have stored"):
                self._where.clients().s3.delete_objects(Bucket=self._where.bucket or "", Delete=deleted)

    def _fetched(self, call: FunctionCall, digest: str, size: str) -> bytes:
        """A long answer, which is that of the worker: its digest has come over the worker's own connection."""
        bucket, s3 = self._where.bucket or "", self._where.clients().s3
        with aws_errors(f"fetch the result of {call.name}"):
            content: bytes = s3.get_object(Bucket=bucket, Key=call.result)["Body"].read(int(size) + 1)
        if hashlib.sha256(content).hexdigest() != digest:
            raise CallError(f"{call.name}: the result in s3://{bucket}/{call.result} is not what the worker has sent")
        return content


def _attempts(task: Mapping[str, Json]) -> str:
    return counted(task["attempts"], "attempt")
