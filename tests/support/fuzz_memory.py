"""The memory oracle of fuzzing: how much a coordinator holds after many messages of hostile workers.

WorkerRegistry, sessions, a job's run and its machines are the real ones; connections and Lambda say yes to everything.
"""

import ctypes
import gc
import random
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from worker_double import WorkerDouble, launch_identity

from mu_twisted import wire
from mu_twisted.coordinator import Attempts, JobRun, WorkerRegistry
from mu_twisted.fsm import InfoWatcherState, OnePassState, SuperpositionState, TerminalState, Worker
from mu_twisted.jobs import Job, JobPolicy, JobRecord, LaunchOutcome
from mu_twisted.pipelines import Pipeline

ALLOWED = 20 << 20
"""Bytes that the process may grow by, from the first number of messages to the second."""
SETTLED = 10_000
"""Messages after which all that is bounded is taken to be filled."""
_EACH = 500
"""Messages between two looks at the process, and two steps of the clock."""


class Watching(InfoWatcherState):
    """Shows all that it has heard."""

    def str_extra(self) -> str:
        return f"({self.info})"


Watching.nextState = Watching


class Greeted(OnePassState):
    """Goes there."""

    expect = "OK:HELLO"
    nextState = Watching


class Never(OnePassState):
    """Waits for what does not come, so that everything else is held back beside it."""

    expect = "OK:NEVER"
    nextState = TerminalState


class Holding(SuperpositionState):
    """Two such."""

    state_constructors = [Never, Never]
    nextState = TerminalState


class Held(OnePassState):
    """Goes there."""

    expect = "OK:HELLO"
    nextState = Holding


async def listening(w: Worker) -> None:
    """Hears without end, shows it, and leaves a remark when it hears of the end."""
    while "end" not in w.info:
        await w.informed()
        w.extra = str(w.info.get("k"))
    w.info["remark"] = w.info["end"]


FIRST: dict[str, Any] = {"watching": Greeted, "holding": Held, "listening": listening}


class Deaf(WorkerDouble):
    """A worker that keeps nothing of what it is sent."""

    def send(self, *payloads: bytes) -> None:
        pass


class Flooded:
    """A coordinator with one job at a time, whose workers are hostile.

    :param first: what the job's tasks start in.
    :param seed: of all that is said.
    """

    def __init__(self, first: Any, seed: int = 1) -> None:
        self.chance = random.Random(seed)
        self.clock = Clock()
        self.registry = WorkerRegistry(self.clock)
        self.registry.open()
        self.fresh: deque[str] = deque(maxlen=64)
        self.pipeline = Pipeline(name="p", summary="", first=first)
        self.run: JobRun | None = None
        self.workers: list[Deaf] = []
        self.step(0)

    def say(self, messages: Iterator[bytes], count: int) -> None:
        """Have so many of these messages come, from one worker or another."""
        for at in range(count):
            if at % _EACH == 0 or not self.workers:
                self.step(40.0)  # retries are due, launches overdue
            worker = self.chance.choice(self.workers)
            worker.session.frames_received([next(messages)])
            if at % 8 == 0:
                self.clock.advance(0)

    def step(self, seconds: float) -> None:
        """Time passes; workers that were cut off dial in again, as new ones or as themselves."""
        self.clock.advance(seconds)
        self.clock.advance(0)
        if self.run is None or self.run.job.over:
            self._begin()
        self.workers = [worker for worker in self.workers if not worker.closed]
        for worker in self.workers:
            worker.session.frames_received([b"OK:PONG"])
        self._dial(f"x{self.chance.randrange(1 << 60):0240}")
        tries = 0
        while len(self.workers) < 4 and tries < 100:
            tries += 1
            if self.fresh:
                self._dial(self.fresh.popleft())
            else:
                self.clock.advance(40.0)
        assert self.workers, "no worker may come any more"

    def _begin(self) -> None:
        """Another job in place of the one that is over: much of what is said fails a task for good."""
        if self.run is not None:
            self.registry.remove(self.run)
        self.fresh.clear()
        run = self.run = JobRun(
            self.clock,
            Job("j", range(200), JobPolicy(retries=1 << 40, max_workers=8)),
            self.pipeline,
            {"function": "fn"},
            launching=self,
            recorder=self,
            attempts=Attempts(self.clock, lambda line: None),
        )
        self.registry.add(run)
        run.start()
        self.clock.advance(0)

    def _dial(self, launch_id: str) -> None:
        worker = Deaf(self.registry.new_session(), launch_identity(), lambda: None)
        worker.session.frames_received([wire.Greeting(1, launch_id, 900_000, 128).encode()])
        self.clock.advance(0)
        if not worker.closed:
            self.workers.append(worker)

    # what the job's run asks

    def start(self, launch_ids: Sequence[str], on_outcome: Callable[[LaunchOutcome], None]) -> Deferred[None]:
        for launch_id in launch_ids:
            accepted = self.chance.random() < 0.8
            on_outcome(LaunchOutcome(launch_id, accepted, 500, f"{self.chance.random()}" * 1000))
            if accepted:
                self.fresh.append(launch_id)
        return succeed(None)

    def stop(self) -> None:
        pass

    def use_larger(self) -> None:
        raise AssertionError("the job has no larger function")

    def note(self) -> None:
        return None

    async def diagnose(self) -> str:
        return ""

    def record(self, records: Sequence[JobRecord]) -> None:
        pass

    def flush(self) -> None:
        pass


def hostile(seed: int) -> Iterator[bytes]:
    """Messages without end, most of them short, some as long as a worker's may be."""
    chance = random.Random(seed)
    long = [
        b"k" * (1 << 10),
        b"\xff" * (60 << 10),
        b"v" * (1 << 19),
        "\U0001f600".encode() * (3 << 17),
        b"w" * (5 << 19),
    ]
    number = 0
    while True:
        number += 1
        body = chance.choice(long[:1] * 200 + long[1:]) if chance.random() < 0.05 else b"%d" % number
        match chance.randrange(8):
            case 0 | 1:
                yield wire.info(b"k%d" % number + body, b"v")
            case 2 | 3:
                yield wire.info(b"k", b"%d" % number + body)
            case 4:
                yield b"INFO:" + body
            case 5:
                yield chance.choice((b"OK:HELLO", b"OK:PONG", b"OK:SET(")) + body
            case 6:
                yield b"OK:RETVAL(0):OUTPUT(" + body + b"):COMMAND(x)"
            case _:
                yield chance.choice((b"FAIL(" + body, wire.info(b"end", body), wire.Greeting(1).encode(), body))


def resident() -> int:
    """Bytes of memory that the process holds, without files that are mapped, whose pages come and go."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free would hide what comes to stay
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    return sum(
        int(kilobytes) << 10 for kilobytes in re.findall(r"^(?:RssAnon|VmSwap):\s*(\d+) kB", status, re.MULTILINE)
    )


def grown(first: str, messages: Iterator[bytes], count: int, settled: int = SETTLED) -> int:
    """Bytes by which the process has grown from ``settled`` messages to ``count`` of them.

    :param first: what the tasks start in, of ``FIRST``.
    """
    flooded = Flooded(FIRST[first])
    flooded.say(messages, settled)
    before = resident()
    flooded.say(messages, count - settled)
    return resident() - before
