"""Events in any order, sensible or not: the job keeps its promises at every step, and ends when the world is kind."""

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from property_examples import examples

from mu_twisted.jobs import (
    Abort,
    Action,
    Assign,
    Assigned,
    AttemptEnded,
    Diagnose,
    Dismiss,
    Failure,
    Finish,
    GiveToken,
    Interrupt,
    Job,
    JobPolicy,
    Launched,
    Ping,
    Record,
    ResultReached,
    StartLaunches,
    StopLaunches,
    TaskFailed,
    Warm,
    record_from_dict,
    record_to_dict,
)

CONNECTED = st.runner().flatmap(lambda self: st.sampled_from(sorted(self.workers)))


class AnyOrder(RuleBasedStateMachine):
    """Workers, launches and time, moved by the rule that draws the next step."""

    def __init__(self) -> None:
        super().__init__()
        self.away: dict[int, frozenset[int] | None] = {}
        self.now = 0.0
        self.number = 0
        self.records: list[dict[str, object]] = []
        self.unsent: list[str] = []
        self.coming: list[str] = []
        self.came: list[str] = []
        self.ids: set[str] = set()
        self.workers: dict[int, tuple[str, str | None, bool]] = {}
        self.given: list[int] = []
        self.working: dict[int, tuple[int, int]] = {}
        self.last: dict[int, int] = {}
        self.under_way: dict[int, set[int]] = {}
        self.results: set[int] = set()
        self.finished = False
        self.kind = self.may_end = False
        self.done_about = 0

    @initialize(
        tasks=st.integers(1, 6),
        links=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=6),
        policy=st.builds(
            JobPolicy,
            retries=st.integers(0, 3),
            reruns=st.integers(0, 4),
            max_workers=st.none() | st.integers(1, 4),
            overprovision=st.integers(0, 2),
            start_retries=st.integers(0, 2),
            task_timeout=st.none() | st.just(40.0),
            speculate=st.none() | st.just(2.0),
            redial_timeout=st.sampled_from([0.0, 15.0]),
        ),
        side_effects=st.booleans(),
        may_end=st.integers(0, 9).map(lambda number: number == 9),
    )
    def begin(
        self, tasks: int, links: list[tuple[int, int]], policy: JobPolicy, side_effects: bool, may_end: bool
    ) -> None:
        self.may_end = may_end
        consumes: dict[int, list[int]] = {}
        for first, second in links:
            if first < second < tasks:
                consumes.setdefault(second, []).append(first)
        self.job = Job("j", range(tasks), policy, consumes=consumes, side_effects=side_effects)
        self.take(self.job.start(self.now))

    # -- what may happen -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.unsent)
    @rule(accepted=st.booleans(), data=st.data())
    def launch_answered(self, accepted: bool, data: st.DataObject) -> None:
        launch_id = self.unsent.pop(data.draw(st.integers(0, len(self.unsent) - 1)))
        if accepted or self.kind:
            self.coming.append(launch_id)
            self.take(self.job.launch_accepted(launch_id, self.now))
        else:
            self.take(self.job.launch_refused(launch_id, "no", self.now))

    @precondition(lambda self: self.coming)
    @rule(data=st.data(), reusable=st.booleans(), left=st.none() | st.floats(0, 900))
    def worker_comes(self, data: st.DataObject, reusable: bool, left: float | None) -> None:
        launch_id = self.coming.pop(data.draw(st.integers(0, len(self.coming) - 1)))
        self.came.append(launch_id)
        self.greet(launch_id if reusable else None, reusable, left, None)

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def token_is_taken(self, data: st.DataObject) -> None:
        self.job.token_taken(data.draw(st.sampled_from(self.given)))

    @precondition(lambda self: self.came)
    @rule(data=st.data(), redial=st.none() | st.booleans(), proven=st.booleans())
    def worker_comes_again(self, data: st.DataObject, redial: bool | None, proven: bool) -> None:
        self.greet(data.draw(st.sampled_from(self.came)), True, None, redial, proven=proven)

    @precondition(lambda self: self.workers)
    @rule(worker=CONNECTED)
    def worker_greets_again(self, worker: int) -> None:
        """When it is warm, or when it is not expected."""
        place, launch_id, reusable = self.workers[worker]
        if place == "leaving":
            return  # no job listens to it
        if place == "warming":
            self.workers[worker] = ("idle", launch_id, reusable)
        self.take(self.job.worker_greeted(worker, launch_id, self.now, reusable=reusable))

    @precondition(lambda self: self.workers)
    @rule(worker=CONNECTED)
    def worker_lost(self, worker: int) -> None:
        self.forget(worker)
        self.take(self.job.worker_lost(worker, "reset", self.now))

    @precondition(lambda self: self.workers)
    @rule(worker=CONNECTED)
    def task_done(self, worker: int) -> None:
        self.put_down(worker)
        self.take(self.job.task_done(worker, self.now))

    @precondition(lambda self: self.workers)
    @rule(worker=CONNECTED, kind=st.sampled_from(Failure))
    def task_failed(self, worker: int, kind: Failure) -> None:
        self.put_down(worker)
        self.take(self.job.task_failed(worker, "bad", self.now, kind=kind, status=1))

    @rule(task=st.integers(0, 6))
    def messages_lost(self, task: int) -> None:
        self.take(self.job.messages_lost(task, self.now))

    @rule(store=st.sampled_from("ab"), shard=st.integers(0, 1), tasks=st.none() | st.frozensets(st.integers(0, 6)))
    def store_named(self, store: str, shard: int, tasks: frozenset[int] | None) -> None:
        if not self.finished:
            self.away.pop(shard, None)
        self.take(self.job.store_named(store, self.now, shard, tasks))

    @rule(shard=st.integers(0, 1), tasks=st.none() | st.frozensets(st.integers(0, 6)))
    def store_unreachable(self, shard: int, tasks: frozenset[int] | None) -> None:
        self.away[shard] = tasks
        self.take(self.job.store_unreachable(f"{shard} is away", self.now, shard, tasks))

    @rule(most=st.none() | st.integers(1, 4))
    def shared(self, most: int | None) -> None:
        self.take(self.job.allow_workers(most, self.now))

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 30.0]), alive=st.booleans())
    def time_passes(self, seconds: float, alive: bool) -> None:
        self.now += seconds
        self.take(self.job.time_passed(self.now))
        if alive:
            for worker in self.workers:
                self.job.heard(worker)

    @rule(cut=st.integers(0, 3))
    def restart(self, cut: int) -> None:
        """The last records have not reached the journal; nothing was done about them either."""
        keep = len(self.records) - cut if cut < len(self.records) - self.done_about else self.done_about
        self.records = self.records[: max(keep, 1)]
        self.workers.clear()
        self.working.clear()
        self.under_way.clear()
        self.unsent.clear()
        self.job = Job.restore([record_from_dict(record) for record in self.records])
        for shard, tasks in self.away.items():  # as links do that are not connected yet
            self.job.store_unreachable("being dialled", self.now, shard, tasks)
        self.finished = self.job.over
        self.take(self.job.resume(self.now))

    @precondition(lambda self: self.finished)
    @rule()
    def retried(self) -> None:
        self.finished = not self.job.failures
        self.take(self.job.retry(self.now))

    @precondition(lambda self: self.may_end)
    @rule(how=st.sampled_from(["abort", "cancel"]))
    def ended(self, how: str) -> None:
        self.take(getattr(self.job, how)("no more", self.now))

    @rule(count=st.integers(1, 6))
    def workers_come(self, count: int) -> None:
        for launch_id in self.unsent[:count]:
            self.unsent.remove(launch_id)
            self.came.append(launch_id)
            self.take(self.job.launch_accepted(launch_id, self.now))
            self.greet(launch_id, True, None, None)

    @precondition(lambda self: "warming" in {place for place, _, _ in self.workers.values()})
    @rule()
    def all_are_warm(self) -> None:
        for worker, (place, _, _) in list(self.workers.items()):
            if place == "warming" and worker in self.workers:
                self.worker_greets_again(worker)

    # -- what is promised ------------------------------------------------------------------------------------------

    def take(self, actions: Sequence[Action]) -> None:
        for action in actions:
            assert not self.finished, f"{action} after the end"
            match action:
                case Record(record):
                    self.records.append(record_to_dict(record))
                    self.note(record)
                case StartLaunches(launch_ids):
                    self.unsent += launch_ids
                case GiveToken(worker):
                    assert self.workers[worker][1] is not None
                    self.given.append(worker)
                case Assign(worker, task, attempt):
                    held = any(tasks is None or task in tasks for tasks in self.away.values())
                    assert not (held and self.job._data.ledger.lineage.is_linked(task)), (
                        "its messages cannot be asked for"
                    )
                    assert self.workers[worker][0] == "idle"
                    assert attempt > self.last.get(task, -1)
                    self.last[task] = attempt
                    self.workers[worker] = ("working", *self.workers[worker][1:])
                    self.working[worker] = (task, attempt)
                    assert sum(task == other for other, _ in self.working.values()) <= 2
                case Warm(worker) | Interrupt(worker):
                    assert self.workers[worker][2], "it does not know how"
                    assert self.workers[worker][0] != "warming"
                    assert isinstance(action, Interrupt) or worker not in self.working
                    self.put_down(worker)
                    self.workers[worker] = ("warming", *self.workers[worker][1:])
                case Dismiss(worker):
                    self.put_down(worker)
                    if self.workers[worker][2]:
                        self.forget(worker)
                    else:
                        self.workers[worker] = ("leaving", *self.workers[worker][1:])
                case Abort(worker):
                    self.forget(worker)
                case Ping(worker):
                    assert self.workers[worker][2]
                case Finish():
                    self.finished = True
                    assert all(place == "leaving" for place, _, _ in self.workers.values())
                case Diagnose() | StopLaunches():
                    pass
        self.done_about = len(self.records)

    def note(self, record: object) -> None:
        match record:
            case Launched(generation, first, count):
                ids = {f"{generation}-{first + at}" for at in range(count)}
                assert self.ids.isdisjoint(ids)
                self.ids |= ids
            case Assigned(task, attempt):
                self.under_way.setdefault(task, set()).add(attempt)
                assert len(self.under_way[task]) <= 2
            case AttemptEnded(task, attempt):
                self.under_way.get(task, set()).discard(attempt)
            case ResultReached(task):
                assert task not in self.results, "one result a task"
                assert not self.under_way.get(task), "no worker is on it any more"
                assert all(task != other for other, _ in self.working.values())
                self.results.add(task)
            case TaskFailed(task):
                assert not self.under_way.get(task)

    @invariant()
    def the_books_balance(self) -> None:
        if not hasattr(self, "job"):
            return
        counts = self.job.counts()
        assert counts.done + counts.failed + counts.waiting + counts.active == counts.tasks
        assert counts.failed == len(self.job.failures)
        assert self.job.over is self.finished
        if self.job.over:
            assert counts.waiting == counts.active == 0
            assert (self.job.error is None) == (counts.failed == 0) or self.job.error == "no more"
        for worker, (task, _) in self.working.items():
            assert self.job.task_of(worker) == task

    def teardown(self) -> None:
        """From here on all goes well; then the job ends."""
        if not hasattr(self, "job"):
            return
        self.kind = True
        for shard in list(self.away):
            self.store_named("a", shard, None)
        for _ in range(2000):
            if self.finished:
                return
            self.be_kind()
        raise AssertionError(f"it never ends: {self.job.snapshot()}")

    def be_kind(self) -> None:
        while self.unsent and not self.finished:
            self.coming.append(self.unsent.pop())
            self.take(self.job.launch_accepted(self.coming[-1], self.now))
        while self.coming and not self.finished:
            self.greet(self.coming.pop(), True, None, None)
        for worker, (place, _, _) in list(self.workers.items()):
            if self.finished:
                return
            if place == "leaving":
                self.worker_lost_kindly(worker)
            elif place == "warming" and worker in self.workers:
                self.workers[worker] = ("idle", *self.workers[worker][1:])
                self.take(self.job.worker_greeted(worker, None, self.now))
        # A task that needs messages waits for those that send them.
        lineage = self.job._data.ledger.lineage
        done = {view.task for view in self.job.tasks() if view.state.value == "done"}
        for worker, (task, _) in list(self.working.items()):
            if not self.finished and worker in self.working and done.issuperset(lineage.producers(task)):
                self.put_down(worker)
                self.take(self.job.task_done(worker, self.now))
        if not self.finished:
            self.now += 1.0
            actions = self.job.time_passed(self.now)
            for worker in self.workers:
                self.job.heard(worker)
            self.take(actions)
            if any(isinstance(action, Diagnose) for action in actions):
                self.take(self.job.abort("no more", self.now))

    def worker_lost_kindly(self, worker: int) -> None:
        self.forget(worker)
        self.take(self.job.worker_lost(worker, "it quit", self.now))

    # -- inside ----------------------------------------------------------------------------------------------------

    def greet(
        self,
        launch_id: str | None,
        reusable: bool,
        left: float | None,
        redial: bool | None,
        *,
        proven: bool = False,
    ) -> None:
        self.number += 1
        self.workers[self.number] = ("idle", launch_id, reusable)
        self.take(
            self.job.worker_greeted(
                self.number,
                launch_id,
                self.now,
                reusable=reusable,
                seconds_left=left,
                redial=redial,
                takes_token=reusable,
                proven=proven,
            )
            if not self.finished
            else self.dismissed(self.number, launch_id)
        )

    def dismissed(self, worker: int, launch_id: str | None) -> list[Action]:
        [action] = self.job.worker_greeted(worker, launch_id, self.now)
        assert isinstance(action, Dismiss)
        self.forget(worker)
        return []

    def put_down(self, worker: int) -> None:
        self.working.pop(worker, None)
        if self.workers[worker][0] == "working":
            self.workers[worker] = ("idle", *self.workers[worker][1:])

    def forget(self, worker: int) -> None:
        self.working.pop(worker, None)
        del self.workers[worker]


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=examples(150), stateful_step_count=40, deadline=None)
