"""Stages of a job in what its coordinator answers, while it runs, after restarts, and when it is over."""

from memory_jobs import Echo, MemoryCoordinator
from worker_double import ours

from mu_twisted.pipelines import Pipeline

STAGED = Pipeline(
    name="p",
    summary="",
    first=Echo,
    after=lambda _, task: range(2) if task == 2 else [],
    stage=lambda _, task: "join" if task == 2 else "split",
)


def stages(world: MemoryCoordinator, job: str) -> list[tuple[str, str, int, int]]:
    return [(one.name, one.state, one.tasks, one.done) for one in world.jobs.job(job).stages]


def test_a_status_counts_each_stage_and_so_does_that_of_a_job_that_is_over(world: MemoryCoordinator) -> None:
    world.pipeline = STAGED
    job = world.submit("-n", "3")
    world.finish(job, "0-0")
    assert stages(world, job) == [("split", "waiting", 2, 1), ("join", "blocked", 1, 0)]
    assert world.jobs.job(job).stages[1].waits == "task 2 comes after task 1, which is waiting"
    world.killed_and_started_again()
    assert stages(world, job) == [("split", "waiting", 2, 1), ("join", "blocked", 1, 0)]
    assert [task.stage for task in world.tasks(job)] == ["split", "split", "join"]
    world.clock.pump([1.0] * 20)
    worker = world.worker(job, world.launches.submission[0])
    for _ in range(2):
        worker.says(b"OK:ECHO(hi)")
        worker.says(ours(f"{job}/{world.launches.submission[0]}"))
    for _ in range(2):
        assert stages(world, job) == [("split", "done", 2, 2), ("join", "done", 1, 1)]
        world.killed_and_started_again()


def test_a_log_names_the_stages_of_its_tasks_and_the_moves_of_a_graph(world: MemoryCoordinator) -> None:
    world.pipeline = STAGED
    job = world.submit("-n", "3")
    world.finish(job, "0-0")
    world.finish(job, "0-1")
    log = world.log(job)
    assert "3 tasks: 2 split, 1 join" in log
    assert "task 1 (split), attempt 0: result" in log
    told = world.log(job, 2)
    assert "result" in told
    assert "[blocked -> waiting]" in told


def test_stages_without_a_task_that_is_to_run_are_left_out(world: MemoryCoordinator) -> None:
    world.pipeline = STAGED
    world.skipped = frozenset({0, 1})
    assert stages(world, world.submit("-n", "3")) == [("join", "waiting", 1, 0)]


def test_a_job_that_is_held_shows_its_stages_at_rest(world: MemoryCoordinator) -> None:
    world.pipeline = STAGED
    job = world.submit("-n", "3")
    world.worker(job, "0-0")
    world.hold_all = True
    world.killed_and_started_again()
    assert world.jobs.job(job).state == "held"
    assert stages(world, job) == [("split", "waiting", 2, 0), ("join", "blocked", 1, 0)]
