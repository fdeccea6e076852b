"""The fake encoders run on the embedded stack, with a rendezvous: what the encoders' tests share."""

import io
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import warm_processes
from encoder_reference import serial, y4m
from warm_processes import Process

from mu_twisted.aws import build_package
from mu_twisted.cli.demo.fake_encoders import TOOLS, make_fake_encoders

TWISTD = [sys.executable, "-W", "error", "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile="]
FUNCTION = "xcenc"


class FakeEncoders:
    """The tools, a function of them on the embedded stack, and a rendezvous beside it."""

    def __init__(self, local: Any, tools: Path, port: int) -> None:
        self.local = local
        self.tools = tools
        self.port = port

    def make(
        self,
        name: str,
        names: Sequence[str] = TOOLS,
        more: str = "",
        instead: Mapping[str, Path] | None = None,
        command: bytes = b"",
    ) -> str:
        """A function of some of the tools.

        :param more: is added to the worker's handler.
        :param instead: what takes the place of a tool, which is then called ``really-NAME``.
        :param command: the packaged one.
        """
        renamed: dict[Path, str] = {}
        for tool, program in (instead or {}).items():
            renamed |= {program: tool, self.tools / tool: f"really-{tool}"}
        programs = dict.fromkeys([*(self.tools / each for each in names), *renamed])
        package = io.BytesIO(build_package(list(programs), command, names=renamed))
        if more:
            with zipfile.ZipFile(package) as archive:
                members = {info: archive.read(info) for info in archive.infolist()}
            package = io.BytesIO()
            with zipfile.ZipFile(package, "w") as archive:
                for info, data in members.items():
                    is_handler = info.filename == "worker_lambda/lambda_function.py"
                    archive.writestr(info, data + more.encode() if is_handler else data)
        self.local.control.create_function(name, package.getvalue())
        return name

    def put(self, tasks: int, video: str, first: int = 0) -> None:
        """Fresh inputs, each unlike all others.

        :param first: what the first one is made of.
        """
        for number in range(tasks):
            self.local.control.put_object(self.local.BUCKET, f"{video}/{number:08d}.y4m", y4m(first + number))

    def encode(self, coordinate: Any, function: str, tasks: int, group: int, video: str, *words: str) -> Any:
        """A job of xcenc on fresh inputs."""
        self.put(tasks, video)
        return self.run(coordinate, "xcenc", function, tasks, video, "-K", str(group), *words)

    def run(self, coordinate: Any, pipeline: str, function: str, tasks: int, video: str, *words: str) -> Any:
        """A job."""
        options = ["-l", function, "-T", str(self.port), "-n", str(tasks), "-v", video]
        return coordinate(*self.local.words(pipeline), *options, *words)

    def stored(self, tasks: int, video: str, kind: str = "out", suffix: str = "ivf") -> list[bytes]:
        """What a job has made."""
        get = self.local.control.get_object
        return [get(self.local.BUCKET, f"{video}/{kind}/{number:08d}.{suffix}") for number in range(tasks)]

    def expected(self, work: Path, tasks: int, group: int) -> list[Any]:
        """What it should have made."""
        work.mkdir()
        return serial(self.tools, work, [y4m(number) for number in range(tasks)], group)


def environment(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    """A user's environment with an empty home, and nothing of this machine's AWS."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL", "PYTHONPATH") if key in os.environ}
    return {**kept, "HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true", **more}


@contextmanager
def rendezvous(*words: str, env: Mapping[str, str] | None = None) -> Iterator[int]:
    """A rendezvous, and its port."""
    process = Process(
        *warm_processes.TWISTD,
        "mu-rendezvous",
        *words,
        "-t",
        "tcp:0:interface=127.0.0.1",
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    assert process.stderr is not None
    try:
        ready = next(filter(None, (re.search(r"ready for peers on port ([0-9]+)$", line) for line in process.stderr)))
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield int(ready[1])
    finally:
        process.terminate()
        assert process.wait(180) in (0, -15)
        process.stderr.close()


def prepare_encoders(local: Any, tools: Path, port: int) -> FakeEncoders:
    """Compile the fake encoders, and make a function of them.

    :param port: of the rendezvous.
    """
    make_fake_encoders(tools)
    encoders = FakeEncoders(local, tools, port)
    encoders.make(FUNCTION)
    return encoders
