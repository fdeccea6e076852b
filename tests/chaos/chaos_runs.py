"""The two kinds of run: many commands on few workers, and a chain of encoders; each against a serial reference."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "pipelines"))

from chaos_faults import Faults  # noqa: E402
from chaos_stage import BUCKET, SHELL, XCENC, Broken, Stage  # noqa: E402
from xc_reference import serial, y4m  # noqa: E402

SHARE = 0.20
"""Of all attempts that must be killed."""
AIM = 0.30
"""Of all attempts so far that are killed as long as it goes on."""
COMMAND = "sleep {pause}; {{ sort {{in}}; echo {{n}}; cksum < {{in}}; }} > {{out}}"
LIMIT = 300.0
"""Seconds that a run may take."""


@dataclass(frozen=True)
class Told:
    """What a run came to, for a line of a report."""

    kind: str
    seconds: float
    tasks: int
    attempts: int
    killed: int
    interrupted: int
    launched: int

    def __str__(self) -> str:
        return (
            f"{self.kind}: {self.tasks} tasks in {self.seconds:.1f} s, {self.attempts} attempts, {self.killed} killed "
            f"({self.killed / self.attempts:.0%}), {self.interrupted} interrupted by the restart, "
            f"{self.launched} launches"
        )


def run_commands(
    stage: Stage, dice: random.Random, name: str, *, tasks: int, workers: int, pause: float, again: int
) -> Told:
    """``exec`` with fewer workers than tasks.

    :param name: stands in the keys of inputs and outputs.
    :param pause: seconds that a command takes.
    :param again: how often one task is killed at most; each time it waits longer for its next attempt.
    """
    inputs = ["".join(f"{dice.randrange(10**6)}\n" for _ in range(50)) for _ in range(tasks)]
    for number, text in enumerate(inputs):
        stage.control.put_object(BUCKET, f"{name}/in/{number}", text.encode())
    words = ["-n", str(tasks), "-b", BUCKET, "-l", SHELL, "--max-workers", str(workers), "--retries", "10"]
    words += ["--retry-exit", "137", "--in", f"{name}/in/{{n}}", "--out", f"{name}/out/{{n}}"]
    with stage.submitted("exec", *words, "--", COMMAND.format(pause=pause)) as (job, waiting):
        faults = Faults(stage, job, dice, again)
        told = _harass(faults, waiting, "exec", tasks, most=4)
    for number, text in enumerate(inputs):
        command = COMMAND.format(pause=0).replace("{n}", str(number)).replace("{in}", "in").replace("{out}", "out")
        (stage.home / "in").write_text(text, encoding="ascii")
        subprocess.run(["sh", "-c", command], cwd=stage.home, check=True)
        if stage.control.get_object(BUCKET, f"{name}/out/{number}") != (stage.home / "out").read_bytes():
            raise Broken(f"{job}: the output of task {number} is not the reference's")
    repeated = faults.story().after_result
    if repeated:
        raise Broken(f"{job}: tasks that had their result were begun again: {repeated}")
    return told


def run_chain(stage: Stage, dice: random.Random, name: str, *, tasks: int, again: int) -> Told:
    """``xcenc``: each chunk takes states of the one before."""
    inputs = [y4m(dice.randrange(10**6)) for _ in range(tasks)]
    for number, video in enumerate(inputs):
        stage.control.put_object(BUCKET, f"{name}/{number:08d}.y4m", video)
    words = ["-n", str(tasks), "-b", BUCKET, "-l", XCENC, "--retries", "10", "--retry-exit", "137", "-u"]
    words += ["-v", name, "-T", str(stage.rendezvous_port)]
    with stage.submitted("xcenc", *words) as (job, waiting):
        told = _harass(Faults(stage, job, dice, again), waiting, "xcenc", tasks, most=4, rendezvous=True)
    work = stage.home / name
    work.mkdir()
    for number, chunk in enumerate(serial(stage.tools, work, inputs, tasks)):
        for kind, suffix, wanted in (
            ("out", "ivf", chunk.output),
            ("first", "ivf", chunk.first),
            ("final_state", "state", chunk.final),
        ):
            if stage.control.get_object(BUCKET, f"{name}/{kind}/{number:08d}.{suffix}") != wanted:
                raise Broken(f"{job}: {kind} of chunk {number} is not the reference's")
    return told


def _harass(
    faults: Faults, waiting: subprocess.Popen[str], kind: str, tasks: int, *, most: int, rendezvous: bool = False
) -> Told:
    """Make faults until the job is over, and look at how it ended.

    :param most: workers that are killed at once.
    """
    stage, job, dice = faults.stage, faults.job, faults.dice
    begun = time.monotonic()
    # Each daemon falls once so many attempts have begun.
    falls = {"coordinator": dice.uniform(0.1, 0.8) * tasks}
    if rendezvous:
        falls["rendezvous"] = dice.uniform(0.3, 0.9) * tasks
    while waiting.poll() is None:
        if time.monotonic() - begun > LIMIT:
            raise Broken(f"{job} is not over after {LIMIT:g} s: {stage.job(job)}")
        story = faults.story()
        for daemon, at in list(falls.items()):
            if story.live and story.attempts >= at:
                del falls[daemon]
                if daemon == "coordinator":
                    faults.restart_coordinator(dice.choice([0.0, 0.5, 2.0]))
                else:
                    faults.restart_rendezvous(dice.choice([0.0, 0.5, 2.0]))
        if len(faults.hits) < AIM * story.attempts:
            faults.kill_some(dice.randint(1, most))
        time.sleep(dice.uniform(0.0, 0.1))
    out, err = waiting.communicate(timeout=10)
    seconds = time.monotonic() - begun
    if waiting.returncode != 0:
        raise Broken(f"{job} failed: {out}{err}")
    if falls:
        raise Broken(f"{job} was over before {', '.join(falls)} fell")
    story = faults.check(SHARE)
    if sorted(story.results) != list(range(tasks)) or set(story.results.values()) != {1}:
        raise Broken(f"{job}: not every task was announced once: {story.results}")
    if not faults.results_before <= set(story.results):
        raise Broken(f"{job}: results were lost in the restart")
    if story.finished != [None]:
        raise Broken(f"{job}: it is over more than once: {story.finished}")
    for daemon in (stage.coordinator, stage.rendezvous):
        said = daemon.said() if daemon is not None else ""
        if "Traceback" in said or "Unhandled" in said:
            raise Broken(f"{job}: a daemon met what it did not expect: {said[-3000:]}")
    return Told(kind, seconds, tasks, story.attempts, len(faults.hits), len(faults.before_restart), story.launched)
