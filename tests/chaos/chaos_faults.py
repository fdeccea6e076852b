"""Faults, each put where the journal says that somebody is at work, and afterwards found in the journal again.

A victim is halted first (SIGSTOP). What it had sent by then is taken in by the coordinator before the journal is
looked at: so an attempt that is under way then cannot end but by what is done to it next.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from chaos_journal import Story, Try, read
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
    """

    stage: Stage
    job: str
    dice: random.Random
    most: int = 7
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
                if attempt is None or state_of(process.pid) != "T" or story.charged.get(attempt[0], 0) >= self.most:
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

    def restart_coordinator(self, pause: float) -> None:
        """``kill -9`` while somebody is at work, and another start on the same state directory.

        :param pause: seconds that it is gone.
        """
        until(lambda: self.story().live, f"somebody is at work for {self.job}")
        self.stage.coordinator.kill()
        story = self.story()
        if not story.live:
            self.stage.coordinator.start()
            raise Broken("nobody was at work when the coordinator was killed")
        self.before_restart = dict(story.live)
        self.results_before = set(story.results)
        time.sleep(pause)
        self.stage.coordinator.start()
        self.restarts += 1

    def restart_rendezvous(self, pause: float) -> None:
        """The same with the rendezvous, on the same port."""
        rendezvous = self.stage.rendezvous
        assert rendezvous is not None
        until(lambda: self.story().live, f"somebody is at work for {self.job}")
        rendezvous.kill()
        time.sleep(pause)
        rendezvous.start()
        self.dropped += 1

    def check(self, share: float) -> Story:
        """Whether the journal tells the same story.

        :param share: of all attempts that must have been killed.
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
        if killed < share * story.attempts:
            raise Broken(f"only {killed} of {story.attempts} attempts were killed")
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
        wanted = Failure.EXIT if hit.what == "programs" else Failure.LOST
        if record["outcome"] != "failed" or record["kind"] != wanted.value:
            raise Broken(f"{hit}: the journal says {record}")
        if hit.what == "programs" and record["status"] not in (-9, 137):
            raise Broken(f"{hit}: the journal says {record}")

    def _check_drop(self, story: Story) -> None:
        # A job whose last task stores its result as the rendezvous falls is over before it hears of the new store.
        if len(set(story.stores)) not in (self.dropped, self.dropped + 1):
            raise Broken(f"the rendezvous was killed, but its stores were {story.stores}")

    def _settle(self, halted: list[int]) -> None:
        """What these workers have sent by now is in the journal when this returns."""
        port = int((self.stage.state_dir / "port").read_text(encoding="ascii"))
        until(lambda: all(has_said_all(pid, port) for pid in halted), "what victims have sent is read")
        for _ in range(2):
            until(lambda: self.stage.job(self.job) is not None, "the coordinator answers")
            time.sleep(0.01)


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
