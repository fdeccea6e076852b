"""The local S3 runs as a process of its own, which is started, probed, restarted and ended here.

Knows nothing of Lambda. It is ended with SIGKILL, as ``weed`` takes long over SIGTERM and its data survives that.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from mu_twisted.local._errors import LocalError
from mu_twisted.local._process_marks import MARK
from mu_twisted.local._restart_budget import RestartBudget
from mu_twisted.local._s3_programs import S3Program, check_port, free_ports
from mu_twisted.local.environments.python_paths import python_directories, with_targets

if TYPE_CHECKING:  # botocore makes its clients of data files; what they look like is only known to stubs
    from types_boto3_s3 import S3Client

_BOOTSTRAP = Path(__file__).with_name("_bootstrap.py")
_LOOPBACK = "127.0.0.1"
_STARTS = 4
_MOST_OUTPUT = 8192
START_TIME = 30.0
"""Seconds that the S3 may take to answer."""


def client(endpoint: str, access_key: str, secret_key: str, region: str) -> S3Client:
    """A boto3 client that reads nothing of the host's configuration."""
    bare = Session()
    # Files, profiles, variables: each has a switch that botocore refuses for an endpoint of one's own.
    store = bare.get_component("config_store")
    for name, (_, _, default, _) in Session.SESSION_VARIABLES.items():
        store.set_config_variable(name, default)
    store.set_config_variable("config_file", os.devnull)
    store.set_config_variable("credentials_file", os.devnull)
    session = boto3.Session(
        botocore_session=bare, aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name=region
    )
    config = Config(
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=2,
        read_timeout=5,
        proxies={},
        s3={"addressing_style": "path", "use_accelerate_endpoint": False, "us_east_1_regional_endpoint": "regional"},
    )
    return session.client("s3", endpoint_url=endpoint, config=config)


def probe(s3: S3Client, lenient: bool) -> None:
    """Send a signed request, and read one object if there is one. Blocks.

    :param lenient: do not read, as an object may be broken for good.
    :raises BotoCoreError, ClientError: while it does not answer.
    """
    for bucket in s3.list_buckets()["Buckets"][:2]:
        for found in s3.list_objects_v2(Bucket=bucket["Name"], MaxKeys=1).get("Contents", ()):
            s3.head_object(Bucket=bucket["Name"], Key=found["Key"])
            if found["Size"] and not lenient:
                s3.get_object(Bucket=bucket["Name"], Key=found["Key"], Range="bytes=0-0")["Body"].read()


class _StoreProcess(ProcessProtocol):
    def __init__(self, on_ended: Callable[[str], None]) -> None:
        self.output = b""
        self.ended = False
        self.over: Deferred[None] = Deferred()
        self._on_ended = on_ended

    def outReceived(self, data: bytes) -> None:
        self.output = (self.output + data)[-_MOST_OUTPUT:]

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.ended = True
        self._on_ended(reason.getErrorMessage())
        self.over.callback(None)


class LocalS3:
    """A local S3 as a process.

    :param reactor: starts it.
    :param threads: for boto3.
    :param program: what to run.
    :param data: where the objects are kept.
    :param run: a directory that is removed with this process.
    :param keys: access key and secret key, the only ones that it takes.
    :param region: that clients are to use.
    :param port: to listen at, or 0 for any.
    :param on_lost: called with an error of one line where it has ended and cannot be had again.
    :param private: give it a temporary directory of its own, where the host allows that.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        threads: ThreadPool,
        program: S3Program,
        data: Path,
        run: Path,
        keys: tuple[str, str],
        region: str,
        port: int,
        on_lost: Callable[[Failure], None],
        *,
        private: bool = True,
    ) -> None:
        self._reactor = reactor
        self._threads = threads
        self._program = program
        self._data = data
        self._run = run
        self._keys = keys
        self._region = region
        self._wanted = port
        self._on_lost = on_lost
        self._private = private
        self._process: _StoreProcess | None = None
        self._transport: Any = None
        self._serving = False
        self._stopping = False
        self._budget = RestartBudget()
        self.port = port
        self.kind = program.kind

    @property
    def endpoint(self) -> str:
        return f"http://{_LOOPBACK}:{self.port}"

    def choose_port(self) -> None:
        """Choose the port before the process runs, so that environments can be given it.

        :raises LocalError: the one that was asked for is taken.
        """
        if self._wanted:
            check_port(self._wanted)
        self.port = self._wanted or free_ports(1)[0]

    async def start(self) -> None:
        """Start it and wait until it answers a signed request.

        :raises LocalError: where it does not.
        """
        for attempt in range(_STARTS):
            if attempt and not self._wanted:
                self.choose_port()
            self._spawn()
            if await self._answers():
                self._wanted = self.port
                self._serving = True
                return
            if self._stopping:
                raise LocalError("the local S3 was stopped while it started")
            await self._kill()
        raise LocalError(f"the local S3 ({self.kind}) does not answer at port {self.port}: {self._said()}")

    def _said(self) -> str:
        """The line of its output that most likely says what is wrong."""
        assert self._process is not None
        text = self._process.output.decode(errors="replace").strip().splitlines()
        faults = [line for line in text if re.match(r"F\d|panic|.*(in use|rror)", line)] or text or ["nothing was said"]
        return faults[-1][:300]

    def _spawn(self) -> None:
        self._process = _StoreProcess(self._ended)
        temporary = self._run / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        hidden = str(temporary) if self._private else ""
        arguments = self._program.command(self.port)
        own = [str(self._data), str(self._run), *self._program.directories]
        shown = json.dumps([*with_targets(own), *python_directories()])
        guard = [sys.executable, "-I", "-S", str(_BOOTSTRAP), "environments._guard", str(os.getpid()), hidden, shown]
        variables = {"HOME": str(self._run), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", MARK: str(self._run.parent)}
        if os.environ.get("PYTHONPATH"):
            # A program in Python finds its packages where we find ours.
            variables["PYTHONPATH"] = os.environ["PYTHONPATH"]
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._transport = self._reactor.spawnProcess(
                self._process,
                guard[0],
                [*guard, *arguments],
                env=variables,
                path=str(self._run),
                childFDs={0: null, 1: "r", 2: "r"},
            )
        finally:
            os.close(null)

    async def _answers(self) -> bool:
        process = self._process
        assert process is not None
        until = self._reactor.seconds() + START_TIME
        s3 = client(self.endpoint, *self._keys, self._region)
        while not process.ended and not self._stopping and self._reactor.seconds() < until:
            try:
                late = self._reactor.seconds() > until - START_TIME / 2
                await deferToThreadPool(self._reactor, self._threads, probe, s3, late)
            except (BotoCoreError, ClientError):
                pause: Deferred[None] = Deferred()
                self._reactor.callLater(0.05, pause.callback, None)
                await pause
            else:
                return not process.ended
        return False

    def _ended(self, reason: str) -> None:
        if self._stopping or not self._serving:
            return
        self._serving = False
        self._log.warn("the local S3 ended: {reason}", reason=reason)
        Deferred.fromCoroutine(self._restart()).addErrback(self._lost)

    async def _restart(self) -> None:
        """Start it again at the same port with the same objects, as both are in use."""
        if not self._program.keeps:
            raise LocalError(f"the local S3 ({self.kind}) ended, and its objects with it; start the stack again")
        if not self._budget.once_more(self._reactor.seconds()):
            raise LocalError(f"the local S3 ({self.kind}) ends again and again: {self._said()}")
        await self.start()
        self._log.info("the local S3 answers again at {url}", url=self.endpoint)

    def _lost(self, failure: Failure) -> None:
        if not self._stopping:
            self._on_lost(failure)

    async def _kill(self) -> None:
        if self._process is not None and not self._process.ended:
            self._transport.signalProcess("KILL")
            await self._process.over

    async def stop(self) -> None:
        """End it now; what was written stays."""
        self._stopping = True
        await self._kill()
