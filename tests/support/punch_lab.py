"""Pairs of workers punch to each other through a lab's NATs, with a real rendezvous, time and again."""

import json
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from nat_lab import RENDEZVOUS, Lab
from network_namespaces import NetworkNamespace

from mu_twisted.tls import Authority, TaskIdentity
from mu_twisted.wire.punch_report import PunchReport, parse_punch_report

SUPPORT = Path(__file__).parent
PORT = 13337
JOB = "lab"
LIMIT = 180.0
"""Seconds that a program may take to end."""


@dataclass(frozen=True)
class Punched:
    """What one try has come to.

    :param reason: why there is no link; None: there is one.
    :param tcp: seconds from each end's first dial to its TCP connection.
    :param whole: seconds from each end's order to punch to its link.
    :param by: the address that each end has reached the other by.
    """

    reason: str | None
    tcp: tuple[float, ...] = ()
    whole: tuple[float, ...] = ()
    by: tuple[str, ...] = ()


class Program:
    """A program of the lab that says JSON, one line at a time."""

    def __init__(self, where: NetworkNamespace, *words: str) -> None:
        self._process: subprocess.Popen[str] = where.start_python(*words)

    def order(self, **what: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"a program of the lab has ended with status {self._process.wait()}")
        return json.loads(line)

    def close(self) -> str:
        """End it; returns what it says at its end."""
        last, _ = self._process.communicate(timeout=LIMIT)
        return last


class PunchLab:
    """A rendezvous in a lab, and a worker on each of its hosts.

    :param directory: for the CA's files.
    :param pause: seconds from one punch of a pair to the next; None: as many as outside of the lab.
    :param limit: seconds for what must come about, however busy the machine is; None: as outside of the lab.
    """

    def __init__(self, lab: Lab, directory: Path, *, pause: float | None = None, limit: float | None = None) -> None:
        self.lab = lab
        self._paused = {} if pause is None else {"pause": pause}
        self._limit = limit
        self._authority = Authority.open(directory)
        self._attempts = count()
        self.reports: list[PunchReport] = []
        """What each worker has said of its punches when it last left."""
        self.rendezvous = self._start(
            lab.rendezvous, "lab_rendezvous.py", str(directory), *map(str, self._paused.values())
        )
        words = [] if limit is None else [str(limit)]
        self.workers = [self._start(host, "lab_worker.py", *words) for host in lab.hosts]
        assert self.rendezvous.hear() == "ready"

    def punch(self, *, late: tuple[float, float] = (0.0, 0.0)) -> Punched:
        """Connect both workers anew, and let the first want a link to the second.

        :param late: seconds for which each keeps the order to punch.
        """
        with self.opened(late):
            return self.want()

    def want(self) -> Punched:
        """Let the first want a link to the second, as :meth:`opened` has connected them."""
        first, second = self.workers
        first.order(want=1)
        said = first.hear()
        if "failed" in said:
            second.order(settle=True)  # its last try may end later
            while second.hear() != "settled":
                pass
            return Punched(said["failed"][1])
        both = [said, second.hear()]
        assert [each["linked"] for each in both] == [1, 0]
        assert all(each["heard"] for each in both)
        return Punched(
            None,
            tuple(each["tcp"] for each in both),
            tuple(each["whole"] for each in both),
            tuple(each["by"] for each in both),
        )

    def opened(self, late: tuple[float, float] = (0.0, 0.0), *, in_vain: bool = False) -> "_Opened":
        """Connect both workers to the rendezvous, as a context.

        :param in_vain: whether their punches come to nothing, so that they end in their time.
        """
        return _Opened(self, late, in_vain)

    def open(self, late: tuple[float, float], in_vain: bool) -> None:
        """Connect both workers to the rendezvous, as a new attempt each."""
        attempt = next(self._attempts)
        for task, worker in enumerate(self.workers):
            pair = self._authority.issue(TaskIdentity(JOB, task, attempt), lifetime=timedelta(hours=1))
            bodies = {"cacert": self._authority.certificate, "srvcrt": pair.certificate, "srvkey": pair.key}
            worker.order(
                open={
                    "job": JOB,
                    "task": task,
                    "attempt": attempt,
                    "address": [RENDEZVOUS, PORT],
                    "tls": {name: _body(pem) for name, pem in bodies.items()},
                    "late": late[task],
                    "longer": 0.0 if in_vain else self._limit or 0.0,
                    **self._paused,
                }
            )
        for worker in self.workers:
            assert "opened" in worker.hear()

    def leave(self) -> None:
        """Close what :meth:`open` has opened."""
        for worker in self.workers:
            worker.order(close=True)
        self.reports = []
        for worker in self.workers:
            while (said := worker.hear()) != "closed":
                if "report" in said:
                    self.reports.append(parse_punch_report(said["report"].encode("ascii")))
        assert len(self.reports) == len(self.workers)

    def close(self) -> dict[str, int]:
        """End all programs; returns what the broker has counted."""
        for worker in self.workers:
            worker.close()
        counted: dict[str, int] = json.loads(self.rendezvous.close().splitlines()[-1])
        return counted

    def _start(self, where: NetworkNamespace, program: str, *words: str) -> Program:
        return Program(where, str(SUPPORT / program), *words)


class _Opened:
    def __init__(self, lab: PunchLab, late: tuple[float, float], in_vain: bool) -> None:
        self._lab = lab
        self._late = late
        self._in_vain = in_vain

    def __enter__(self) -> None:
        self._lab.open(self._late, self._in_vain)

    def __exit__(self, *_: object) -> None:
        self._lab.leave()


class MessageLab:
    """A rendezvous in a lab, and a worker on each of its hosts whose task sends or receives messages.

    :param directory: for the CA's files, and the workers'.
    """

    def __init__(self, lab: Lab, directory: Path) -> None:
        self._authority = Authority.open(directory)
        self.rendezvous = Program(lab.rendezvous, str(SUPPORT / "lab_rendezvous.py"), str(directory))
        assert self.rendezvous.hear() == "ready"
        self.workers = []
        self.directories = []
        for task, host in enumerate(lab.hosts):
            own = directory / f"task{task}"
            own.mkdir()
            self.directories.append(own)
            self.workers.append(Program(host, str(SUPPORT / "lab_messages.py"), str(own)))
            pair = self._authority.issue(TaskIdentity(JOB, task, 0), lifetime=timedelta(hours=1))
            bodies = {"cacert": self._authority.certificate, "srvcrt": pair.certificate, "srvkey": pair.key}
            tls = {name: _body(pem) for name, pem in bodies.items()}
            self.workers[-1].order(link=f"{RENDEZVOUS}:{PORT}:{JOB}:{task}:0:{1 - task}", tls=tls)

    def hear(self, task: int, beginning: str) -> str:
        """What a worker says next that begins so."""
        while True:
            said: str = self.workers[task].hear()
            if said.startswith(beginning):
                return said

    def close(self) -> dict[str, int]:
        """End all programs; returns what the broker has counted."""
        for worker in self.workers:
            worker.close()
        counted: dict[str, int] = json.loads(self.rendezvous.close().splitlines()[-1])
        return counted


def _body(pem: bytes) -> str:
    return "".join(line for line in pem.decode("ascii").splitlines() if not line.startswith("-----"))
