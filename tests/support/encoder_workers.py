"""Workers without network or processes of their own, one for each task of a job.

Programs are really run, with the worker's own filling-in of placeholders; where a program would wait for a state, its
worker waits instead. Which worker goes on next is drawn by lot.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from collections import deque
from pathlib import Path
from typing import Any

from mu_twisted.fsm import Machine, Outcome, Peering
from mu_twisted.pipelines import Pipeline, Report
from mu_twisted.wire import parse_peer_greeting, parse_state, state_message
from worker_lambda._template import Substitutions, expand_command, expand_file, expand_question, state_placeholders

ADDRESS = "192.0.2.1:13337"


class Job:
    """All tasks of a job.

    :param store: the objects of its bucket.
    :param command: the one that the function was made with.
    :param original: its workers are the original's: they hand on the states of runs in the background only, which the
        commands' text marks, and drop what they have not sent yet when the channel is closed.
    :ivar mailboxes: messages that came to a task before it was connected, or after; ``kept`` all that ever came.
    :ivar programs: those that stay, by their names, which all workers share, as one worker's tasks do; ``begun`` counts
        their starts.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        settings: Any,
        tools: Path,
        work: Path,
        store: dict[str, bytes],
        command: str = "false",
        *,
        original: bool = False,
    ) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.command = command
        self.original = original
        self.store = store
        self.tools = tools
        self.work = work
        self.programs: dict[str, subprocess.Popen[bytes]] = {}
        self.begun = 0
        self.mailboxes: dict[int, list[bytes]] = {task: [] for task in range(settings["tasks"])}
        self.kept: dict[int, list[bytes]] = {task: [] for task in range(settings["tasks"])}
        self.workers = [Simulated(self, task) for task in range(settings["tasks"])]

    def run(self, seed: int = 0, late: int | None = None, lost: tuple[int, str] | None = None) -> None:
        """Carry on until no worker can.

        :param late: a worker that does nothing as long as any other can go on.
        :param lost: a task, and what it is about when its worker is lost; another takes the task from the beginning.
        """
        lots = random.Random(seed)
        while True:
            if lost is not None and self.workers[lost[0]].machine.text == f"{lost[0]}:({lost[1]})":
                self.workers[lost[0]] = Simulated(self, lost[0], attempt=1)
                lost = None
            ready = [worker for worker in self.workers if worker.can_go_on]
            punctual = [worker for worker in ready if worker.task != late] or ready
            if not punctual:
                assert lost is None, f"no worker came to be {lost}"
                break
            lots.choice(punctual).step()

    @property
    def report(self) -> Report:
        """What the pipeline has to say at the end."""
        assert self.pipeline.report is not None
        machines = [worker.machine for worker in self.workers]
        remarks = {
            task: machine.remark
            for task, machine in enumerate(machines)
            if machine.outcome is Outcome.DONE and machine.remark
        }
        return self.pipeline.report(self.settings, remarks)

    def close(self) -> None:
        """End the programs that stay."""
        for program in self.programs.values():
            program.kill()
            program.communicate()

    def send(self, to: int, message: bytes) -> None:
        """What the rendezvous does."""
        self.mailboxes[to].append(message)
        self.kept[to].append(message)
        self.workers[to].take_messages()


class Simulated:
    """One worker.

    :ivar log: its commands.
    :ivar channel: the task that its messages go to, while it is connected.
    """

    def __init__(self, job: Job, task: int, attempt: int = 0) -> None:
        self.task = task
        self.log: list[str] = []
        self.channel: int | None = None
        self.directory = job.work / f"worker {task}-{attempt}"
        self.directory.mkdir()
        peering = Peering(ADDRESS, "job", attempt, replay=attempt > 0, legacy=job.original)
        self.machine = Machine(job.pipeline.first, task, settings=job.settings, peering=peering)
        self._job = job
        self._variables: dict[str, int] = {}
        self._texts: dict[str, str] = {}
        self._states: dict[int, bytes] = {}
        self._queue: deque[str] = deque()
        self._unsent: list[bytes] = []
        self._told(b"OK:HELLO")

    @property
    def can_go_on(self) -> bool:
        """Whether there is a command, and if it waits for a state, that."""
        if not self._queue:
            return False
        waits = "##INSTATEWAIT##" in self._queue[0] and self._value("expect_statefile")
        return not waits or (self.directory / f"{self._value('run_iter') - 1}.state").exists()

    def step(self) -> None:
        """Carry out the next command."""
        command = self._queue.popleft()
        name, _, argument = command.partition(":")
        # An original sends while it waits, not between two commands that are there already.
        while self._unsent and self.channel is not None and name in ("run", "upload", "retrieve"):
            self._job.send(self.channel, self._unsent.pop(0))
        self._told(getattr(self, f"_do_{name}")(argument))

    def take_messages(self) -> None:
        """Make state files of what came, if there is a channel."""
        waiting = self._job.mailboxes[self.task]
        while self.channel is not None and waiting:
            number, state = parse_state(waiting.pop(0), 1 << 20)
            if number not in self._states:
                (self.directory / f"{number}.state").write_bytes(state)
            assert self._states.setdefault(number, state) == state, f"state {number} came twice, and not the same"

    def _told(self, message: bytes) -> None:
        commands = [command.decode() for command in self.machine.receive([message])]
        self.log += commands
        self._queue += commands

    def _value(self, key: str) -> int:
        return self._variables.get(key, 0)

    def _path(self, name: str) -> Path:
        return Path(expand_file(name.encode(), bytes(self.directory)).decode())

    def _do_seti(self, argument: str) -> bytes:
        key, _, value = argument.partition(":")
        self._variables[key] = int(value)
        return b"OK:SETI(%b)" % key.encode()

    def _do_set(self, argument: str) -> bytes:
        key, _, value = argument.partition(":")
        self._texts[key] = value
        return b"OK:SET(%b)" % key.encode()

    def _do_retrieve(self, argument: str) -> bytes:
        key, _, name = argument.partition("\0")
        self._path(name).write_bytes(self._job.store[key])
        return b"OK:RETRIEVE(b/%b)" % key.encode()

    def _do_upload(self, argument: str) -> bytes:
        key, _, name = argument.partition("\0")
        self._job.store[key] = self._path(name).read_bytes()
        return b"OK:UPLOAD(b/%b)" % key.encode()

    def _do_presign(self, argument: str) -> bytes:
        key, _, name = argument.partition(":")[2].partition("\0")
        path = self._job.work / f"object-{key.encode().hex()}"
        path.write_bytes(self._job.store[key])
        self._path(name).write_bytes(bytes(path) + b"\n")
        return b"OK:PRESIGN(b/%b)" % key.encode()

    def _do_process(self, argument: str) -> bytes:
        name, _, seconds, command = argument.split(":", 3)
        program, greeting = self._job.programs.get(name), b""
        if program is None or program.poll() is not None:
            if program is not None:
                program.communicate()
            program = self._job.programs[name] = subprocess.Popen(
                ["/bin/sh", "-c", command], cwd=self._job.tools, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            self._job.begun += 1
            greeting = self._answered(program) if float(seconds) else b""
        return b"OK:PROCESS(%b:%b)" % (name.encode(), greeting)

    def _do_ask(self, argument: str) -> bytes:
        name, _, line = argument.split(":", 2)
        program = self._job.programs[name]
        assert program.stdin is not None
        program.stdin.write(expand_question(line.encode(), bytes(self.directory)) + b"\n")
        program.stdin.flush()
        answer = self._answered(program)
        if not answer:
            return b"FAIL(the process %b has ended (status %d))" % (name.encode(), program.wait())
        return b"OK:ASK(%b:%b)" % (name.encode(), answer)

    def _answered(self, program: subprocess.Popen[bytes]) -> bytes:
        assert program.stdout is not None
        return program.stdout.readline().rstrip(b"\n")

    def _do_connect(self, argument: str) -> bytes:
        assert argument.startswith(f"{ADDRESS}:")
        assert self.channel is None
        greeting = parse_peer_greeting(argument.removeprefix(f"{ADDRESS}:").encode())
        assert (greeting.run, greeting.me) == (b"job", self.task)
        self.channel = greeting.to
        if greeting.replay:
            self._job.mailboxes[self.task] = list(self._job.kept[self.task])
        self.take_messages()
        return b"OK:CONNECT(%b)" % argument.encode()

    def _do_close_connect(self, _: str) -> bytes:
        assert self.channel is not None
        self.channel = None
        self._unsent.clear()
        return b"OK:CLOSE_CONNECT"

    def _do_run(self, argument: str) -> bytes:
        started = dict(self._variables)
        wait, switch = state_placeholders(
            self._value("run_iter"), expected=bool(self._value("expect_statefile")), minimal_recode=False
        )
        files = {name: text.encode() for name, text in self._texts.items()}
        values = Substitutions(
            tmpdir=bytes(self.directory),
            wait=wait,
            switch=switch,
            infile=files.get("cmdinfile"),
            outfile=files.get("cmdoutfile"),
            variables=files.get("cmdvars"),
            arguments=files.get("cmdargs"),
        )
        command = expand_command((argument or self._job.command).encode(), values)
        if self._value("nonblock") and not self._value("bg_silent"):
            self._told(b"OK:RUNNING(%b)" % command)
        done = subprocess.run(
            [b"/bin/sh", b"-c", command],
            cwd=self._job.tools,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        marked = started.get("produces_state")
        if self._job.original:
            names = (b"xc-enc", b"xc-dump", b"xc-terminate-chunk")
            marked = self._value("nonblock") and any(name in command for name in names)
        if done.returncode == 0 and marked:
            self._finish(started)
        return b"OK:RETVAL(%d):OUTPUT(%b):COMMAND(%b)" % (done.returncode, done.stdout, command)

    def _finish(self, started: dict[str, int]) -> None:
        run_iter = started["run_iter"]
        if run_iter > 1:
            (self.directory / f"{run_iter - 2}.state").unlink(missing_ok=True)
        shutil.copy(self.directory / "output.ivf", self.directory / "prev.ivf")
        if started["send_statefile"]:
            assert self.channel is not None, "a state to send and no channel"
            state = (self.directory / "final.state").read_bytes()
            if self._job.original:
                self._unsent.append(state_message(run_iter, state))
            else:
                self._job.send(self.channel, state_message(run_iter, state))


def failures(job: Job) -> dict[int, str | None]:
    """The tasks that did not get to their end, and why."""
    return {
        worker.task: worker.machine.error or worker.machine.text
        for worker in job.workers
        if worker.machine.outcome is not Outcome.DONE
    }
