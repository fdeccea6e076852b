"""Faults, each put where the journal says that a worker is at work, and afterwards found in the journal again.

A victim is halted first (SIGSTOP). What it had sent by then is taken in by the coordinator before the journal is
looked at: so an attempt that is under way then cannot end but by what is done to it next.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from chaos_journal import Story, Try, read
from chaos_paths import cut_some, path_ends
from chaos_stage import Broken, Stage, until
from chaos_tree import Process, has_said_all, send, stop_group, tree
from chaos_tree import state as state_of

from mu_twisted.jobs import Failure

HALTED = ("T", "Z", "X", "")
"""States of a process that does nothing any more, or is gone."""
ENDS_WITHIN = 20.0
"""Seconds within which the journal must know of a fault."""


@dataclass(frozen=True)
class Hit:
    """A fault that was made.

    :param what: ``worker``, ``environment`` or ``programs``.
    :param halted: when all victims were, time of day, and when they were ``killed``.
    """

    what: str
    attempt: Try
    pid: int
    halted: float
    killed: float


@dataclass
class Faults:
    """Makes faults in one job and keeps account of them.

    :param job: its name.
    :param dice: decides.
    :param most: retries that a task may have used up and still be hit again.
    :param shards: of the rendezvous, where the job has one.
    :param joined: whether pipes join its tasks: what befalls one ends another's attempt, be it hit too or not.
    """

    stage: Stage
    job: str
    dice: random.Random
    most: int = 7
    shards: int = 1
    joined: bool = False
    hits: list[Hit] = field(default_factory=list)
    missed: int = 0
    restarts: int = 0
    dropped: int = 0
    before_restart: dict[Try, str | None] = field(default_factory=dict)
    results_before: set[int] = field(default_factory=set)

    def story(self) -> Story:
        """The job so far."""
        return read(self.stage.state_dir, self.job)

    def kill_some(self, count: int) -> None:
        """Kill up to so many workers, or what they run, each in an attempt of its own."""
        found = tree(self.stage.stack_pid)
        workers = list(found.workers(self.job).items())
        self.dice.shuffle(workers)
        chosen: list[tuple[str, str, Process, Callable[[], None]]] = []
        for launch_id, worker in workers[:count]:
            programs = [child for child in found.children(worker.pid) if child.state not in "ZX"]
            what = self.dice.choice(["worker", "worker", "environment", *["programs"] * bool(programs)])
            if what == "programs" and stop_group(programs[0].pid):
                chosen.append((launch_id, what, programs[0], _group_killer(programs[0].pid)))
            elif send(worker.pid, signal.SIGSTOP):
                victim = worker.pid if what != "environment" else worker.parent
                chosen.append((launch_id, "worker", worker, _killer(victim)))
        try:
            # One that has just made a child (vfork) waits for that, which is halted: such a victim is spared.
            with suppress(Broken):
                until(lambda: all(state_of(each.pid) in HALTED for _, _, each, _ in chosen), "victims halt", 1.0)
            halted = time.time()
            self._settle([each.pid for _, what, each, _ in chosen if what == "worker"])
            story = self.story()
            hits = []
            for launch_id, what, process, kill in chosen:
                attempt = story.on(launch_id)
                if attempt is None or state_of(process.pid) != "T" or story.costs.get(attempt[0], 0) >= self.most:
                    self.missed += 1
                    continue
                kill()
                hits.append(Hit(what, attempt, process.pid, halted, time.time()))
        finally:
            for _, what, process, _ in chosen:
                _go_on(process.pid, group=what == "programs")
        self.hits += hits
        wanted = [hit.attempt for hit in hits]
        until(
            lambda: all(attempt in self.story().ended for attempt in wanted),
            f"the journal of {self.job} knows that attempts {wanted} ended",
            ENDS_WITHIN,
            0.05,
        )

    def check(self) -> Story:
        """Whether the journal tells the same story.

        :raises Broken: it does not.
        """
        story = self.story()
        # A victim whose last reply was on its way when it was halted had no attempt to lose: it does not count.
        hits = [hit for hit in self.hits if story.ended.get(hit.attempt, {}).get("outcome") != "done"]
        self.missed += len(self.hits) - len(hits)
        self.hits = hits
        for hit in hits:
            self._check_hit(story, hit)
        killed = len({hit.attempt for hit in hits})
        if killed != len(hits):
            raise Broken("an attempt was killed twice")
        if story.generation != self.restarts:
            raise Broken(f"{self.restarts} restarts, but the journal says generation {story.generation}")
        for attempt in self.before_restart:
            if "restarted" not in story.ended[attempt]["error"]:
                raise Broken(f"attempt {attempt} was under way at the restart: {story.ended[attempt]}")
            if story.ended[attempt].get("costs"):
                raise Broken(f"attempt {attempt}, interrupted by the restart, cost a retry")
        if self.dropped:
            self._check_drop(story)
        if story.live:
            raise Broken(f"attempts that never ended: {story.live}")
        return story

    # -- inside ----------------------------------------------------------------------------------------------------

    def _check_hit(self, story: Story, hit: Hit) -> None:
        record = story.ended.get(hit.attempt)
        if record is None:
            raise Broken(f"{hit}: the journal does not know how it ended")
        if self.joined and (record["outcome"] == "withdrawn" or record["kind"] == Failure.CHANNEL.value):
            return
        wanted = Failure.EXIT if hit.what == "programs" else Failure.LOST
        if record["outcome"] != "failed" or record["kind"] != wanted.value:
            raise Broken(f"{hit}: the journal says {record}")
        if hit.what == "programs" and record["status"] not in (-9, 137):
            raise Broken(f"{hit}: the journal says {record}")

    def _check_drop(self, story: Story) -> None:
        # A job whose last task stores its result as the rendezvous falls is over before it hears of the new store.
        if len(set(story.stores)) not in range(self.dropped, self.dropped + self.shards + 1):
            raise Broken(f"the rendezvous was killed, but its stores were {story.stores}")

    def _settle(self, halted: list[int]) -> None:
        """What these workers have sent by now is in the journal when this returns."""
        port = int((self.stage.state_dir / "port").read_text(encoding="ascii"))
        until(lambda: all(has_said_all(pid, port) for pid in halted), "what victims have sent is read")
        for _ in range(2):
            until(lambda: self.stage.job(self.job) is not None, "the coordinator answers")
            time.sleep(0.01)


def fall(stage: Stage, jobs: Sequence[Faults], dice: random.Random, *daemons: str) -> None:
    """``kill -9`` of daemons while workers are at work, and other starts in their places, in any order.

    :param jobs: all that run.
    :param daemons: ``coordinator``, ``rendezvous`` or both, which then fall at once.
    """
    until(lambda: any(faults.story().live for faults in jobs), "a worker is at work")
    fallen = {"coordinator": stage.coordinator, "rendezvous": stage.rendezvous}
    chosen = [daemon for daemon in (fallen[name] for name in daemons) if daemon is not None]
    for daemon in chosen:
        send(daemon.pid, signal.SIGKILL)
    for daemon in chosen:
        daemon.kill()
    for faults in jobs:
        story = faults.story()
        if story.finished:
            continue
        if "coordinator" in daemons:
            faults.before_restart.update(story.live)
            faults.results_before.update(story.results)
            # One that fell again before it had taken up the job has not written that it did.
            faults.restarts += story.generation == faults.restarts
        if "rendezvous" in daemons:
            faults.dropped += 1
    dice.shuffle(chosen)
    for daemon in chosen:
        time.sleep(dice.choice([0.0, 0.5, 2.0]))
        daemon.start()


def kill_shard(stage: Stage, jobs: Sequence[Faults], dice: random.Random) -> None:
    """``kill -9`` of one of the rendezvous' processes; its supervisor starts another."""
    rendezvous = stage.rendezvous
    assert rendezvous is not None
    until(lambda: any(faults.story().live for faults in jobs), "a worker is at work")
    shards = sorted(
        process.pid for process in tree(rendezvous.pid).children(rendezvous.pid) if process.state not in "ZX"
    )
    send(dice.choice(shards), signal.SIGKILL)
    for faults in jobs:
        faults.dropped += 1
    until(
        lambda: len([p for p in tree(rendezvous.pid).children(rendezvous.pid) if p.state not in "ZX"]) == len(shards),
        "the supervisor has started another shard",
    )


def cut_paths(stage: Stage, jobs: Sequence[Faults], dice: random.Random) -> int:
    """Cut some of the direct paths that there are between workers, which live on. Returns how many."""
    found = tree(stage.stack_pid)
    return cut_some(path_ends(worker.pid for faults in jobs for worker in found.workers(faults.job).values()), dice)


def halt_s3(stage: Stage, seconds: float) -> tuple[float, float]:
    """Stop the processes of the embedded S3 (SIGSTOP) for a while.

    :returns: from when to when, by the clock that never goes back.
    """
    halted = [
        process.pid for process in tree(stage.stack_pid).processes.values() if process.name.startswith(("weed", "moto"))
    ]
    if not halted:
        raise Broken("no process of an S3 is found")
    for pid in halted:
        send(pid, signal.SIGSTOP)
    try:
        until(lambda: all(state_of(pid) in HALTED for pid in halted), "the S3 is halted")
        begin = time.monotonic()
        time.sleep(seconds)
        return begin, time.monotonic()
    finally:
        for pid in halted:
            send(pid, signal.SIGCONT)


def _killer(pid: int) -> Callable[[], None]:
    def kill() -> None:
        send(pid, signal.SIGKILL)

    return kill


def _group_killer(leader: int) -> Callable[[], None]:
    def kill() -> None:
        os.killpg(leader, signal.SIGKILL)

    return kill


def _go_on(pid: int, *, group: bool) -> None:
    with suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(pid, signal.SIGCONT)
