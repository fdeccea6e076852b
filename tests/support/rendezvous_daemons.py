"""The real daemon, as a process."""

import os
import subprocess
from pathlib import Path

from warm_processes import LIMIT, TWISTD, Process, run


class Daemon:
    """``twistd mu-rendezvous`` with these words; its log is read as it comes.

    :param home: the user's home, and its working directory.
    """

    def __init__(self, home: Path, *words: str, name: str = "mu-rendezvous", ready: str = "ready for peers") -> None:
        self.process = Process(
            *TWISTD, name, *words, env=environment(home), cwd=home, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        self.port = int(self.wait_for(ready).split()[-1])

    def wait_for(self, text: str) -> str:
        """The next line of the log that holds this."""
        assert self.process.stderr is not None
        line: str
        for line in self.process.stderr:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"it ended before it said {text!r}: {self.lines}")

    def stop(self) -> int:
        """End it as systemd does; its exit status."""
        self.process.terminate()
        _, rest = self.process.communicate(timeout=LIMIT)
        self.lines += rest.splitlines(keepends=True)
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def peak_kb(self) -> int:
        """The most memory that it has had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0])


def environment(home: Path) -> dict[str, str]:
    """A user's environment with an empty home."""
    return {"PATH": os.environ["PATH"], "HOME": str(home)}


def complaint(home: Path, *words: str) -> tuple[int, str]:
    """Exit status and the one line that a start that must fail leaves."""
    done = run(*TWISTD, "mu-rendezvous", *words, env=environment(home), cwd=home, timeout=LIMIT)
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr + done.stdout
    return done.returncode, line
