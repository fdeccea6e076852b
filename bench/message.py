"""Python's part of a message is measured without sockets: session, guard, machine, script, the states that are noted.

A worker's reply goes in and the next command comes out, for a script that does nothing else.
"""

import tempfile
import time
from pathlib import Path

from twisted.internet.task import Clock

from bench._figure import Figure, least_of
from bench._listener import NullLauncher, NullRecorder
from mu_twisted.coordinator import Attempts, JobRun, Session, WorkerRegistry
from mu_twisted.fsm import Worker
from mu_twisted.jobs import Job, JobPolicy
from mu_twisted.pipelines import Pipeline, guard
from mu_twisted.tls import LaunchIdentity
from mu_twisted.transport import Peer

WORKERS = 100
ROUNDS = 40
MESSAGES = 2000
"""In each round, of all workers."""
MOST = 8.0
"""Microseconds."""
_REPLY = [b"OK:ECHO(0123456789)"]


class _Connection:
    """Takes what is sent."""

    def __init__(self, number: int) -> None:
        self.peer = Peer("192.0.2.1", number, LaunchIdentity("bench"))
        self.max_frame = self.sent = 0

    def send(self, *payloads: bytes) -> None:
        self.sent += len(payloads)

    def greeted(self) -> None:
        pass


async def _echoes(w: Worker) -> None:
    while True:
        await w.echo("0123456789")


def run() -> list[Figure]:
    """The figure, of the round that was disturbed the least; takes a second."""
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        guard.watch(Path(directory))
        try:
            sessions, connections = _sessions(clock)
            rounds = [_round(sessions) for _ in range(ROUNDS)]
            assert sum(connection.sent for connection in connections) > ROUNDS * MESSAGES
        finally:
            guard.stop()
    return [least_of("coordinator: Python's part of a message, without a transport", rounds, "us", MOST)]


def _sessions(clock: Clock) -> tuple[list[Session], list[_Connection]]:
    registry = WorkerRegistry(clock)
    job = Job("bench", range(WORKERS), JobPolicy(start_timeout=3600.0, heartbeat=3600.0))
    pipeline = Pipeline(name="bench", summary="echoes", first=_echoes)
    recorder, attempts = NullRecorder(), Attempts(clock)
    run_ = JobRun(clock, job, pipeline, {}, launching=NullLauncher(), recorder=recorder, attempts=attempts)
    registry.add(run_)
    run_.start()
    sessions, connections = [], [_Connection(number) for number in range(WORKERS)]
    for connection in connections:
        session = registry.new_session()
        session.connected(connection)  # type: ignore[arg-type]
        session.frames_received([b"OK:HELLO"])
        sessions.append(session)
    clock.advance(0)
    return sessions, connections


def _round(sessions: list[Session]) -> float:
    began = time.process_time()
    for _ in range(MESSAGES // WORKERS):
        for session in sessions:
            session.frames_received(_REPLY)
    return (time.process_time() - began) / MESSAGES * 1e6
