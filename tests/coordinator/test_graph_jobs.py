"""A job of stages of commands goes on after its coordinator was killed, and a failure costs what depends on it."""

from memory_jobs import MemoryCoordinator
from worker_double import WorkerDouble, ours

from mu_twisted.pipelines import load_pipeline
from mu_twisted.pipelines.graph import StageWords

STAGES = (
    StageWords("split", ("--range=1:2", "--", "split {}")),
    StageWords("treat", ("--range=1:2", "--", "treat {}"), after=("split",), each=True),
    StageWords("join", ("--range=1:1", "--", "join"), after=("treat",)),
)


def submitted(world: MemoryCoordinator) -> str:
    world.pipeline = load_pipeline("graph")
    return world.submit("--retries=0", "--max-workers=1", "--", *(one.packed() for one in STAGES))


def runs(worker: WorkerDouble) -> str:
    """The command that it was sent last."""
    return (
        [line for line in worker.sent if line.startswith(b"run:")][-1]
        .removeprefix(b"run:")
        .rpartition(b"; ")[2]
        .decode()
    )


def ends(world: MemoryCoordinator, worker: WorkerDouble, job: str, launch_id: str, status: int = 0) -> None:
    worker.says(b"OK:RETVAL(%d):OUTPUT():COMMAND(x)" % status)
    worker.says(ours(f"{job}/{launch_id}"))


def states(world: MemoryCoordinator, job: str) -> list[tuple[str, str, int, int]]:
    return [(one.name, one.state, one.done, one.failed) for one in world.jobs.job(job).stages]


def test_a_graph_goes_on_after_each_kill_where_it_was(world: MemoryCoordinator) -> None:
    job = submitted(world)
    done = []
    for _ in range(5):
        launch_id = world.launches.submission[0]
        worker = world.worker(job, launch_id)
        done.append(runs(worker))
        worker.says(b"OK:RETVAL(0):OUTPUT():COMMAND(x)")
        world.killed_and_started_again()
        world.clock.pump([1.0] * 20)
    assert [command.split()[0] for command in done] == ["split", "split", "treat", "treat", "join"]
    assert world.jobs.job(job).state == "done"
    assert states(world, job) == [("split", "done", 2, 0), ("treat", "done", 2, 0), ("join", "done", 1, 0)]


def test_a_failure_fails_what_comes_after_it_and_retry_runs_that_and_it(world: MemoryCoordinator) -> None:
    job = submitted(world)
    worker = world.worker(job, "0-0")
    ends(world, worker, job, "0-0", status=3)
    assert states(world, job) == [("split", "active", 0, 1), ("treat", "blocked", 0, 1), ("join", "failed", 0, 1)]
    ends(world, worker, job, "0-0")
    assert runs(worker) == 'treat "${_mu1}"'
    worker.says(b"OK:RETVAL(0):OUTPUT():COMMAND(x)")
    assert states(world, job) == [("split", "failed", 1, 1), ("treat", "failed", 1, 1), ("join", "failed", 0, 1)]
    assert [task.error for task in world.tasks(job, state="failed")][1:] == [
        "task 0, which it comes after, failed: the command ended with exit status 3",
        "task 0, which it comes after, failed: the command ended with exit status 3",
    ]
    world.retry(job)
    launch_id = world.launches.submission[-1]
    worker = world.worker(job, launch_id)
    for _ in range(3):
        ends(world, worker, job, launch_id)
    assert world.jobs.job(job).state == "done"
