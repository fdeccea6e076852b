"""A job on a clock that stands still, for tests of one rule at a time."""

from collections.abc import Sequence
from typing import Any

from mu_twisted.jobs import (
    Abort,
    Action,
    Assign,
    Dismiss,
    Failure,
    Interrupt,
    Job,
    JobPolicy,
    JobRecord,
    LaunchId,
    Ping,
    Record,
    StartLaunches,
    Warm,
    record_from_dict,
    record_to_dict,
)


class Play:
    """Reports events, collects what is decided; pings and records are kept apart.

    :param job: not started; None: one of ``tasks`` tasks, with a policy of the other arguments.
    """

    def __init__(self, job: Job | None = None, *, tasks: int = 2, start: bool = True, **policy: Any) -> None:
        self.now = 0.0
        self.records: list[JobRecord] = []
        self.pings: list[int] = []
        self.launched: list[str] = []
        self.warming: dict[int, None] = {}
        self.came = 0
        self.job = job or Job("j", range(tasks), JobPolicy(**policy), random=lambda: 0.5)
        if start:
            self.take(self.job.start(0.0))

    def take(self, actions: Sequence[Action]) -> list[Action]:
        """Note them; those that are left are neither records nor pings nor launches, which are accepted at once."""
        left: list[Action] = []
        for action in actions:
            match action:
                case Record(record):
                    self.records.append(record)
                case Ping(worker):
                    self.pings.append(worker)
                case StartLaunches(launch_ids):
                    self.launched += launch_ids
                    for launch_id in launch_ids:
                        assert self.job.launch_accepted(launch_id, self.now) == []
                case _:
                    left.append(action)
        for action in left:
            if isinstance(action, Warm | Interrupt):
                self.warming[action.worker] = None
            elif isinstance(action, Dismiss | Abort):
                self.warming.pop(action.worker, None)
        return left

    def come(self, worker: int, launch_id: str | None = "next", **more: Any) -> list[Action]:
        """A worker greets; by default for the next launch that has no worker yet."""
        if launch_id == "next":
            launch_id = self.launched[self.came]
            self.came += 1
        ours = None if launch_id is None else LaunchId(launch_id)
        return self.take(self.job.worker_greeted(worker, ours, self.now, **more))

    def warm(self, worker: int) -> list[Action]:
        """A worker that is being cleared greets again."""
        self.warming.pop(worker, None)
        return self.take(self.job.worker_greeted(worker, None, self.now))

    def done(self, worker: int) -> list[Action]:
        return self.take(self.job.task_done(worker, self.now))

    def fail(self, worker: int, error: str = "bad", kind: Failure = Failure.REPLY, **more: Any) -> list[Action]:
        return self.take(self.job.task_failed(worker, error, self.now, kind=kind, **more))

    def lose(self, worker: int, reason: str = "reset") -> list[Action]:
        return self.take(self.job.worker_lost(worker, reason, self.now))

    def tick(self, seconds: float = 1.0) -> list[Action]:
        """The clock moves at once."""
        self.now += seconds
        return self.take(self.job.time_passed(self.now))

    def ticks(self, seconds: int, alive: Sequence[int] = ()) -> list[Action]:
        """The clock moves by steps of a second; these workers answer their pings."""
        actions = []
        for _ in range(seconds):
            actions += self.tick()
            for worker in alive:
                self.job.heard(worker)
        return actions

    def on(self, seconds: int = 200) -> tuple[int, int, int]:
        """Until something is assigned: who is cleared greets again, and for each launch a worker comes.

        :returns: worker, task and attempt.
        """
        for _ in range(seconds):
            for worker in list(self.warming):
                if found := assigns(self.warm(worker)):
                    return found[0]
            while self.came < len(self.launched):
                if found := assigns(self.come(1000 + self.came)):
                    return found[0]
            if found := assigns(self.tick()):
                return found[0]
        raise AssertionError(f"nothing is assigned within {seconds} s")

    def restarted(self, records: int | None = None) -> "Play":
        """The job as another coordinator takes it up, from its records alone.

        :param records: how many of them reached the journal.
        """
        plain = [record_to_dict(record) for record in self.records[:records]]
        play = Play(Job.restore([record_from_dict(record) for record in plain], random=lambda: 0.5), start=False)
        play.records = self.records[:records]
        play.now = self.now + 1000.0
        play.take(play.job.resume(play.now))
        return play


def assigns(actions: Sequence[Action]) -> list[tuple[int, int, int]]:
    """Worker, task and attempt of each assignment."""
    return [(action.worker, action.task, action.attempt) for action in actions if isinstance(action, Assign)]


def kinds(actions: Sequence[Action]) -> list[str]:
    """What is asked for, in words."""
    return [type(action).__name__ for action in actions]
