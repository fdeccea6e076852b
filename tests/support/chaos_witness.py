"""What was announced and what ran, as seen from outside: by the control API's answers, and by the programs themselves.

The journal is not asked here. What is found is held against it afterwards.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from chaos_stage import Broken, Stage

from mu_twisted.client import CoordinatorError

LOOK = 0.1
"""Seconds between two looks at all tasks of a job."""
TELL = (
    'tell() {{ bash -c \'exec 3<>/dev/tcp/127.0.0.1/{port} && echo "$0 $1" >&3 && read -r taken <&3\' "$1" "$2"; }}; '
)
"""Shell text: a function that reports a word of a task, and comes back when that is noted."""


@dataclass(frozen=True)
class Report:
    """What a program said.

    :param at: when it was noted, by the clock that never goes back.
    """

    task: str
    word: str
    at: float


class Programs:
    """Takes the reports of programs, wherever they run on this machine, and answers each when it is noted."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._reports: list[Report] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def tell(self) -> str:
        """What a shell command that reports begins with."""
        return TELL.format(port=self._socket.getsockname()[1])

    def said(self, task: str, word: str) -> list[float]:
        """When a task's programs said so."""
        with self._lock:
            return [report.at for report in self._reports if (report.task, report.word) == (task, word)]

    def close(self) -> None:
        """Take no more."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._hear, args=(peer,), daemon=True).start()

    def _hear(self, peer: socket.socket) -> None:
        with peer, suppress(OSError), peer.makefile("rw", encoding="ascii") as stream:
            peer.settimeout(180)
            said = stream.readline().split()
            if len(said) != 2:  # it was killed before it said anything
                return
            task, word = said
            with self._lock:
                self._reports.append(Report(task, word, time.monotonic()))
            stream.write("ok\n")
            stream.flush()


class Announced:
    """Looks at a job through the control API for as long as it runs, and past restarts of the coordinator.

    :param over: called at once when the job is reported to be over, in a thread of this.
    :ivar done: when each task was first reported to be done.
    :ivar taken_back: tasks that were reported to be done, and to be something else later.
    :ivar ended: the job as it was reported to be over.
    """

    def __init__(self, stage: Stage, job: str, over: Callable[[], None]) -> None:
        self.job = job
        self.done: dict[int, float] = {}
        self.taken_back: dict[int, str] = {}
        self.ended: dict[str, object] | None = None
        self._stage = stage
        self._over = over
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._timeouts, self._wait)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Look for the last time, and no more."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(180)
        self.look()

    def look(self) -> bool:
        """Look once; whether the coordinator answered."""
        try:
            tasks = self._stage.tasks(self.job)
        except CoordinatorError:
            return False
        now = time.monotonic()
        for task in tasks:
            number, state = task["task"], task["state"]
            if state == "done":
                self.done.setdefault(number, now)
            elif number in self.done:
                self.taken_back.setdefault(number, state)
        return True

    def during(self, begin: float, end: float) -> list[int]:
        """The tasks that were first reported to be done between two moments."""
        return [task for task, at in self.done.items() if begin < at < end]

    def _timeouts(self) -> None:
        while not self._stopped.wait(LOOK):
            self.look()

    def _wait(self) -> None:
        while not self._stopped.is_set():
            try:
                fact = self._stage.api.get("jobs", self.job, "wait", served=True, timeout=2, answer_timeout=10.0)
            except CoordinatorError:
                time.sleep(LOOK)
                continue
            if fact["state"] != "running":
                self.ended = fact
                self._over()
                return


def check_programs(programs: Programs, announced: Announced, name: str, begun: dict[int, int], tasks: int) -> None:
    """Whether each task's program ran as often as the journal says, to its end, and not again after its result.

    :param name: of the job in the programs' reports.
    :param begun: how many attempts the journal has of each task.
    :raises Broken: not so.
    """
    job = announced.job
    for task in range(tasks):
        began, ended = programs.said(f"{name}/{task}", "begin"), programs.said(f"{name}/{task}", "end")
        if not ended:
            raise Broken(f"{job}: task {task} is reported to be done, but its program never came to its end")
        if len(began) > begun.get(task, 0):
            raise Broken(
                f"{job}: the program of task {task} was begun {len(began)} times, "
                f"but the journal knows of {begun.get(task, 0)} attempts"
            )
        reported = announced.done.get(task)
        if reported is None:
            raise Broken(f"{job}: task {task} was never reported to be done")
        if began[-1] > reported:
            late = began[-1] - reported
            raise Broken(f"{job}: the program of task {task} was begun again {late:.2f} s after its result")
    if announced.taken_back:
        raise Broken(f"{job}: results that were reported were taken back: {announced.taken_back}")
