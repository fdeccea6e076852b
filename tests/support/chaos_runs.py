"""Rounds of jobs under faults: many commands on few workers, or chains of encoders; each against a serial reference.

What befalls a round besides its workers is its twist. Each round ends with a ``kill -9`` of the coordinator as soon as
it has reported that all is over: what was reported must be so after it.
"""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chaos_faults import Faults, cut_paths, fall, halt_s3, kill_shard
from chaos_journal import Story
from chaos_stage import BUCKET, FILM, SHELL, SHUFFLE, XCENC, Broken, Stage, until
from chaos_witness import Announced, Programs, check_programs
from encoder_reference import serial, y4m
from encoder_workers import Job as SerialJob
from encoder_workers import failures

from mu_twisted.cli.demo.fixtures import find_ffmpeg, run_ffmpeg
from mu_twisted.pipelines import film

SHARE = 0.10
"""Of all attempts but those that restarts end, that kills must end: on a busy machine many begin and end between two
looks at them."""
AIM = 0.30
"""Of all attempts so far that are killed as long as it goes on."""
BODY = "{{ sort {{in}}; echo {{n}}; cksum < {{in}}; }} > {{out}}"
COMMAND = "{tell}tell {name}/{{n}} begin && sleep {pause} && " + BODY + " && tell {name}/{{n}} end"
LIMIT = 300.0
"""Seconds that a round may take."""
HALT = 20.0
"""Seconds that the S3 is halted."""
IN_FLIGHT = 2.0
"""Seconds after which nothing is under way any more that the S3 had answered before it was halted."""
EXEC_TWISTS = ("plain", "halted-s3", "two-restarts", "several-jobs")
XCENC_TWISTS = ("plain", "together", "two-restarts", "shards")
SHUFFLE_TWISTS = ("plain", "few-workers", "together", "two-restarts", "cut-paths")
GANG_TWISTS = ("plain", "together", "two-restarts", "cut-paths")
LINES = 400
"""That go through a pipe."""
FILM_TWISTS = ("plain", "few-workers", "two-restarts", "cancelled")
PIECES, CHUNKS = 4, 7
"""Of a film, each piece of five frames."""
RECORDS = 4000
"""That a shuffle sorts, all together."""
MANY_RECORDS = 400_000
"""The same where paths are cut, so that parts are on their way for a while."""
CUTS = range(2, 25)
"""How many direct paths must be cut in a round in which nothing else befalls anything, and how many may be: tasks that
pipes join begin again each time.
"""


@dataclass(frozen=True)
class Told:
    """What a round came to, for a line of a report."""

    kind: str
    seconds: float
    tasks: int
    attempts: int
    killed: int
    interrupted: int
    launched: int
    cut: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kind}: {self.tasks} tasks in {self.seconds:.1f} s, {self.attempts} attempts, {self.killed} killed "
            f"({self.killed / self.attempts:.0%}), {self.interrupted} interrupted by restarts, "
            f"{self.launched} launches" + (f", {self.cut} direct paths cut" if self.cut else "")
        )


class Commands:
    """A job of ``exec`` with fewer workers than tasks, whose commands say when they begin and end.

    :param name: stands in the keys of inputs and outputs.
    :param pause: seconds that a command takes.
    """

    kind = "exec"
    shards = 1

    def __init__(
        self,
        stage: Stage,
        dice: random.Random,
        name: str,
        programs: Programs,
        *,
        tasks: int,
        workers: int,
        pause: float,
    ) -> None:
        self.name = name
        self.tasks = tasks
        self._stage = stage
        self._programs = programs
        self._inputs = ["".join(f"{dice.randrange(10**6)}\n" for _ in range(50)) for _ in range(tasks)]
        for number, text in enumerate(self._inputs):
            stage.control.put_object(BUCKET, f"{name}/in/{number}", text.encode())
        words = ["-n", str(tasks), "-b", BUCKET, "-l", SHELL, "--max-workers", str(workers), "--retries", "10"]
        words += ["--retry-exit", "137", "--in", f"{name}/in/{{n}}", "--out", f"{name}/out/{{n}}"]
        self.words = [*words, "--", COMMAND.format(tell=programs.tell, name=name, pause=pause)]

    def check(self, story: Story, announced: Announced) -> None:
        """Whether all outputs are the reference's, and no program ran that is not accounted for."""
        for number, text in enumerate(self._inputs):
            command = BODY.format().replace("{n}", str(number)).replace("{in}", "in").replace("{out}", "out")
            (self._stage.home / "in").write_text(text, encoding="ascii")
            subprocess.run(["sh", "-c", command], cwd=self._stage.home, check=True)
            stored = self._stage.control.get_object(BUCKET, f"{self.name}/out/{number}")
            if stored != (self._stage.home / "out").read_bytes():
                raise Broken(f"{announced.job}: the output of task {number} is not the reference's")
        check_programs(self._programs, announced, self.name, story.begun, self.tasks)
        if story.after_result:
            raise Broken(f"{announced.job}: tasks that had their result were begun again: {story.after_result}")


class Chain:
    """A job of ``xcenc``: each chunk of a group takes states of the one before.

    :param groups: as many as the rendezvous has shards, if it has several.
    """

    kind = "xcenc"

    def __init__(self, stage: Stage, dice: random.Random, name: str, *, tasks: int, groups: int = 1) -> None:
        self.name = name
        self.tasks = tasks
        self.shards = groups
        self._stage = stage
        self._group = tasks // groups
        self._inputs = [y4m(dice.randrange(10**6)) for _ in range(tasks)]
        for number, video in enumerate(self._inputs):
            stage.control.put_object(BUCKET, f"{name}/{number:08d}.y4m", video)
        words = ["-n", str(tasks), "-b", BUCKET, "-l", XCENC, "--retries", "10", "--retry-exit", "137", "-u"]
        words += ["-v", name, "-T", str(stage.rendezvous_port)]
        self.words = [*words, "-K", str(self._group), "-R", str(groups)] if groups > 1 else words

    def check(self, story: Story, announced: Announced) -> None:
        """Whether all that is stored is the reference's."""
        work = self._stage.home / self.name
        work.mkdir()
        for number, chunk in enumerate(serial(self._stage.tools, work, self._inputs, self._group)):
            for kind, suffix, wanted in (
                ("out", "ivf", chunk.output),
                ("first", "ivf", chunk.first),
                ("final_state", "state", chunk.final),
            ):
                if self._stage.control.get_object(BUCKET, f"{self.name}/{kind}/{number:08d}.{suffix}") != wanted:
                    raise Broken(f"{announced.job}: {kind} of chunk {number} is not the reference's")


class Shuffle:
    """A job of ``shuffle``: each task sends a part of its own to every other.

    :param workers: at once; None: one for each task.
    :param records: that are sorted, all together.
    """

    kind = "shuffle"
    shards = 1

    def __init__(
        self, stage: Stage, name: str, *, tasks: int, workers: int | None = None, records: int = RECORDS
    ) -> None:
        self.name = name
        self.tasks = tasks
        self._records = str(records)
        self._stage = stage
        self.words = ["-n", str(tasks), "-r", self._records, "-b", BUCKET, "-l", SHUFFLE, "--retries", "10"]
        self.words += ["--retry-exit", "137", "--out", name, "-T", str(stage.rendezvous_port)]
        self.words += ["--max-workers", str(workers)] if workers is not None else []

    def check(self, story: Story, announced: Announced) -> None:
        """Whether each object has its range of the records, in order."""
        self.compare(announced.job)

    def compare(self, job: str) -> None:
        """The same, of a job."""
        work = self._stage.home / self.name
        work.mkdir()
        program = str(self._stage.tools / "records")
        (work / "all").write_bytes(subprocess.check_output([program, "make", "0", self._records]))
        subprocess.run([program, "split", str(self.tasks), "part", "all"], cwd=work, check=True)
        for number in range(self.tasks):
            wanted = subprocess.check_output([program, "merge", f"part.{number}"], cwd=work)
            if self._stage.control.get_object(BUCKET, f"{self.name}/{number:08d}") != wanted:
                raise Broken(f"{job}: the records of task {number} are not the reference's")


class Piped:
    """A job of pairs of tasks joined by a pipe, with fewer workers than tasks.

    :param workers: at once.
    :param pause: seconds that a pair takes.
    """

    kind = str(Path(__file__).with_name("piped_tasks.py"))
    shards = 1

    def __init__(
        self, stage: Stage, dice: random.Random, name: str, *, tasks: int, workers: int, pause: float = 0.5
    ) -> None:
        self.name = name
        self.tasks = tasks
        self._stage = stage
        self._inputs = [[f"{dice.randrange(10**6)}\n" for _ in range(LINES)] for _ in range(tasks // 2)]
        for number, lines in enumerate(self._inputs):
            stage.control.put_object(BUCKET, f"{name}/in/{number}", "".join(lines).encode())
        self.words = ["-n", str(tasks), "-b", BUCKET, "-l", SHELL, "--retries", "10", "--retry-exit", "137"]
        self.words += ["--prefix", name, "--lines", str(LINES), "--pause", str(pause), "--max-workers", str(workers)]
        self.words += ["-T", str(stage.rendezvous_port)]

    def check(self, story: Story, announced: Announced) -> None:
        """Whether what has come through each pipe is the reference's."""
        for number, lines in enumerate(self._inputs):
            made = subprocess.check_output(["sort"], input="".join(lines).encode())
            if self._stage.control.get_object(BUCKET, f"{self.name}/out/{number}") != made:
                raise Broken(f"{announced.job}: what came through pipe {number} is not the reference's")


class Film:
    """A job of ``film``: a graph of stages, each of whose tasks reads what others have stored.

    :param workers: at once; None: one for each task.
    """

    kind = "film"
    shards = 1
    tasks = 2 * PIECES + 2 * CHUNKS + 1

    def __init__(self, stage: Stage, dice: random.Random, name: str, *, workers: int | None) -> None:
        self.name = name
        self._stage = stage
        source = f"testsrc2=size=64x48:rate=10:duration={PIECES / 2},hue=h={dice.randrange(360)}"
        path = stage.home / f"{name}.mp4"
        run_ffmpeg(find_ffmpeg(), "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", str(path))
        self._video = path.read_bytes()
        stage.control.put_object(BUCKET, f"{name}.mp4", self._video)
        self._options = ["-n", str(PIECES), "-b", BUCKET, "-v", name, "--seconds", "1/2", "--rate", "10", "-f", "3"]
        self.words = [*self._options, "-l", FILM, "--retries", "10", "--retry-exit", "137"]
        self.words += ["--max-workers", str(workers)] if workers is not None else []

    def check(self, story: Story, announced: Announced) -> None:
        """Whether all that is stored is what a serial run stores."""
        self.compare(announced.job)

    def compare(self, job: str) -> None:
        """The same, of a job."""
        work = self._stage.home / self.name
        work.mkdir()
        run = SerialJob(film.pipeline, film.pipeline.parse(self._options), self._stage.tools, work, {})
        run.store[f"{self.name}.mp4"] = self._video
        for worker in run.workers:
            while worker.can_go_on:
                worker.step()
        if len(run.store) != self.tasks + 1:
            raise Broken(f"{job}: the serial run has failed: {failures(run)}")
        for key, wanted in run.store.items():
            if self._stage.control.get_object(BUCKET, key) != wanted:
                raise Broken(f"{job}: {key} is not the reference's")


Work = Commands | Chain | Shuffle | Piped | Film


def run_commands(
    stage: Stage,
    dice: random.Random,
    name: str,
    *,
    tasks: int,
    workers: int,
    pause: float,
    again: int,
    twist: str = "plain",
) -> Told:
    """A round of ``exec``.

    :param again: how often one task is killed at most; each time it waits longer for its next attempt.
    :param twist: of :data:`EXEC_TWISTS`.
    """
    programs = Programs()
    try:
        counts = [tasks // 2, tasks // 4, tasks - tasks // 2 - tasks // 4] if twist == "several-jobs" else [tasks]
        works = [
            Commands(
                stage, dice, f"{name}-{number}", programs, tasks=count, workers=workers // len(counts), pause=pause
            )
            for number, count in enumerate(counts)
        ]
        restarts = 2 if twist == "two-restarts" else 1
        falls: list[tuple[float, str]] = [(dice.uniform(0.1, 0.8) * tasks, "coordinator") for _ in range(restarts)]
        if twist == "halted-s3":
            falls.append((dice.uniform(0.2, 0.6) * tasks, "s3"))
        return _Round(stage, dice, works, again).run(falls, f"exec {twist}", most=4)
    finally:
        programs.close()


def run_chain(stage: Stage, dice: random.Random, name: str, *, tasks: int, again: int, twist: str = "plain") -> Told:
    """A round of ``xcenc``.

    :param twist: of :data:`XCENC_TWISTS`.
    """
    shards = 2 if twist == "shards" else 1
    if shards > 1:
        stage.open_rendezvous(shards)
    try:
        works = [Chain(stage, dice, name, tasks=tasks, groups=shards)]
        early, late = dice.uniform(0.1, 0.5) * tasks, dice.uniform(0.5, 0.9) * tasks
        falls = {
            "plain": [(dice.uniform(0.1, 0.8) * tasks, "coordinator"), (dice.uniform(0.3, 0.9) * tasks, "rendezvous")],
            "together": [(dice.uniform(0.3, 0.9) * tasks, "together")],
            "two-restarts": [(early, "coordinator"), (late, "coordinator")],
            "shards": [(early, "shard"), (late, "coordinator")],
        }[twist]
        return _Round(stage, dice, works, again).run(falls, f"xcenc {twist}", most=4)
    finally:
        if shards > 1:
            stage.open_rendezvous()


def run_shuffle(stage: Stage, dice: random.Random, name: str, *, tasks: int, again: int, twist: str = "plain") -> Told:
    """A round of ``shuffle``.

    :param twist: of :data:`SHUFFLE_TWISTS`.
    """
    if twist == "cut-paths":
        many = Shuffle(stage, name, tasks=tasks, records=MANY_RECORDS)
        return _Round(stage, dice, [many], again).run([], f"shuffle {twist}", most=0)
    works = [Shuffle(stage, name, tasks=tasks, workers=tasks // 2 if twist == "few-workers" else None)]
    early, late = dice.uniform(0.1, 0.5) * tasks, dice.uniform(0.6, 1.0) * tasks
    falls = {
        "plain": [(early, "coordinator"), (late, "rendezvous")],
        "few-workers": [(late, "coordinator")],
        "together": [(late, "together")],
        "two-restarts": [(early, "coordinator"), (late, "coordinator")],
    }[twist]
    return _Round(stage, dice, works, again).run(falls, f"shuffle {twist}", most=4)


def run_gang(stage: Stage, dice: random.Random, name: str, *, tasks: int, again: int, twist: str = "plain") -> Told:
    """A round of pairs of tasks joined by pipes.

    :param twist: of :data:`GANG_TWISTS`.
    """
    if stage.rendezvous is None:
        stage.open_rendezvous()
    if twist == "cut-paths":
        slow = Piped(stage, dice, name, tasks=tasks, workers=tasks // 2, pause=1.5)
        return _Round(stage, dice, [slow], again).run([], f"gang {twist}", most=0)
    works = [Piped(stage, dice, name, tasks=tasks, workers=tasks // 2)]
    early, late = dice.uniform(0.1, 0.5) * tasks, dice.uniform(0.6, 1.0) * tasks
    falls = {
        "plain": [(early, "coordinator"), (late, "rendezvous")],
        "together": [(late, "together")],
        "two-restarts": [(early, "coordinator"), (late, "coordinator")],
    }[twist]
    return _Round(stage, dice, works, again).run(falls, f"gang {twist}", most=2)


def run_film(stage: Stage, dice: random.Random, name: str, *, again: int, twist: str = "plain") -> Told:
    """A round of ``film``.

    :param twist: of :data:`FILM_TWISTS`.
    """
    work = Film(stage, dice, name, workers=4 if twist == "few-workers" else None)
    if twist == "cancelled":
        return _cancelled(stage, dice, work)
    early, late = dice.uniform(0.1, 0.5) * work.tasks, dice.uniform(0.6, 1.0) * work.tasks
    falls = [(early, "coordinator"), (late, "coordinator")][: 2 if twist == "two-restarts" else 1]
    return _Round(stage, dice, [work], again).run(falls, f"film {twist}", most=4)


def _cancelled(stage: Stage, dice: random.Random, work: Film) -> Told:
    """Cancel a graph in its middle, and let it go on; once more with the coordinator killed at the same time."""
    begun = time.monotonic()
    with stage.submitted(work.kind, *work.words) as (job, waiting):
        for kills in (False, True):
            done = (stage.job(job) or {}).get("done", 0)
            aim = min(work.tasks - 2, done + dice.randint(1, work.tasks // 3))
            until(partial(_has_done, stage, job, aim), f"{aim} tasks of {job} are done", LIMIT)
            stage.mu("cancel", job)
            waiting.communicate(timeout=60)
            fact = stage.job(job)
            if fact is None or fact["state"] != "cancelled" or fact["done"] == work.tasks:
                raise Broken(f"{job} was cancelled, and is {fact}")
            if kills:
                stage.coordinator.kill()
                stage.coordinator.start()
            again = stage.mu("retry", job)
            if again.returncode:
                raise Broken(f"{job} cannot be retried: {again.stderr}")
        ended = stage.mu("wait", job)
    if ended.returncode or f"{job}: {work.tasks} of {work.tasks} tasks done" not in ended.stdout:
        raise Broken(f"{job} failed: {ended.stdout}{ended.stderr}")
    work.compare(job)
    attempts = sum(task["attempts"] for task in stage.tasks(job))
    return Told("film cancelled", time.monotonic() - begun, work.tasks, attempts, 0, attempts - work.tasks, 0)


def _has_done(stage: Stage, job: str, tasks: int) -> bool:
    done: int = (stage.job(job) or {}).get("done", 0)
    return done >= tasks


class _Round:
    """Jobs that run at the same time, and what befalls them.

    :param again: see :func:`run_commands`.
    """

    def __init__(self, stage: Stage, dice: random.Random, works: Sequence[Work], again: int) -> None:
        self._stage = stage
        self._dice = dice
        self._works = works
        self._again = again
        self._tasks = sum(work.tasks for work in works)
        self._jobs: list[Faults] = []
        self._waiting: list[subprocess.Popen[str]] = []
        self._announced: list[Announced] = []
        self._halts: list[tuple[float, float]] = []
        self._at_work = threading.Lock()
        self._killed = threading.Event()
        self._cut = 0

    def run(self, falls: Sequence[tuple[float, str]], kind: str, *, most: int) -> Told:
        """Make faults until all jobs are over, and look at how they ended.

        :param falls: what befalls whom: once so many attempts have begun.
        :param most: workers that are killed at once; 0: in place of workers direct paths between them are cut.
        """
        begun = time.monotonic()
        with ExitStack() as stack:
            for work in self._works:
                job, waiting = stack.enter_context(self._stage.submitted(work.kind, *work.words))
                joined = isinstance(work, Piped)
                self._jobs.append(Faults(self._stage, job, self._dice, self._again, work.shards, joined))
                self._waiting.append(waiting)
            self._announced = [Announced(self._stage, faults.job, self._is_over) for faults in self._jobs]
            try:
                self._harass(list(falls), begun, most)
                printed = [waiting.communicate(timeout=180) for waiting in self._waiting]
            finally:
                for announced in self._announced:
                    announced.stop()
        seconds = time.monotonic() - begun
        stories = [
            self._check(work, faults, announced, waiting.returncode, *said)
            for work, faults, announced, waiting, said in zip(
                self._works, self._jobs, self._announced, self._waiting, printed, strict=True
            )
        ]
        for daemon in (self._stage.coordinator, self._stage.rendezvous):
            said = daemon.said() if daemon is not None else ""
            if "Traceback" in said or "Unhandled" in said:
                raise Broken(f"a daemon met what it did not expect: {said[-3000:]}")
        killed = sum(len(faults.hits) for faults in self._jobs)
        attempts = sum(story.attempts for story in stories)
        # Pipes join tasks to pairs, of which each kill ends both.
        ended = sum(len(faults.hits) * (2 if faults.joined else 1) for faults in self._jobs)
        interrupted = sum(len(faults.before_restart) for faults in self._jobs)
        if most and ended < SHARE * (attempts - interrupted):
            raise Broken(f"only {ended} of {attempts} attempts were ended by kills, and {interrupted} by restarts")
        if not most and self._cut < CUTS.start:
            raise Broken(f"only {self._cut} direct paths were cut")
        if not most and attempts > self._tasks and not any(faults.joined for faults in self._jobs):
            raise Broken(f"{attempts} attempts at {self._tasks} tasks, whose messages had another way than their paths")
        launched = sum(story.launched for story in stories)
        return Told(kind, seconds, self._tasks, attempts, killed, interrupted, launched, self._cut)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _is_over(self) -> None:
        """A job was reported to be over; kill the coordinator at that if it was the last."""
        if all(announced.ended is not None for announced in self._announced):
            with self._at_work:
                if not self._killed.is_set():
                    self._stage.coordinator.kill()
                    self._killed.set()

    def _harass(self, falls: list[tuple[float, str]], begun: float, most: int) -> None:
        dice = self._dice
        while not self._killed.is_set():
            if time.monotonic() - begun > LIMIT:
                raise Broken(f"not over after {LIMIT:g} s: {[self._stage.job(faults.job) for faults in self._jobs]}")
            stories = [faults.story() for faults in self._jobs]
            attempts = sum(story.attempts for story in stories)
            with self._at_work:
                if self._killed.is_set():
                    break
                for at, what in list(falls):
                    if any(story.live for story in stories) and attempts >= at:
                        falls.remove((at, what))
                        self._befall(what)
                        break
                hits = sum(len(faults.hits) for faults in self._jobs)
                if not most:
                    self._cut += cut_paths(self._stage, self._jobs, dice) if self._cut < CUTS.stop else 0
                elif hits < AIM * attempts:
                    dice.choice(self._jobs).kill_some(dice.randint(1, most))
            time.sleep(dice.uniform(0.0, 0.1))
        if falls:
            raise Broken(f"all was over before {', '.join(what for _, what in falls)}")
        self._stage.coordinator.start()

    def _befall(self, what: str) -> None:
        stage, jobs, dice = self._stage, self._jobs, self._dice
        made: dict[str, Callable[[], object]] = {
            "coordinator": lambda: fall(stage, jobs, dice, "coordinator"),
            "rendezvous": lambda: fall(stage, jobs, dice, "rendezvous"),
            "together": lambda: fall(stage, jobs, dice, "coordinator", "rendezvous"),
            "shard": lambda: kill_shard(stage, jobs, dice),
            "s3": lambda: self._halts.append(halt_s3(stage, HALT)),
        }
        made[what]()

    def _check(self, work: Work, faults: Faults, announced: Announced, status: int | None, out: str, err: str) -> Story:
        """Hold what was reported against the journal, and against what a coordinator that was started later reports."""
        job = faults.job
        if status != 0:
            raise Broken(f"{job} failed: {out}{err}")
        if f"{job}: {work.tasks} of {work.tasks} tasks done" not in out:
            raise Broken(f"{job}: mu wait printed {out!r}")
        ended, now = announced.ended, self._stage.job(job)
        if now is None or ended is None or any(ended[key] != now[key] for key in ("state", "done", "ended", "error")):
            raise Broken(f"{job} was reported to be {ended}, and after a kill of the coordinator it is {now}")
        again = self._stage.mu("wait", job)
        if (again.returncode, again.stdout) != (0, out):
            raise Broken(f"{job}: mu wait printed {out!r}, and after a kill of the coordinator {again.stdout!r}")
        story = faults.check()
        if sorted(story.results) != list(range(work.tasks)) or set(story.results.values()) != {1}:
            raise Broken(f"{job}: not every task was announced once: {story.results}")
        if not faults.results_before <= set(story.results):
            raise Broken(f"{job}: results were lost in a restart")
        if story.finished != [None]:
            raise Broken(f"{job}: it is over more than once: {story.finished}")
        for begin, end in self._halts:
            meanwhile = announced.during(begin + IN_FLIGHT, end)
            if meanwhile:
                raise Broken(f"{job}: the S3 was halted, and yet tasks {meanwhile} were reported to be done")
        work.check(story, announced)
        return story
