"""A rendezvous of several processes: its ports, its supervisor's life, and a job that loses one of them."""

import json
import os
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from encoder_jobs import FUNCTION, FakeEncoders
from free_ports import held_ports, refusing_port
from rendezvous_daemons import Daemon, complaint
from twisted.internet.error import ConnectionDone, ProcessDone, ProcessTerminated
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.python import usage
from twisted.python.failure import Failure
from warm_processes import LIMIT

from mu_twisted.aws import AWSError
from mu_twisted.daemons._notify import Notifier
from mu_twisted.daemons._rendezvous import RendezvousUnreachable, rendezvous_addresses
from mu_twisted.daemons._start import StartError
from mu_twisted.daemons.rendezvous import Options
from mu_twisted.daemons.shards.ports import Listener, open_ports
from mu_twisted.daemons.shards.process import LONGEST_PAUSE, STABLE_TIME, STARTS, STOP_TIME, Pauses, Shard
from mu_twisted.pipelines import PeerOptions

READY = b'["notify", "READY=1\\nSTATUS=ready"]\n'
Start = Callable[..., Daemon]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shards", "0"], "--shards: expected a whole number from 1 to 256, got '0'"),
        (["--shards", "257"], "from 1 to 256"),
        (["--shards", "many"], "got 'many'"),
        (["--shards", "2", "-t", "65535"], "2 ports from 65535 on would end above 65535"),
        (["--shards", "2", "-t", "unix:/tmp/x"], "'unix:/tmp/x' is one endpoint, and 2 are needed"),
        (["--shards", "2", "-t", "tcp:interface=10.0.0.1:port=1"], "tcp:PORT with options after it"),
    ],
)
def test_wrong_use_is_one_line(words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        Options().parseOptions(words)
    assert ended.value.code == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert said in error


@pytest.mark.parametrize("words", [["-R", "0"], ["-R", "257"], ["--rendezvous-shards", "x"]])
def test_a_job_takes_as_many_shards_as_a_rendezvous_may_have(words: list[str]) -> None:
    with pytest.raises(usage.UsageError, match="-R: expected a whole number from 1 to 256"):
        PeerOptions().parseOptions(words)
    options = PeerOptions()
    options.parseOptions(["-R", "256"])
    assert options["rendezvous-shards"] == 256


def test_a_jobs_shards_are_on_consecutive_ports() -> None:
    settings = {"rendezvous-host": "h", "rendezvous-port": 65534, "rendezvous-shards": 2}
    assert rendezvous_addresses(settings, None) == ["h:65534", "h:65535"]
    with pytest.raises(RendezvousUnreachable, match="-R: 3 shards from port 65534 on"):
        rendezvous_addresses(settings | {"rendezvous-shards": 3}, None)


def test_a_shard_is_started_again_later_and_later_unless_it_has_lived_for_long() -> None:
    pauses = Pauses()
    waits = [pauses.after(1.0) for _ in range(10)]
    assert waits[:3] == [0.1, 0.2, 0.4]
    assert waits[-1] == LONGEST_PAUSE
    assert pauses.after(STABLE_TIME) == 0.1


def test_a_shard_never_ready_is_given_up_at_once_and_one_once_ready_after_tries() -> None:
    assert Pauses().after(None) is None
    pauses = Pauses()
    pauses.after(1.0)
    assert None not in [pauses.after(None) for _ in range(STARTS - 1)]
    assert pauses.after(None) is None


class Processes(Clock):
    """A reactor that starts nothing; what it was asked to start."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[Any] = []
        self.signals: list[str] = []
        self.environment: dict[str, str] = {}
        self.pid = 0

    def spawnProcess(self, protocol: Any, _program: str, _words: Any, environment: Any, **_more: Any) -> Any:
        self.pid += 1
        self.started.append(protocol)
        self.environment = environment
        protocol.transport = self
        return self

    def write(self, told: bytes) -> None:
        self.told = json.loads(told)

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)


class Watching:
    """A shard, and what its supervisor hears."""

    def __init__(self) -> None:
        self.reactor = Processes()
        self.heard: list[str] = []
        listener = Listener(1, 3, lambda: None)
        self.shard = Shard(self.reactor, 1, listener, {"options": {}}, self)
        self.shard.start()

    def shard_ready(self) -> None:
        self.heard.append("ready")

    def shard_missing(self, status: str) -> None:
        self.heard.append(status)

    def shard_failed(self, error: str) -> None:
        self.heard.append(f"failed: {error}")

    def says(self, text: bytes, descriptor: int = 1) -> None:
        self.reactor.started[-1].childDataReceived(descriptor, text)

    def ends(self, reason: Exception) -> None:
        self.reactor.started[-1].processEnded(Failure(reason))


def test_a_shard_that_ends_is_started_again_and_told_the_same() -> None:
    watching = Watching()
    watching.says(READY[:9])
    watching.says(READY[9:])
    watching.ends(ProcessTerminated(None, 9, 9))
    assert not watching.shard.ready
    assert len(watching.reactor.started) == 1
    watching.reactor.advance(0.1)
    assert len(watching.reactor.started) == 2
    assert watching.reactor.told == {"number": 1, "options": {}}
    watching.says(READY)
    assert watching.shard.ready
    assert watching.heard == ["ready", "shard 1 is being started again: killed by signal 9", "ready"]


def test_what_a_shard_complains_of_is_why_it_cannot_be_started() -> None:
    watching = Watching()
    watching.says(b"error: no disk\n", 2)
    watching.ends(ProcessTerminated(1, None, 256))
    assert watching.heard == ["failed: shard 1 cannot be started: no disk"]
    assert not watching.reactor.getDelayedCalls()


def test_a_shard_without_signs_of_life_is_killed() -> None:
    watching = Watching()
    watching.says(READY)
    for _ in range(5):
        for _ in range(5):
            watching.shard.look()
        watching.says(b'["notify", "WATCHDOG=1"]\n')
    assert watching.reactor.signals == []
    for _ in range(7):
        watching.shard.look()
    assert watching.reactor.signals == ["KILL"]


def test_a_shard_is_told_to_end_and_killed_if_it_does_not() -> None:
    watching = Watching()
    watching.says(READY)
    ended: list[Any] = []
    watching.shard.stop().addCallback(ended.append)
    watching.reactor.advance(STOP_TIME)
    assert (watching.reactor.signals, ended) == (["TERM", "KILL"], [])
    watching.ends(ProcessDone(0))
    assert ended == [None]
    assert watching.heard == ["ready"]
    assert not watching.reactor.getDelayedCalls()


def test_a_shard_between_two_processes_ends_at_once() -> None:
    watching = Watching()
    watching.says(READY)
    watching.ends(ProcessDone(0))
    ended: list[Any] = []
    watching.shard.stop().addCallback(ended.append)
    assert ended == [None]
    assert not watching.reactor.getDelayedCalls()


@pytest.mark.parametrize(
    "line", [b"[1, 2]", b"{}", b"[]", b'["notify"]', b'["loud", "x", "y"]', b"\xff", b"null", b"7"]
)
def test_what_no_shard_says_is_shown_and_harms_no_shard(line: bytes) -> None:
    watching = Watching()
    watching.says(line + b"\n" + READY)
    assert watching.heard == ["ready"]


class Said(Notifier):
    """What the service manager would hear."""

    said: list[str]

    def say(self, text: str) -> None:
        self.said.append(text)


def test_no_signs_of_life_are_given_while_a_part_is_missing() -> None:
    clock = Clock()
    notifier = Said(clock, {"WATCHDOG_USEC": "20000000"})
    notifier.said = []
    notifier.ready("here")
    clock.advance(10)
    notifier.hold("half")
    notifier.hold("less")
    clock.pump([10] * 10)
    assert notifier.said == ["READY=1\nSTATUS=here", "WATCHDOG=1", "WATCHDOG=1", "STATUS=half", "STATUS=less"]
    notifier.ready("here")
    notifier.ready("here")
    assert notifier.said[5:] == ["READY=1\nSTATUS=here", "WATCHDOG=1", "READY=1\nSTATUS=here"]
    notifier.stopping()
    assert not clock.getDelayedCalls()


def test_a_service_managers_socket_is_not_for_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("WATCHDOG_USEC", "1")
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & Watching().reactor.environment.keys()


class Ports:
    """Opens them by a reactor of its own, and closes them."""

    def __init__(self) -> None:
        self.reactor = SelectReactor()
        self.opened: list[Listener] = []

    def open(self, listen: str, shards: int) -> list[Listener]:
        opened = open_ports(self.reactor, {"listen": listen, "port": listen}, shards)
        self.opened += opened
        return opened

    def close(self) -> None:
        for listener in self.opened:
            listener.close()
        self.reactor.iterate()
        for reader in self.reactor.removeAll():
            reader.connectionLost(Failure(ConnectionDone()))


@pytest.fixture
def ports() -> Iterator[Ports]:
    ports = Ports()
    yield ports
    ports.close()


def test_free_ports_are_found_in_a_row_and_one_that_is_taken_is_named(ports: Ports) -> None:
    opened = ports.open("tcp:0:interface=127.0.0.1", 4)
    first = opened[0].port
    assert [listener.port for listener in opened] == [first + number for number in range(4)]
    with pytest.raises(StartError, match=f"cannot listen on {first}: "):
        ports.open(f"tcp:{first}:interface=127.0.0.1", 2)
    # As a shard does; the one that takes connections is not us.
    with socket.create_connection(("127.0.0.1", first)), socket.socket(fileno=os.dup(opened[0].fileno)) as own:
        own.settimeout(LIMIT)  # it does not block, and the caller may be connected before it has come here
        own.accept()[0].close()


def test_without_systemds_sockets_there_are_none_to_share(ports: Ports) -> None:
    with pytest.raises(StartError, match="handed over 0 sockets with name mu-rendezvous: put 2 lines ListenStream="):
        ports.open("systemd:domain=INET6:name=mu-rendezvous", 2)


# -- processes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Daemon] = []

    def begin(*words: str) -> Daemon:
        place = ("-t", "tcp:0:interface=127.0.0.1", "--shards", "2")
        started.append(Daemon(tmp_path, *place, *words, ready="consecutive ports"))
        return started[-1]

    yield begin
    for daemon in started:
        daemon.kill()


def process_of(daemon: Daemon, shard: int) -> int:
    """The process id of a shard, as the log has it."""
    return int(re.findall(rf"shard {shard} is process ([0-9]+)", "".join(daemon.lines))[-1])


def answers(port: int, directory: Path) -> bool:
    """Whether a TLS server comes to this port, which is open."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(directory / "tls" / "ca_cert.pem")
    with socket.create_connection(("127.0.0.1", port), timeout=180) as plain, context.wrap_socket(plain) as wrapped:
        return wrapped.version() is not None


def all_end(handles: list[int]) -> bool:
    """Whether all these processes end."""
    for handle in handles:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if not poll.poll(LIMIT * 1000):
            return False
        os.close(handle)
    return True


@pytest.mark.process
def test_a_shard_that_is_killed_comes_back_and_no_worker_is_refused_meanwhile(start: Start, tmp_path: Path) -> None:
    daemon = start("--state-dir", "state", "-P", "profile")
    ports = range(daemon.port, daemon.port + 2)
    assert all(answers(port, tmp_path / "state") for port in ports)
    killed = process_of(daemon, 1)
    os.kill(killed, signal.SIGKILL)
    assert all(answers(port, tmp_path / "state") for port in ports)
    daemon.wait_for("consecutive ports")
    assert f"shard 1, process {killed}, is gone: killed by signal 9; another is started in 0.1 s" in "".join(
        daemon.lines
    )
    assert process_of(daemon, 1) != killed
    status, line = complaint(tmp_path, "-t", "0", "--state-dir", "state")
    assert status == 1
    assert f"is in use by process {daemon.process.pid}" in line
    assert daemon.stop() == -signal.SIGTERM
    assert "Traceback" not in "".join(daemon.lines)
    assert (tmp_path / "profile.0").stat().st_size
    assert not (tmp_path / "profile").exists()


@pytest.mark.process
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_the_end_of_the_supervisor_is_the_end_of_all(start: Start, how: signal.Signals) -> None:
    daemon = start()
    shards = [process_of(daemon, shard) for shard in range(2)]
    handles = [os.pidfd_open(pid) for pid in (daemon.process.pid, *shards)]
    # A terminal sends SIGINT to all.
    for pid in (*shards, daemon.process.pid) if how is signal.SIGINT else (daemon.process.pid,):
        os.kill(pid, how)
    assert all_end(handles)
    assert daemon.process.wait(180) == -how


@pytest.mark.process
def test_a_shard_that_cannot_be_started_ends_all_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "state" / "rendezvous-1.lock").mkdir(parents=True)
    words = ("-t", "tcp:0:interface=127.0.0.1", "--shards", "2", "--state-dir", "state")
    status, line = complaint(tmp_path, *words)
    assert status == 1
    assert "shard 1 cannot be started: cannot use the state directory state: Is a directory" in line


@pytest.mark.process
def test_what_no_shard_could_use_is_told_before_any_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, line = complaint(tmp_path, "-t", f"tcp:{port}:interface=127.0.0.1", "--shards", "2")
    assert status == 1
    assert f"cannot listen on {port}" in line


@pytest.fixture
def held_pair() -> Iterator[list[int]]:
    with held_ports(2) as first:
        yield [first, first + 1]


@pytest.mark.process
@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="needs systemd's tools")
def test_shards_take_systemds_sockets_and_it_hears_of_life_while_all_are_there(
    tmp_path: Path, held_pair: list[int]
) -> None:
    ports = held_pair
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(180)
    name = "mu-rendezvous"
    daemon = subprocess.Popen(
        [
            *("systemd-socket-activate", *(f"--listen=127.0.0.1:{port}" for port in ports), f"--fdname={name}:{name}"),
            *("--setenv", f"NOTIFY_SOCKET={tmp_path}/notify", "--setenv", f"STATE_DIRECTORY={tmp_path}/state"),
            *("--setenv", f"PATH={os.environ['PATH']}", "--setenv", "WATCHDOG_USEC=3600000000"),
            *(f"{sys.prefix}/bin/twistd", "-n", "--pidfile=", name),
            *("--shards", "2", "-t", f"systemd:domain=INET:name={name}"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        assert daemon.stderr is not None
        next(line for line in daemon.stderr if f":{ports[1]}" in line and "istening" in line)
        socket.create_connection(("127.0.0.1", ports[1]), timeout=180).close()  # it is started by that
        ready = f"READY=1\nSTATUS=all 2 shards are ready for peers, on consecutive ports from {ports[0]}"
        assert [manager.recv(4096).decode() for _ in range(2)] == [ready, "WATCHDOG=1"]
        assert all(answers(port, tmp_path / "state") for port in ports)
        started = next(filter(None, (re.search(r"shard 1 is process ([0-9]+)", line) for line in daemon.stderr)))
        os.kill(int(started[1]), signal.SIGKILL)
        missing = "STATUS=shard 1 is being started again: killed by signal 9"
        assert [manager.recv(4096).decode() for _ in range(3)] == [missing, ready, "WATCHDOG=1"]
    finally:
        daemon.terminate()
        daemon.communicate(timeout=180)
        manager.close()


SLOW = r"""#!/bin/sh
for input; do :; done
grep -q '^5\.5\.' "$input" && sleep 1.5
place=$(mktemp -d) && ln -s "$PWD"/really* "$place/vpxenc" && "$place/vpxenc" "$@"
"""
"""Encodes chunk 5 when chunk 4, whose state it needs, is done."""


@pytest.mark.long
@pytest.mark.process
def test_a_job_that_loses_a_shard_runs_its_tasks_again_to_the_same_bytes(
    coordinate: Any, encoders: FakeEncoders, start: Start, tmp_path: Path
) -> None:
    slow = tmp_path / "slow"
    slow.write_text(SLOW)
    function = encoders.make("sharded", instead={"vpxenc": slow})
    shards = start("-c", str(encoders.local.state_dir / "tls" / "ca_cert.pem"))
    sharded = FakeEncoders(encoders.local, encoders.tools, shards.port)
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.05):
            try:
                encoders.local.control.get_object(encoders.local.BUCKET, "sharded/out/00000004.ivf")
            except AWSError:
                continue
            os.kill(process_of(shards, 1), signal.SIGKILL)
            return

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        more = ("-R", "2", "--retries", "0", "-O", "times")
        ended = sharded.encode(coordinate, function, 8, 4, "sharded", *more)
    finally:
        over.set()
        killer.join()
    assert ended.status == 0, ended.err
    assert sharded.stored(8, "sharded") == [chunk.output for chunk in encoders.expected(tmp_path / "serial", 8, 4)]
    tried = [json.loads(line) for line in (tmp_path / "times").read_text().splitlines()]
    attempts = {task: [record["attempt"] for record in tried if record["task"] == task] for task in range(8)}
    assert all(attempts[task] == [0] for task in range(4))
    assert attempts[4][:2] == [0, 1]
    assert len(attempts[5]) > 1


@pytest.mark.process
def test_a_shard_that_is_not_there_is_found_before_the_launch(coordinate: Any, encoders: FakeEncoders) -> None:
    with refusing_port() as port:
        alone = FakeEncoders(encoders.local, encoders.tools, port)
        missing = alone.run(coordinate, "xcenc", FUNCTION, 4, "any", "-K", "2", "-R", "2")
    assert missing.status == 1
    said = missing.complained()
    assert f"no rendezvous at 127.0.0.1:{alone.port}" in said
    assert "`mu rendezvous --shards 2`" in said
    assert "-R" in said
