"""Programs that demos run and wait for."""

import subprocess
from collections.abc import Sequence
from pathlib import Path


def run_program(command: Sequence[str], directory: Path | None = None) -> "subprocess.CompletedProcess[bytes]":
    """Run a program with nothing on its standard input, and return what it wrote.

    An interrupt kills it, and waits until it is gone, for which :func:`subprocess.run` allows a quarter of a second.

    :param directory: where it runs; None: here.
    :raises OSError: it cannot be started.
    """
    with subprocess.Popen(
        command, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            out, err = process.communicate()
        except BaseException:
            process.kill()
            process.wait()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)
