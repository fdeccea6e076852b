"""Programs of several workers are joined by pipes: real programs and FIFOs, the relay's pipes between, no network."""

import hashlib
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from types import SimpleNamespace
from typing import Any

import pytest

from mu_twisted.rendezvous._message import Account
from mu_twisted.rendezvous._pipes import WINDOW, Pipes, PipeSession
from mu_twisted.wire import PeerError
from mu_twisted.wire.byte_counts import parse_byte_counts
from mu_twisted.wire.pipes import (
    MAX_PIPE_PART,
    PIPES,
    ClosePipe,
    CutPipe,
    EndPipe,
    MovePipe,
    OpenPipe,
    PipeCredit,
    PipeData,
    PipeFrame,
    parse_pipe_frame,
)
from worker_lambda import _worker
from worker_lambda._errors import CommandFailure
from worker_lambda._traffic import Traffic
from worker_lambda.links import _channel, _pipe_reader, _pipe_writer, _pipes
from worker_lambda.links._pipes import TaskPipes
from worker_lambda.programs import CommandRuns

Result = tuple[int, bytes] | str


class PipedWorker:
    """One worker's programs and pipes, and its end of a connection that can be cut."""

    def __init__(self, network: "Network", task: int, directory: FilePath) -> None:
        self.directory = directory
        directory.mkdir()
        self.runs = CommandRuns(network.selector, directory, 0.5)
        self.traffic = Traffic(wanted=True)
        self.pipes = TaskPipes(network.selector, bytes(directory), self.runs.kill, self.traffic)
        self.session = PipeSession(network.relay, task, 0, self)
        self.results: list[Result] = []
        self.pipes.connected()
        self.taken = 1 << 62
        self.came = 0  # bytes by the rendezvous

    def deliver(self) -> None:
        """What the rendezvous has is taken in the loop."""

    def run(self, command: str) -> None:
        text, run = self.pipes.begin(command.encode())

        def ended(program: object) -> None:
            status, output = program.result()  # type: ignore[attr-defined]
            run.ended(status, lambda error: self.results.append((status, output) if error is None else error))

        self.runs.run(text, ended)

    def exchange(self) -> bool:
        """Move frames in both directions, as far as the connection takes them; whether there were any."""
        moved = False
        while (frame := self.pipes.next_frame()) is not None:
            self.session.receive(parse_pipe_frame(frame))
            moved = True
        while self.taken > 0 and (frame := self.session.next_frame()) is not None:
            self.taken -= len(frame)
            came = parse_pipe_frame(frame)
            self.came += len(came.part) if isinstance(came, PipeData) else 0
            self.pipes.received(came)
            moved = True
        return moved


@dataclass(eq=False)
class Path:
    """A direct path, as the worker at one end of it sees it."""

    task: int
    attempt: int = 0


class Network:
    """Some workers, and the pipes of the rendezvous."""

    def __init__(self, directory: FilePath) -> None:
        self.selector = selectors.DefaultSelector()
        self.relay = Pipes(Account(64 << 20))
        self.workers: dict[int, PipedWorker] = {}
        self._directory = directory
        self.paths: dict[int, tuple[Path, int]] = {}  # by whose it is: to whom
        self.stuck: set[int] = set()  # tasks of which nothing is taken on a path

    def worker(self, task: int, *pipes: str) -> PipedWorker:
        made = self.workers[task] = PipedWorker(self, task, self._directory / f"task{task}")
        for pipe in pipes:
            made.pipes.declare(pipe.encode())
        return made

    def turn(self) -> None:
        for worker in self.workers.values():
            worker.runs.tick()
            worker.pipes.step()
        while sum(worker.exchange() for worker in self.workers.values()) + self.exchange_directly():
            pass
        for key, events in self.selector.select(0.002):
            if self.selector.get_map().get(key.fd) is key:
                key.data(events)

    def exchange_directly(self) -> int:
        """Move frames on direct paths; how many there were."""
        moved = 0
        for task, (path, peer) in self.paths.items():
            while task not in self.stuck and (frame := self.workers[task].pipes.next_frame(path)) is not None:  # type: ignore[arg-type]
                came = parse_pipe_frame(frame)
                assert came.peer == peer
                self.workers[peer].pipes.received(replace(came, peer=task), self.paths[peer][0])  # type: ignore[arg-type]
                moved += 1
        return moved

    def join(self, one: int, other: int, attempt: int = 0) -> None:
        """A direct path between two workers comes up."""
        self.paths |= {one: (Path(other, attempt), other), other: (Path(one, attempt), one)}
        for task in (one, other):
            self.workers[task].pipes.path_up(self.paths[task][0])  # type: ignore[arg-type]

    def part(self, *tasks: int) -> None:
        """Their direct path is lost."""
        gone = [(task, self.paths.pop(task)[0]) for task in tasks]
        for task, path in gone:
            self.workers[task].pipes.path_lost(path)  # type: ignore[arg-type]

    def until(self, condition: Callable[[], bool], seconds: float = 180.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it does not happen"
            self.turn()

    def results(self) -> list[Result]:
        """Of one run of each worker."""
        self.until(lambda: all(worker.results for worker in self.workers.values()))
        return [worker.results.pop(0) for worker in self.workers.values()]

    def close(self) -> None:
        for worker in self.workers.values():
            worker.pipes.close()
            worker.runs.close()
        self.selector.close()


@pytest.fixture
def network(tmp_path: FilePath) -> Iterator[Network]:
    made = Network(tmp_path)
    yield made
    made.close()


@pytest.fixture
def pair(network: Network) -> tuple[PipedWorker, PipedWorker]:
    """Task 3 writes pipe x, task 5 reads it."""
    return network.worker(3, "to:5:0:x"), network.worker(5, "from:3:0:x")


def test_the_word_that_is_announced_is_that_of_the_wire() -> None:
    assert _worker.PIPES == _channel.PIPES == PIPES


def test_bytes_of_one_program_come_to_the_other_and_so_does_their_end(
    network: Network, pair: tuple[PipedWorker, PipedWorker]
) -> None:
    writer, reader = pair
    writer.run("seq 200000 | gzip -1 > ##PIPE:x##")
    reader.run("gunzip < ##PIPE:x## | sha256sum")
    body = "".join(f"{number}\n" for number in range(1, 200_001)).encode()
    assert network.results() == [(0, b""), (0, hashlib.sha256(body).hexdigest().encode() + b"  -\n")]
    assert not list(writer.directory.iterdir()) + list(reader.directory.iterdir())
    moved = [parse_byte_counts(end.traffic.report() or b"") for end in pair]
    assert moved[0].sent == moved[1].received > 100_000


@pytest.mark.parametrize("writes", ["true", "sleep 0.2", ": > ##PIPE:x##", "cat < /dev/null > ##PIPE:x##"])
def test_a_writer_that_writes_nothing_or_never_opens_it_gives_an_end_of_file(
    network: Network, pair: tuple[PipedWorker, PipedWorker], writes: str
) -> None:
    pair[0].run(f"{writes} # ##PIPE:x##")
    pair[1].run("cat ##PIPE:x## | wc -c")
    assert network.results() == [(0, b""), (0, b"0\n")]


def test_it_may_be_opened_late_by_both_and_several_times_by_the_writer(
    network: Network, pair: tuple[PipedWorker, PipedWorker]
) -> None:
    pair[0].run("sleep 0.2; for i in 1 2 3; do echo $i > ##PIPE:x##; done; sleep 0.2; echo 4 >> ##PIPE:x##")
    pair[1].run("sleep 0.8; cat ##PIPE:x##")
    assert network.results() == [(0, b""), (0, b"1\n2\n3\n4\n")]


def test_what_a_run_leaves_in_the_background_writes_to_its_end(
    network: Network, pair: tuple[PipedWorker, PipedWorker]
) -> None:
    pair[0].run("(sleep 0.7; echo late) > ##PIPE:x## 2> /dev/null &")
    pair[1].run("cat ##PIPE:x##")
    assert network.results() == [(0, b""), (0, b"late\n")]


@pytest.mark.parametrize(
    ("ends", "says"),
    [("exit 3", "with status 3"), ("kill -9 $$", "by signal 9"), ("no-such-program", "with status 127")],
)
def test_where_the_writer_fails_the_reader_is_killed_before_it_sees_an_end(
    network: Network, pair: tuple[PipedWorker, PipedWorker], ends: str, says: str
) -> None:
    writer, reader = pair
    writer.run(f"echo some > ##PIPE:x##; until [ -e {reader.directory}/all ]; do sleep 0.02; done; {ends}")
    reader.run("cat ##PIPE:x## > all; touch saw-the-end; (setsid sh -c 'cat; touch saw-it-too') < ##PIPE:x##")
    written, read = network.results()
    assert isinstance(written, tuple)
    assert written[0] != 0
    assert read == f"pipe 'x' from task 3 broke: its command has ended {says}"
    assert [path.name for path in reader.directory.iterdir()] == ["all"]


@pytest.mark.parametrize("reads", ["head -c 10 ##PIPE:x##", "true ##PIPE:x##", "exec 4< ##PIPE:x##; exit 0"])
def test_a_reader_that_ends_early_ends_the_writer_by_sigpipe(
    network: Network, pair: tuple[PipedWorker, PipedWorker], reads: str
) -> None:
    pair[0].run("exec yes > ##PIPE:x##")
    pair[1].run(reads)
    written, read = network.results()
    assert written == (-signal.SIGPIPE, b"")
    assert isinstance(read, tuple)
    assert read[0] == 0


@pytest.mark.parametrize("dies", ["kill -9 $$", "sh -c 'kill -9 $$'", "sh -c 'kill -TERM $$'"])
def test_a_reader_that_is_killed_has_the_writer_fail_and_not_die_of_sigpipe(
    network: Network, pair: tuple[PipedWorker, PipedWorker], dies: str
) -> None:
    pair[0].run("exec yes > ##PIPE:x##")
    pair[1].run(f"exec 3< ##PIPE:x##; head -c 200000 <&3 > /dev/null; {dies}")
    written, read = network.results()
    assert isinstance(written, str)
    assert written.startswith("pipe 'x' to task 5 broke: its command has ended ")
    assert isinstance(read, tuple)
    assert read[0] in (-9, 137, 143)


def test_a_writer_that_opens_it_only_after_the_reader_has_gone_gets_sigpipe_too(
    network: Network, pair: tuple[PipedWorker, PipedWorker]
) -> None:
    pair[0].run("sleep 0.4; exec yes > ##PIPE:x##")
    pair[1].run("true ##PIPE:x##")
    assert network.results() == [(-signal.SIGPIPE, b""), (0, b"")]


def test_a_writer_whose_run_begins_when_the_reader_has_gone_gets_sigpipe_too(
    network: Network, pair: tuple[PipedWorker, PipedWorker]
) -> None:
    writer, reader = pair
    reader.run("true ##PIPE:x##")
    network.until(lambda: bool(reader.results))
    assert writer.pipes._ends[b"x"].over  # it has heard of it
    writer.run("exec yes > ##PIPE:x##")
    assert network.results() == [(-signal.SIGPIPE, b""), (0, b"")]


@pytest.mark.parametrize("leaves", [False, True])
def test_a_writer_that_comes_only_after_the_reader_has_gone_gets_sigpipe_too(network: Network, leaves: bool) -> None:
    reader = network.worker(5, "from:3:0:x")
    reader.run("true ##PIPE:x##")
    network.until(lambda: bool(reader.results))
    if leaves:
        reader.session.close()
    network.worker(3, "to:5:0:x").run("exec yes > ##PIPE:x##")
    assert network.results() == [(0, b""), (-signal.SIGPIPE, b"")]


@pytest.mark.parametrize(
    ("then", "wanted"),
    [
        (lambda reader: None, (0, b"")),
        (lambda reader: reader.pipes.lost("no way"), "pipe 'x' from task 3 broke: no way"),
        (lambda reader: reader.pipes.kill(), "pipe 'x' from task 3 broke: it was killed"),
    ],
)
def test_a_run_is_over_only_when_the_rendezvous_knows_how_its_pipe_has_ended(
    network: Network, pair: tuple[PipedWorker, PipedWorker], then: Callable[[PipedWorker], None], wanted: Result
) -> None:
    reader = network.workers.pop(5)  # it has no connection now

    def is_over() -> bool:
        reader.runs.tick()
        reader.pipes.step()
        return reader.pipes._ends[b"x"].over

    reader.run("true ##PIPE:x##")
    network.until(is_over)
    assert is_over()
    assert not reader.results
    then(reader)
    network.workers[5] = reader
    network.until(lambda: bool(reader.results))
    assert reader.results == [wanted]


def test_a_reader_that_opens_it_again_after_its_end_is_at_its_end_at_once(
    network: Network, pair: tuple[PipedWorker, PipedWorker]
) -> None:
    pair[0].run("seq 1000 > ##PIPE:x##")
    pair[1].run("cat ##PIPE:x## | wc -l; sleep 0.3; cat ##PIPE:x## | wc -l")
    assert network.results() == [(0, b""), (0, b"1000\n0\n")]


def test_a_reader_that_opens_it_again_after_closing_it_fails_at_once(
    network: Network, pair: tuple[PipedWorker, PipedWorker]
) -> None:
    pair[0].run("seq 1000000 > ##PIPE:x##")
    pair[1].run("head -c 1 ##PIPE:x##; until [ -e go ]; do sleep 0.02; done; cat ##PIPE:x##")
    reading: Any = pair[1].pipes._ends[b"x"]
    network.until(lambda: reading._closed_early)
    (pair[1].directory / "go").touch()
    network.until(lambda: bool(pair[1].results))
    assert pair[1].results == ["pipe 'x' from task 3 broke: it was opened again after it had been closed"]


def test_a_slow_reader_holds_the_writer_back_and_nothing_heaps_up(
    network: Network, pair: tuple[PipedWorker, PipedWorker]
) -> None:
    writer, reader = pair
    writer.run("head -c 8000000 /dev/zero > ##PIPE:x##")
    reader.run("while ! [ -e go ]; do sleep 0.05; done; wc -c < ##PIPE:x##")
    end: Any = reader.pipes._ends[b"x"]
    network.until(lambda: end._waiting == WINDOW)
    for _ in range(100):
        network.turn()
    assert end._waiting == WINDOW
    assert not writer.results
    reader.taken = 0  # nor does what the connection does not take
    (reader.directory / "go").touch()
    network.until(lambda: network.relay._memory.used == WINDOW)
    for _ in range(100):
        network.turn()
    assert network.relay._memory.used == WINDOW
    assert not writer.results
    reader.taken = 1 << 62
    assert network.results() == [(0, b""), (0, b"8000000\n")]
    assert network.relay._memory.used == 0


@pytest.mark.parametrize("who", [3, 5])
def test_where_the_connection_is_lost_both_commands_fail(
    network: Network, pair: tuple[PipedWorker, PipedWorker], who: int
) -> None:
    pair[0].run("exec yes > ##PIPE:x##")
    pair[1].run("cat ##PIPE:x## > /dev/null; touch saw-the-end")
    network.until(lambda: pair[1].came > 0)
    network.workers[who].session.close()
    network.workers[who].pipes.lost("the connection to the rendezvous was lost: reset")
    results = dict(zip((3, 5), network.results(), strict=True))
    way = {3: "to task 5", 5: "from task 3"}
    other = 8 - who
    assert results[who] == f"pipe 'x' {way[who]} broke: the connection to the rendezvous was lost: reset"
    assert results[other] == f"pipe 'x' {way[other]} broke: task {who}, at the other end of pipe 'x', is gone"
    assert not (pair[1].directory / "saw-the-end").exists()


@pytest.mark.parametrize("after", [0, 1, 1_000_000])
def test_bytes_take_the_direct_path_from_when_there_is_one(
    network: Network, pair: tuple[PipedWorker, PipedWorker], after: int
) -> None:
    writer, reader = pair
    if not after:
        network.join(3, 5)
    writer.run("seq 1500000 > ##PIPE:x##")
    reader.run("sha256sum < ##PIPE:x##")
    if after:
        network.until(lambda: reader.came >= after)
        network.join(3, 5)
    body = "".join(f"{number}\n" for number in range(1, 1_500_001)).encode()
    assert network.results() == [(0, b""), (0, hashlib.sha256(body).hexdigest().encode() + b"  -\n")]
    assert after <= reader.came < len(body) // 2
    assert (reader.came == 0) is (after == 0)


def test_a_direct_path_to_another_attempt_is_not_taken(network: Network, pair: tuple[PipedWorker, PipedWorker]) -> None:
    network.join(3, 5, attempt=1)
    pair[0].run("seq 1000 > ##PIPE:x##")
    pair[1].run("wc -l < ##PIPE:x##")
    assert network.results() == [(0, b""), (0, b"1000\n")]
    assert pair[1].came > 0


@pytest.mark.parametrize("first", [3, 5])
def test_where_the_direct_path_is_lost_both_commands_fail(
    network: Network, pair: tuple[PipedWorker, PipedWorker], first: int
) -> None:
    network.join(3, 5)
    pair[0].run("exec yes > ##PIPE:x##")
    pair[1].run("cat ##PIPE:x## > /dev/null; touch saw-the-end")
    reading: Any = pair[1].pipes._ends[b"x"]
    network.until(lambda: reading._moves_at is not None)
    network.part(first, 8 - first)
    for result in network.results():
        assert isinstance(result, str)
        assert "broke: the direct connection was lost" in result
    assert not (pair[1].directory / "saw-the-end").exists()


def test_a_direct_path_that_is_lost_behind_the_end_breaks_nothing(
    network: Network, pair: tuple[PipedWorker, PipedWorker]
) -> None:
    network.join(3, 5)
    pair[0].run("seq 1000 > ##PIPE:x##")
    pair[1].run("wc -l < ##PIPE:x##; sleep 0.3")
    network.until(lambda: bool(pair[0].results))
    network.part(3, 5)
    assert network.results() == [(0, b""), (0, b"1000\n")]


@pytest.mark.parametrize("first", [3, 5])
@pytest.mark.parametrize("writes", ["echo short > ##PIPE:x##", ": ##PIPE:x##"])
def test_where_the_direct_path_is_lost_with_all_that_was_sent_both_commands_fail(
    network: Network, pair: tuple[PipedWorker, PipedWorker], monkeypatch: pytest.MonkeyPatch, first: int, writes: str
) -> None:
    lost: float | None = None
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() if lost is None else lost)
    for module in (_pipes, _pipe_writer, _pipe_reader):
        monkeypatch.setattr(module, "time", clock)
    network.stuck = {3}
    network.join(3, 5)
    writer: Any = pair[0].pipes._ends[b"x"]
    pair[0].run(writes)
    pair[1].run("cat ##PIPE:x##; touch saw-the-end")
    network.until(lambda: writer._has_ended and writer.path is not None)
    lost = time.monotonic()
    network.part(first, 8 - first)
    for _ in range(20):
        network.turn()
    assert not pair[0].results + pair[1].results  # the reader may have all
    lost += 10.0
    network.until(lambda: bool(pair[0].results and pair[1].results))
    for result in network.results():
        assert isinstance(result, str)
        assert result.endswith("broke: the direct connection was lost")
    assert not (pair[1].directory / "saw-the-end").exists()


HOSTILE = [
    PipeData(3, b"x", b"not on this path"),
    MovePipe(3, 0, b"x"),
    EndPipe(3, b"x"),
    ClosePipe(3, b"x"),
    CutPipe(3, b"x", b"no"),
    PipeCredit(3, 1, b"x"),
    OpenPipe(3, 0, b"x", True),
]


@pytest.mark.parametrize("frame", HOSTILE, ids=lambda frame: type(frame).__name__)
def test_what_is_out_of_place_on_a_path_is_refused(
    network: Network, pair: tuple[PipedWorker, PipedWorker], frame: PipeFrame
) -> None:
    pair[1].run("cat ##PIPE:x##")
    with pytest.raises(PeerError):
        pair[1].pipes.received(frame, Path(3))  # type: ignore[arg-type]


def test_bytes_on_a_path_before_it_is_said_from_where_are_refused(
    network: Network, pair: tuple[PipedWorker, PipedWorker]
) -> None:
    network.join(3, 5)
    pair[1].run("cat ##PIPE:x##")
    path: Any = network.paths[5][0]
    with pytest.raises(PeerError, match="out of place"):
        pair[1].pipes.received(PipeData(3, b"x", b"a"), path)
    pair[1].pipes.received(MovePipe(3, 2, b"x"), path)
    with pytest.raises(PeerError, match="out of place"):
        pair[1].pipes.received(PipeData(3, b"x", b"abc"))
    for _ in range(2 * WINDOW // MAX_PIPE_PART):
        pair[1].pipes.received(PipeData(3, b"x", bytes(MAX_PIPE_PART)), path)
    with pytest.raises(PeerError, match="more came than there was credit for"):
        pair[1].pipes.received(PipeData(3, b"x", b"a"), path)


def test_a_chain_and_a_fork_of_pipes_go_through_one_command(network: Network) -> None:
    source = network.worker(0, "to:1:0:a", "to:2:0:b")
    middle = network.worker(1, "from:0:0:a", "to:2:0:c")
    sink = network.worker(2, "from:0:0:b", "from:1:0:c")
    source.run("seq 50000 | tee ##PIPE:a## > ##PIPE:b##")
    middle.run("sed s/$/x/ < ##PIPE:a## > ##PIPE:c##")
    sink.run("paste -d: ##PIPE:b## ##PIPE:c## | tail -1")
    assert network.results() == [(0, b""), (0, b""), (0, b"50000:50000x\n")]


def test_a_connection_that_comes_late_finds_all_that_was_to_be_said(network: Network, tmp_path: FilePath) -> None:
    writer = network.worker(3, "to:5:0:x")
    reader = network.worker(5, "from:3:0:x")
    for worker in (writer, reader):
        worker.pipes._said = False
        worker.pipes._frames.relayed.clear()
        worker.exchange = lambda: False  # type: ignore[method-assign]
    writer.run("echo early > ##PIPE:x##; exit 4")
    reader.run("cat ##PIPE:x##")
    for _ in range(100):
        network.turn()
    for worker in (writer, reader):
        del worker.exchange
        worker.pipes.connected()
    assert network.results() == [(4, b""), "pipe 'x' from task 3 broke: its command has ended with status 4"]


@pytest.mark.parametrize(
    "argument", [b"", b"to:5:0", b"both:5:0:x", b"to:-1:0:x", b"to:5:x:x", b"to:5:0:a b", b"to:5:0:", b"to:5:0:x"]
)
def test_what_is_no_pipe_is_refused(network: Network, argument: bytes) -> None:
    worker = network.worker(3, "to:5:0:x")
    with pytest.raises(CommandFailure):
        worker.pipes.declare(argument)


def test_a_command_names_declared_pipes_once(network: Network, pair: tuple[PipedWorker, PipedWorker]) -> None:
    with pytest.raises(CommandFailure, match="no pipe 'y' is declared"):
        pair[0].run("true ##PIPE:y##")
    pair[0].run("true ##PIPE:x##")
    with pytest.raises(CommandFailure, match="has been used by another command"):
        pair[0].run("true ##PIPE:x##")


def test_a_file_in_its_place_is_a_line(network: Network, pair: tuple[PipedWorker, PipedWorker]) -> None:
    (pair[0].directory / "pipe.x").touch()
    with pytest.raises(CommandFailure, match="it cannot be made: File exists"):
        pair[0].run("true ##PIPE:x##")
    pair[1].run("cat ##PIPE:x##")
    network.until(lambda: bool(pair[1].results))
    assert pair[1].results == ["pipe 'x' from task 3 broke: its command could not be begun"]


@pytest.mark.parametrize("reads", ["cat ##PIPE:x##", "true ##PIPE:x##"])
def test_a_run_is_forgotten_however_it_was_reported(
    network: Network, pair: tuple[PipedWorker, PipedWorker], reads: str
) -> None:
    pair[0].run("sleep 0.2; seq 1000 2> /dev/null > ##PIPE:x##")
    pair[1].run(reads)
    network.results()
    for worker in pair:
        worker.run("true")
    network.results()
    network.turn()
    assert [worker.pipes._runs for worker in pair] == [[], []]


def test_a_run_that_could_not_be_begun_is_forgotten(network: Network, pair: tuple[PipedWorker, PipedWorker]) -> None:
    _, run = pair[0].pipes.begin(b"cat ##PIPE:x##")
    run.abandon()
    network.turn()
    assert pair[0].pipes._runs == []


def open_pipes() -> set[str]:
    """What the descriptors of this process are that are pipes or FIFOs: each has a name that no other one has."""
    found = set()
    for path in FilePath("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(str(path.readlink()))
    return {each for each in found if each.startswith("pipe:") or "/pipe." in each}


def test_nothing_is_left_open_or_registered(network: Network, pair: tuple[PipedWorker, PipedWorker]) -> None:
    before = open_pipes()
    pair[0].run("echo a > ##PIPE:x##")
    pair[1].run("cat ##PIPE:x##")
    network.results()
    assert open_pipes() <= before  # others in this process may close some meanwhile
    assert not network.selector.get_map()
