"""A coordinator's listener, registry and job in a process of its own, with tasks that do what their workers ask for.

``python busy_daemon.py TASKS``. The task asks its worker ``get:kind``: told ``talk`` it sends 256 KiB after each reply,
told ``listen`` it waits for a reply that it never recognizes, told ``burst`` it sends 4 MiB at once, told anything else
it is done.
"""

import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.logger import ILogObserver, globalLogBeginner, textFileLogObserver

from mu_twisted.coordinator import Attempts, JobRun, WorkerRegistry
from mu_twisted.fsm import Worker
from mu_twisted.jobs import Job, JobPolicy, LaunchOutcome
from mu_twisted.pipelines import Pipeline
from mu_twisted.tls import Authority, RoleIdentity, server_contexts
from mu_twisted.transport import FrameFactory, listen
from mu_twisted.wire import MAX_REPLY

reactor: Any = installed
MUCH = "x" * (256 << 10)


async def task(w: Worker) -> None:
    """What its worker asks for."""
    kind = await w.get("kind")
    while kind == "talk":
        await w.set("much", MUCH)
    if kind == "burst":
        await w.all(*[w.set("much", MUCH) for _ in range(16)])
    if kind == "listen":
        await w.informed()
        while True:
            await w.informed()


class Outside:
    """Where the workers come from, and where nothing is kept."""

    def start(self, ids: Sequence[str], on_outcome: Callable[[LaunchOutcome], None]) -> Deferred[None]:
        for launch_id in ids:
            on_outcome(LaunchOutcome(launch_id, True, 202, ""))
        return succeed(None)

    def stop(self) -> None:
        pass

    def use_larger(self) -> None:
        raise AssertionError("the job has no larger function")

    def note(self) -> None:
        pass

    async def diagnose(self) -> str:
        return "no worker came"

    def record(self, records: Any) -> None:
        pass

    def flush(self) -> None:
        pass


def ready(port: Any) -> None:
    sys.stdout.write(f"port {port.getHost().port}\n")
    sys.stdout.flush()


def main() -> None:
    globalLogBeginner.beginLoggingTo([cast("ILogObserver", textFileLogObserver(sys.stdout))])
    authority = Authority.open(Path("state") / "tls")
    own = authority.issue(RoleIdentity("coordinator"), lifetime=timedelta(hours=1))
    registry = WorkerRegistry(reactor)
    registry.open()
    job = Job("j", range(int(sys.argv[1])), JobPolicy(retries=0, start_timeout=3600.0, heartbeat=3600.0))
    run = JobRun(
        reactor,
        job,
        Pipeline(name="p", summary="", first=task),
        {"function": "fn"},
        launching=Outside(),
        recorder=Outside(),
        attempts=Attempts(reactor),
    )
    registry.add(run)
    run.start()
    factory = FrameFactory(registry.new_session, clock=reactor, max_frame=MAX_REPLY)
    endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1")  # type: ignore[no-untyped-call]
    contexts = server_contexts(own, authority.certificate)
    listen(endpoint, contexts, factory, reactor).addCallback(ready)
    reactor.run()


if __name__ == "__main__":
    main()
