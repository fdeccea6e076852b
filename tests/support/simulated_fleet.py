"""A fleet serves a job in virtual time: Lambda, workers that die, freeze, come late and twice, messages that get lost.

Carries out what the job decides, and holds it to its promises at every step.
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from mu_twisted.jobs import (
    Abort,
    Assign,
    Diagnose,
    Dismiss,
    Failure,
    Finish,
    Finished,
    Interrupt,
    Job,
    Launched,
    LaunchId,
    Ping,
    PipeEnd,
    Record,
    ResultReached,
    StartLaunches,
    StopLaunches,
    Warm,
    record_from_dict,
    record_to_dict,
)


@dataclass
class Faults:
    """Chances, from 0 to 1."""

    death: float = 0.0  # of a worker in an attempt
    failure: float = 0.0  # of an attempt on a worker that lives
    absent: float = 0.0  # of a launch that never arrives
    refused: float = 0.0
    doubled: float = 0.0
    slow: float = 0.0  # of an attempt that takes ``slowness`` times as long
    frozen: float = 0.0  # of a worker in an attempt that says nothing any more
    redial: float = 0.0  # of a dead worker that has only lost its connection
    stuck: float = 0.0  # of a worker that does not greet again when it is cleared
    lost: float = 0.0  # of a message that is gone when it is wanted again
    slowness: float = 20.0


@dataclass(eq=False)
class FleetWorker:
    """A worker as it is, not as the job sees it."""

    launch_id: LaunchId
    ends: float
    number: int | None = None  # of its connection
    task: int | None = None
    attempt: int = -1
    warm: bool = True
    frozen: bool = False
    dirty: bool = False  # has had a task since it was last cleared
    step: int = 0  # events of earlier steps are void
    waits_for: set[int] = field(default_factory=set)
    rest: float = 0.0

    @property
    def connection(self) -> int:
        """The number of its connection, which it must have."""
        assert self.number is not None
        return self.number

    @property
    def current_task(self) -> int:
        """The task that it must have."""
        assert self.task is not None
        return self.task


class SimulatedFleet:
    """Plays until the job is over.

    :param job: not started yet.
    :param seed: of all chance.
    :param seconds: that an attempt takes about.
    :param life: of a function.
    :param shards: of the rendezvous, each with the tasks whose messages it keeps.
    """

    def __init__(
        self,
        job: Job,
        seed: int,
        faults: Faults | None = None,
        *,
        seconds: float = 10.0,
        life: float = 900.0,
        shards: Sequence[frozenset[int]] = (),
    ) -> None:
        self.job = job
        self.chance = Random(seed)
        self.faults = faults or Faults()
        self.seconds = seconds
        self.life = life
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.numbers = itertools.count(1)
        self.connected: dict[int, FleetWorker] = {}
        self.records: list[dict[str, Any]] = []
        self.attempts: Counter[int] = Counter()
        self.last_attempt: dict[int, int] = {}
        self.results: Counter[int] = Counter()
        self.assigned: list[tuple[int, int, int]] = []
        self.launched: set[str] = set()
        self.most_workers = 0
        self.aborts = self.interrupts = self.pings = 0
        self.finished = False
        self.crashes = 0  # of the coordinator, in the middle of something
        self.epoch = 0
        lineage = job._data.ledger.lineage
        self.gangs = job._data.ledger.gangs
        self.ends: dict[int, tuple[PipeEnd, ...]] = {}  # of the latest attempt at each task
        self.succeeded: set[tuple[int, int]] = set()
        self.producers = {task: lineage.producers(task) for task in lineage.order}
        self.consumers = {task: lineage.consumers(task) for task in lineage.order}
        self.sent: set[tuple[int, int]] = set()  # messages that the rendezvous has
        self.gone: set[tuple[int, int]] = set()  # those it had, until their sender begins anew
        self.waiting: dict[int, FleetWorker] = {}  # who waits for messages, by task
        self.shards = list(shards) or [frozenset(lineage.order)]
        self.stores = [0] * len(self.shards)

    # -- playing ---------------------------------------------------------------------------------------------------

    def later(self, delay: float, event: Callable[[], None]) -> None:
        epoch = self.epoch

        def guarded() -> None:
            if epoch == self.epoch:
                event()

        heapq.heappush(self.events, (self.now + delay, next(self.order), guarded))

    def always(self, delay: float, event: Callable[[], None]) -> None:
        """Whatever happens to the coordinator."""
        heapq.heappush(self.events, (self.now + delay, next(self.order), event))

    def start(self) -> None:
        self.carry_out(self.job.start(self.now))
        if self.producers:
            self.name_store()
        self.later(1.0, self.tick)

    def play(self, until: float = 1e6, steps: int = 5_000_000) -> None:
        """Until the job is over."""
        for _ in range(steps):
            if self.finished or not self.events or self.events[0][0] > until:
                return
            self.now, _, event = heapq.heappop(self.events)
            event()
        raise AssertionError("it never ends")

    def tick(self) -> None:
        self.carry_out(self.job.time_passed(self.now))
        self.later(1.0, self.tick)

    def restart(self) -> None:
        """The coordinator is killed, and comes back: its connections are gone, its records are there."""
        self.epoch += 1
        connected, self.connected = list(self.connected.values()), {}
        self.attempts.clear()
        self.waiting.clear()
        self.job = type(self.job).restore(
            [record_from_dict(plain) for plain in self.records], random=self.chance.random
        )
        if self.job.over:
            self.finished = True
            return
        self.carry_out(self.job.resume(self.now))
        if self.producers and not self.finished:
            self.name_store()
        for worker in connected:
            self.cut_off(worker)
        self.later(1.0, self.tick)

    def name_store(self, shard: int = 0) -> None:
        """All shards from this one on say which store they have."""
        for number, tasks in list(enumerate(self.shards))[shard:]:
            if not self.finished:
                token = f"store-{self.stores[number]}"
                self.carry_out(self.job.store_named(token, self.now, number, tasks if len(self.shards) > 1 else None))

    def lose_store(self, shard: int = 0) -> None:
        """A shard of the rendezvous starts anew, and all that have a channel open to it lose it."""
        self.stores[shard] += 1
        hit = self.shards[shard]
        self.sent = {edge for edge in self.sent if edge[0] not in hit}
        self.gone = {edge for edge in self.gone if edge[0] not in hit}
        for task, member in list(self.waiting.items()):
            if task in hit and self.waiting.get(task) is member:  # else another's failure has taken it away
                self.fail(member, "the peer channel was lost", Failure.CHANNEL)
        self.name_store(shard)

    # -- what the job decides --------------------------------------------------------------------------------------

    def carry_out(self, actions: list[Any]) -> None:
        records = [action.record for action in actions if isinstance(action, Record)]
        assert not (self.finished and actions), "something follows the end"
        crash = records and self.crashes and self.chance.random() < 0.02
        if crash:
            # Killed while it wrote, or after that and before anything was done about it.
            records = records[: self.chance.randint(1 if not self.records else 0, len(records))]
        for record in records:
            self.records.append(record_to_dict(record))
            self.look_at(record)
        if crash:
            self.crashes -= 1
            self.restart()
            return
        assigned = {action.task for action in actions if isinstance(action, Assign)}
        for gang in self.gangs.all:
            assert len(assigned.intersection(gang)) in (0, len(gang)), "half a gang begins"
        for action in actions:
            match action:
                case StartLaunches(launch_ids):
                    for launch_id in launch_ids:
                        self.launch(launch_id)
                case Assign():
                    self.assign(action)
                case Warm(worker):
                    assert self.connected[worker].task is None
                    self.clear(worker)
                case Interrupt(worker):
                    self.interrupts += 1
                    self.clear(worker)
                case Dismiss(worker):
                    if worker in self.connected:
                        self.vanish(self.connected[worker])
                case Abort(worker):
                    self.aborts += 1
                    member = self.connected[worker]
                    self.forget(member)
                    if member.frozen:
                        member.frozen = False
                        member.task = None
                case Ping(worker):
                    self.pings += 1
                    if not self.connected[worker].frozen:
                        self.later(0.05, partial(self.hear, worker))
                case Diagnose():
                    self.later(1.0, self.give_up)
                case Finish():
                    self.finished = True
                    assert not self.connected, "a worker was not dismissed"
                case Record() | StopLaunches():
                    pass
                case _:
                    raise AssertionError(action)
        self.most_workers = max(self.most_workers, len(self.connected))

    def hear(self, worker: int) -> None:
        self.job.heard(worker)

    def give_up(self) -> None:
        if not self.job.counts().workers:
            self.carry_out(self.job.abort("no worker came", self.now))

    def look_at(self, record: Any) -> None:
        if isinstance(record, ResultReached):
            self.results[record.task] += 1
        elif isinstance(record, Launched):
            ids = {f"{record.generation}-{record.first + at}" for at in range(record.count)}
            assert self.launched.isdisjoint(ids)
            self.launched |= ids
        elif isinstance(record, Finished):
            assert self.job.over

    def launch(self, launch_id: LaunchId) -> None:
        faults, chance = self.faults, self.chance
        if chance.random() < faults.refused:
            self.later(0.3, lambda: self.carry_out(self.job.launch_refused(launch_id, "429: too many", self.now)))
            return
        self.later(0.2, lambda: self.carry_out(self.job.launch_accepted(launch_id, self.now)))
        if chance.random() < faults.absent:
            return
        for _ in range(1 + (chance.random() < faults.doubled)):
            member = FleetWorker(launch_id, 0.0)
            self.always(chance.uniform(0.3, 3.0), partial(self.dial, member, first=True))

    def dial(self, member: FleetWorker, *, first: bool = False) -> None:
        if self.finished:
            return
        if first:
            member.ends = self.now + self.life
            self.always(self.life, lambda: self.die(member))
        elif self.now >= member.ends:
            return
        number = member.number = next(self.numbers)
        self.connected[number] = member
        member.warm = True
        member.step += 1
        actions = self.job.worker_greeted(number, member.launch_id, self.now, seconds_left=member.ends - self.now)
        assigned = any(isinstance(action, Assign) and action.worker == number for action in actions)
        assert not (assigned and member.dirty), "it may still be at its last task"
        self.carry_out(actions)

    def assign(self, action: Assign) -> None:
        member = self.connected[action.worker]
        task = action.task
        assert member.warm, "a worker that is being cleared got a task"
        assert member.task is None, "a worker has one task at most"
        assert action.attempt > self.last_attempt.get(task, -1), "attempts rise"
        assert action.replay == (action.attempt > 0 and bool(self.producers[task]))
        self.last_attempt[task] = action.attempt
        self.ends[task] = action.pipes
        self.assigned.append((task, action.attempt, action.worker))
        self.attempts[task] += 1
        assert self.attempts[task] <= 2, "a task has two attempts at most"
        member.dirty = True
        member.task, member.attempt = task, action.attempt
        self.gone.difference_update((task, consumer) for consumer in self.consumers[task])
        member.step += 1
        faults, chance = self.faults, self.chance
        takes = self.seconds * chance.uniform(0.5, 1.5)
        if chance.random() < faults.slow:
            takes *= faults.slowness
        step = member.step
        if chance.random() < faults.death:
            self.later(takes * chance.random(), lambda: self.if_still(member, step, self.break_off))
        elif chance.random() < faults.frozen:
            self.later(takes * chance.random(), lambda: self.if_still(member, step, self.freeze))
        if chance.random() < faults.failure:
            self.later(takes, lambda: self.if_still(member, step, self.fail))
        else:
            self.later(
                takes / 2, lambda: self.if_still(member, step, lambda member: self.want_messages(member, takes / 2))
            )

    def if_still(self, member: FleetWorker, step: int, event: Callable[[FleetWorker], None]) -> None:
        if member.step == step and not member.frozen and member.number is not None:
            event(member)

    # -- what workers do -------------------------------------------------------------------------------------------

    def want_messages(self, member: FleetWorker, rest: float) -> None:
        task = member.current_task
        member.waits_for = set()
        for producer in self.producers[task]:
            edge = (producer, task)
            if edge in self.sent and member.attempt > 0 and self.chance.random() < self.faults.lost:
                self.sent.discard(edge)
                self.gone.add(edge)
            if edge not in self.sent:
                member.waits_for.add(producer)
        step = member.step
        lost = [producer for producer in member.waits_for if member.attempt > 0 and (producer, task) in self.gone]
        member.rest = rest
        self.waiting[task] = member
        for producer in lost:
            self.carry_out(self.job.messages_lost(producer, self.now))
        if member.step == step and not self.finished:
            self.go_on(member)

    def go_on(self, member: FleetWorker) -> None:
        if not member.waits_for:
            self.waiting.pop(member.current_task, None)
            step = member.step
            self.later(member.rest, lambda: self.if_still(member, step, self.succeed))

    def send_messages(self, task: int) -> None:
        for consumer in self.consumers[task]:
            self.sent.add((task, consumer))
            member = self.waiting.get(consumer)
            if member is not None and not member.frozen:
                member.waits_for.discard(task)
                self.go_on(member)

    def is_joined(self, member: FleetWorker) -> bool:
        """Whether all at the other ends of its pipes are at the attempts that it was given, or were done with them."""
        working = {(one.task, one.attempt) for one in self.connected.values() if not one.frozen}
        ends = {(end.peer, end.attempt) for end in self.ends.get(member.current_task, ())}
        return ends <= working | self.succeeded

    def succeed(self, member: FleetWorker) -> None:
        if not self.is_joined(member):
            self.fail(member, "the pipe broke", Failure.CHANNEL)
            return
        self.succeeded.add((member.current_task, member.attempt))
        self.send_messages(member.current_task)
        self.put_down(member)
        self.carry_out(self.job.task_done(member.connection, self.now))

    def fail(self, member: FleetWorker, error: str = "bad luck", kind: Failure = Failure.REPLY) -> None:
        self.put_down(member)
        self.carry_out(self.job.task_failed(member.connection, error, self.now, kind=kind))

    def freeze(self, member: FleetWorker) -> None:
        member.frozen = True

    def break_off(self, member: FleetWorker) -> None:
        """Its connection is lost, and mostly the worker too."""
        number = member.connection
        self.cut_off(member)
        self.carry_out(self.job.worker_lost(number, "reset by the peer", self.now))

    def cut_off(self, member: FleetWorker) -> None:
        self.forget(member)
        if not member.frozen and self.chance.random() < self.faults.redial:
            self.always(self.chance.uniform(0.1, 5.0), lambda: self.dial(member))

    def die(self, member: FleetWorker) -> None:
        number = member.number
        if number is not None:
            self.forget(member)
            self.carry_out(self.job.worker_lost(number, "its function was ended", self.now))

    def vanish(self, member: FleetWorker) -> None:
        """It quits; the job hears of it."""
        number = member.connection
        self.forget(member)
        self.later(0.01, lambda: self.carry_out(self.job.worker_lost(number, "it quit", self.now)))

    def forget(self, member: FleetWorker) -> None:
        number = member.connection
        member.step += 1
        self.put_down(member)
        member.number = None
        self.connected.pop(number, None)

    def put_down(self, member: FleetWorker) -> None:
        if member.task is not None:
            if self.waiting.get(member.task) is member:
                del self.waiting[member.task]
            self.attempts[member.task] -= 1
            member.task = None
            member.step += 1

    def clear(self, number: int) -> None:
        member = self.connected[number]
        self.put_down(member)
        member.warm = False
        member.step += 1
        step = member.step
        if self.chance.random() >= self.faults.stuck:
            self.later(self.chance.uniform(0.01, 0.2), lambda: self.if_still(member, step, self.greet_again))

    def greet_again(self, member: FleetWorker) -> None:
        member.warm = True
        member.dirty = False
        actions = self.job.worker_greeted(
            member.connection, member.launch_id, self.now, seconds_left=member.ends - self.now
        )
        self.carry_out(actions)

    # -- at the end ------------------------------------------------------------------------------------------------

    def hold_all_done(self) -> None:
        """Every task is done exactly once."""
        counts = self.job.counts()
        assert self.finished
        assert self.job.error is None, (self.job.error, dict(list(self.job.failures.items())[:5]))
        assert counts.done == counts.tasks
        assert set(self.results) == set(self.producers)
        assert set(self.results.values()) == {1}
