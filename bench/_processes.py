"""Processes of the benches are asked by lines, and killed in the end."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent


@contextmanager
def process_of(
    command: list[str], *, environ: Mapping[str, str] | None = None, cwd: Path = ROOT, log: bool = False
) -> Iterator["subprocess.Popen[str]"]:
    """A process that is killed in the end.

    :param log: whether what it says on standard error is wanted, and not on standard output.
    """
    out, err = (None, subprocess.PIPE) if log else (subprocess.PIPE, None)
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=out, stderr=err, text=True, cwd=cwd, bufsize=1, env=environ
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line_of(process: "subprocess.Popen[str]") -> str:
    """The next line that it says.

    :raises RuntimeError: it has ended.
    """
    out = process.stdout or process.stderr
    assert out is not None
    line = out.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended early")
    return line.strip()


@contextmanager
def rendezvous(
    work: Path, ca: str, certificate: str, key: str, *more: str
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The real rendezvous, just started, and its port.

    :param ca: files, of which the names are as seen from ``work``.
    """
    daemon = ["mu-rendezvous", "-t", "tcp:0:interface=127.0.0.1:backlog=4096", "-c", ca, "-s", certificate, "-k", key]
    command = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", *daemon]
    with process_of([*command, *more, "--state-dir", "state"], cwd=work, log=True) as process:
        while "ready for peers" not in (line := line_of(process)):
            pass
        yield process, line.split()[-1]
