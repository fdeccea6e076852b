"""Whatever has become of jobs, their files say of them what all records say, or nothing."""

import random
from pathlib import Path

import pytest
from map_jobs import MapCoordinator
from memory_jobs import draw_names
from stored_answers import Question, stored, whole

from mu_twisted.base import MuError
from mu_twisted.pipelines import combinations

STATES = ("done", "failed", "waiting", "blocked")


class History:
    """What users, workers and a coordinator do, at random."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = MapCoordinator(directory)

    def go_on(self) -> None:
        """One of them does something."""
        self.world.wall += 1.5
        jobs = [job.job for job in self.world.jobs.jobs()]
        what = self.random.choices(["work", "retry", "remove", "cancel", "interrupt"], [5, 2, 1, 1, 1])[0]
        if not jobs or self.random.random() < 0.35:
            self.submit()
        elif what == "work":
            self.work(self.random.choice(jobs))
        else:
            self.change(what, self.random.choice(jobs))
        if self.random.random() < 0.5:
            self.world.clock.pump([0.05] * self.random.randint(1, 20))

    def submit(self) -> None:
        folder = self.random.choice(["", "a/", "b c/"])
        inputs = [f"{folder}{number}.png" for number in range(self.random.choice([1, 2, 7, 30]))]
        words = [f"--retries={self.random.randint(0, 1)}", f"--batch={self.random.choice([1, 1, 3])}"]
        self.world.map(combinations([inputs]), "--max-workers=1", *words, "--", "convert {}")

    def change(self, what: str, job: str) -> None:
        try:
            changing = getattr(self.world.jobs, what)(job)
        except MuError:  # it is not over yet, or was never failed
            return
        if changing is not None:
            changing.addErrback(lambda failure: failure.trap(MuError))
        self.world.turn()

    def work(self, job: str) -> None:
        """A worker is there for a while."""
        worker = self.world.worker(job, self.world.launches.submission[-1] if self.world.launches.submission else "0-0")
        for _ in range(self.random.randint(1, 60)):
            if self.world.jobs.job(job).ended is not None or worker.closed:
                break
            self.world.answer_all(worker, f"{job}/0-0", lambda _: self.random.random() < 0.3)
            self.world.clock.advance(self.random.choice([0, 0.1, 3]))

    def end(self) -> None:
        """The coordinator is stopped, or killed."""
        if self.random.random() < 0.5:
            self.world.jobs.stop()
            self.world.journal.close()
        for call in list(self.world.clock.getDelayedCalls()):
            call.cancel()
        self.world.journal._database.close()
        self.world.journal._count.close()

    def begin(self) -> None:
        """Another is started."""
        self.world.launches = type(self.world.launches)()
        self.world.start()
        self.world.clock.pump([0.05] * 5)


def questions(jobs: list[str]) -> list[Question]:
    found: list[Question] = [(("jobs",), {})]
    for job in jobs:
        found += [(("jobs", job), {}), (("jobs", job, "wait"), {"timeout": 0})]
        tasks: list[dict[str, object]] = [{}, {"cursor": 3, "limit": 2}, *({"state": state} for state in STATES)]
        found += [(("jobs", job, "tasks"), query) for query in tasks]
        found += [
            (("jobs", job, "settled"), {"timeout": 0, "after": after, "results": after % 2}) for after in range(3)
        ]
        output: list[dict[str, object]] = [{}, {"failed": 1}, {"task": 0}, {"task": 1, "which": "all"}]
        output += [{"called": "0.png"}, {"called": "a/1.png"}, {"after": "1.0.0"}]
        found += [(("jobs", job, "output"), query) for query in output]
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_files_say_what_the_records_say_after_any_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    draw_names(monkeypatch, seed)
    history = History(tmp_path, seed)
    told = 0
    for _ in range(4):
        for _ in range(history.random.randint(1, 8)):
            history.go_on()
        jobs = [job.job for job in history.world.jobs.jobs()]
        history.end()
        queries = questions(jobs)
        before, answers = stored(tmp_path, queries), whole(tmp_path, queries)
        for some in (before, stored(tmp_path, queries)):
            for question, answer, right in zip(queries, some, answers, strict=True):
                assert answer in (None, right), question
                told += answer is not None
        history.begin()
    assert told > 20
