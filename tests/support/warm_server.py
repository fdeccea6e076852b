"""A process that has imported what the project's commands import, and forks one of them for each request.

It reads requests from the socket whose descriptor is its argument, as JSON with the standard streams beside it, and
answers each with the number of the new process. That one has no parent but the caller: see ``warm_processes``. What
a daemon imports takes most of the time that it needs to be ready, and the tests start hundreds.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import socket
import sys
import threading
from typing import Any

MODULES = (
    "boto3",
    "botocore.client",
    "botocore.config",
    "mu_twisted.cli._main",
    "mu_twisted.daemons._coordinator_service",
    "mu_twisted.daemons._rendezvous_service",
    "mu_twisted.daemons.coordinator",
    "mu_twisted.daemons.foreground",
    "mu_twisted.daemons.program",
    "mu_twisted.daemons.records",
    "mu_twisted.daemons.rendezvous",
    "mu_twisted.daemons.run",
    "mu_twisted.pipelines.exec",
    "twisted.scripts.twistd",
)


def prepare() -> None:
    """Import them. A reactor holds descriptors of its own, and threads do not go through a fork: neither may be."""
    from twisted.application.service import IServiceMaker
    from twisted.plugin import getPlugins

    for name in MODULES:
        importlib.import_module(name)
    list(getPlugins(IServiceMaker))
    assert "twisted.internet.reactor" not in sys.modules
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()


def serve(requests: socket.socket) -> dict[str, Any]:
    """Fork a process for each request. Returns in the new processes only: what each was asked for."""
    while True:
        data, streams, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        if not data:
            os._exit(0)
        answer, told = os.pipe()
        intermediate = os.fork()
        if intermediate == 0:
            number = os.fork()
            if number == 0:
                for descriptor in (answer, told):
                    os.close(descriptor)
                requests.close()
                begin(streams)
                request: dict[str, Any] = json.loads(data)
                return request
            os.write(told, b"%d" % number)
            os._exit(0)
        os.close(told)
        os.waitpid(intermediate, 0)
        requests.sendall(os.read(answer, 32))
        os.close(answer)
        for stream in streams:
            os.close(stream)


def begin(streams: list[int]) -> None:
    """Take these as standard input, output and error."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)


def main() -> None:
    """Serve, and in each new process run what it was asked for as Python runs ``-c``."""
    prepare()
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        request = serve(requests)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    code, *words = request["words"]
    sys.argv = ["-c", *words]
    sys.path[0] = ""
    exec(compile(code, "<string>", "exec"), sys.modules["__main__"].__dict__)


if __name__ == "__main__":
    main()
