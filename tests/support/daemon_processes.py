"""The daemons' tests share what a process came to, and where the embedded stack is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mu_twisted.aws import AwsControl
from mu_twisted.local import Stack


@dataclass(frozen=True)
class Ended:
    """What a process left."""

    status: int
    out: str
    err: str

    def complained(self) -> str:
        """Its one line of complaint."""
        [line] = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in self.err + self.out
        return line


Coordinate = Callable[..., Ended]


@dataclass(frozen=True)
class Local:
    """The embedded stack, a bucket and a function of the worker in it."""

    state_dir: Path
    stack: Stack
    control: AwsControl

    BUCKET = "work"
    FUNCTION = "worker"

    def words(self, *words: str) -> list[str]:
        """Options that point a coordinator at it; ``words`` are the pipeline and its own."""
        daemon = ["--local", "--state-dir", str(self.state_dir), "-t", "0"]
        return [*daemon, *words, "-b", self.BUCKET, "-l", self.FUNCTION]
