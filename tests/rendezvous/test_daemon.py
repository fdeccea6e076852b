"""``twistd mu-rendezvous`` as a user meets it: keys, errors, and beside a coordinator."""

import re
import signal
import socket
import ssl
import stat
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from free_ports import free_ports
from rendezvous_daemons import Daemon, complaint

from mu_twisted.daemons.foreground import options_for
from mu_twisted.daemons.rendezvous import Options
from mu_twisted.rendezvous import RelayLimits
from mu_twisted.rendezvous._relay import UNTRUSTED_HINT
from mu_twisted.tls import Authority, KeyPair, RoleIdentity, TaskIdentity, generate_keys
from mu_twisted.wire import Decoder, PeerGreeting, encode
from mu_twisted.wire.links import LinkGreeting, parse_link_welcome
from mu_twisted.wire.punching import (
    PUNCH,
    Offer,
    ProbeOrder,
    PunchNo,
    PunchRefusal,
    PunchWant,
    parse_from_rendezvous,
    probe_message,
)

pytestmark = pytest.mark.process

HOUR = timedelta(hours=1)
PAGE = (Path(__file__).parents[2] / "docs" / "rendezvous.md").read_text(encoding="utf-8")
Start = Callable[..., Daemon]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Daemon] = []

    def begin(*words: str, **options: str) -> Daemon:
        started.append(Daemon(tmp_path, "-t", "tcp:0:interface=127.0.0.1", *words, **options))
        return started[-1]

    yield begin
    for daemon in started:
        daemon.kill()


class Caller:
    """A blocking peer that looks for the rendezvous's role."""

    def __init__(self, port: int, pair: KeyPair, ca: bytes, directory: Path) -> None:
        (directory / "pair.pem").write_bytes(pair.certificate + pair.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=ca.decode())
        context.load_cert_chain(directory / "pair.pem")
        plain = socket.create_connection(("127.0.0.1", port), timeout=180)
        try:
            self.socket = context.wrap_socket(plain)
        finally:
            plain.close()  # of no use by now: the wrapped one has its descriptor
        self.decoder = Decoder(1 << 20)
        shown = self.socket.getpeercert()
        assert shown is not None
        self.names = [name for kind, name in shown.get("subjectAltName", ()) if kind == "URI"]

    def says(self, *payloads: bytes) -> None:
        self.socket.sendall(b"".join(map(encode, payloads)))

    def hears(self) -> bytes:
        while True:
            got = self.decoder.feed(self.socket.recv(65536))
            if got:
                return got[0]


def exchange(port: int, authority: Authority, directory: Path) -> None:
    """Two workers and a coordinator meet at this port."""

    def worker(task: int) -> Caller:
        pair = authority.issue(TaskIdentity("j", task, 0), lifetime=HOUR)
        caller = Caller(port, pair, authority.certificate, directory)
        assert caller.names == ["mu:role/rendezvous"]
        caller.says(PeerGreeting(b"j", task, 1 - task, 0).encode())
        return caller

    role = RoleIdentity("coordinator")
    coordinator = Caller(port, authority.issue(role, lifetime=HOUR), authority.certificate, directory)
    coordinator.says(b"JOB:j:{}")
    assert coordinator.hears().startswith(b"OK:JOB:j:")
    one, two = worker(0), worker(1)
    one.says(b"there")
    assert two.hears() == b"there"
    two.says(b"and back")
    assert one.hears() == b"and back"
    for caller in (one, two, coordinator):
        caller.socket.close()


def test_it_makes_its_keys_in_its_state_directory(start: Start, tmp_path: Path) -> None:
    daemon = start("--state-dir", "state", "-n", "1024", "-P", "profile")
    tls = tmp_path / "state" / "tls"
    assert stat.S_IMODE((tls / "ca_key.pem").stat().st_mode) == 0o600
    exchange(daemon.port, Authority.open(tls), tmp_path)
    assert daemon.stop() == -signal.SIGTERM
    assert "Traceback" not in "".join(daemon.lines)
    assert (tmp_path / "profile").stat().st_size


def test_it_warns_of_a_state_directory_and_a_key_that_are_for_others_too(start: Start, tmp_path: Path) -> None:
    Authority.open(tmp_path / "state" / "tls")
    (tmp_path / "state").chmod(0o777)
    (tmp_path / "state" / "tls" / "ca_key.pem").chmod(0o644)
    daemon = start("--state-dir", "state")
    daemon.stop()
    for exposed in ("others can write to the directory", "others can read the key"):
        assert [exposed in line for line in daemon.lines].count(True) == 1


def test_it_shares_a_state_directory_with_a_coordinator_whichever_is_first(start: Start, tmp_path: Path) -> None:
    words = ("--state-dir", "state")
    daemon = start(*words)
    start(*words, name="mu-coordinator", ready="ready for workers")
    exchange(daemon.port, Authority.open(tmp_path / "state" / "tls"), tmp_path)
    status, line = complaint(tmp_path, *words)
    assert status == 1
    assert f"is in use by process {daemon.process.pid}" in line


def test_on_another_host_it_takes_a_pair_of_genkeys_without_the_cas_key(start: Start, tmp_path: Path) -> None:
    generate_keys(tmp_path / "keys")
    authority = Authority.load(tmp_path / "keys" / "ca_cert.pem", tmp_path / "keys" / "ca_key.pem")
    (tmp_path / "keys" / "ca_key.pem").unlink()
    pair = ("-s", "keys/rendezvous_cert.pem", "-k", "keys/rendezvous_key.pem")
    daemon = start("-c", "keys/ca_cert.pem", *pair, "--state-dir", "other")
    exchange(daemon.port, authority, tmp_path)


def test_with_the_cas_key_the_originals_files_will_do(start: Start, tmp_path: Path) -> None:
    generate_keys(tmp_path / "keys")
    authority = Authority.load(tmp_path / "keys" / "ca_cert.pem", tmp_path / "keys" / "ca_key.pem")
    pair = ("-s", "keys/server_cert.pem", "-k", "keys/server_key.pem")
    daemon = start("-c", "keys/ca_cert.pem", *pair)
    exchange(daemon.port, authority, tmp_path)


def test_a_pair_that_names_no_rendezvous_is_refused_with_what_to_do(tmp_path: Path) -> None:
    generate_keys(tmp_path / "keys")
    (tmp_path / "keys" / "ca_key.pem").unlink()
    pair = ("-s", "keys/server_cert.pem", "-k", "keys/server_key.pem")
    status, line = complaint(tmp_path, "-t", "0", "-c", "keys/ca_cert.pem", *pair)
    assert status == 1
    assert "keys/server_cert.pem is not a certificate of a rendezvous" in line
    assert "rendezvous_cert.pem and rendezvous_key.pem of `mu genkeys`" in line
    assert "--share-key" in line
    assert f"    {line}\n" in PAGE


def test_a_shared_key_speaks_for_any_task(start: Start, tmp_path: Path) -> None:
    generate_keys(tmp_path / "keys")
    authority = Authority.load(tmp_path / "keys" / "ca_cert.pem", tmp_path / "keys" / "ca_key.pem")
    pair = ("-s", "keys/server_cert.pem", "-k", "keys/server_key.pem")
    daemon = start("-c", "keys/ca_cert.pem", *pair, "--share-key")
    shared = authority.issue(None, lifetime=HOUR)
    one, two = (Caller(daemon.port, shared, authority.certificate, tmp_path) for _ in range(2))
    one.says(PeerGreeting(b"j", 0, 1, 0).encode(), b"there")
    two.says(PeerGreeting(b"j", 1, 0, 0).encode())
    assert two.hears() == b"there"
    assert two.names == []
    one.socket.close()
    two.socket.close()


def test_keys_of_another_ca_are_refused_and_the_log_says_what_to_do(start: Start, tmp_path: Path) -> None:
    daemon = start()
    stranger = Authority.generate()
    own = Authority.open(tmp_path / ".local" / "state" / "mu" / "tls")
    pair = stranger.issue(TaskIdentity("j", 1, 0), lifetime=HOUR)
    caller = Caller(daemon.port, pair, own.certificate, tmp_path)
    with pytest.raises(OSError, match="unknown ca"):
        caller.hears()
    caller.socket.close()
    line = daemon.wait_for("dropped")
    assert "certificate was refused" in line
    assert "coordinator and rendezvous must have the same CA" in line
    assert "--state-dir" in line
    assert "mu genkeys" in line
    with pytest.raises(ssl.SSLError):
        Caller(daemon.port, pair, stranger.certificate, tmp_path)
    assert "coordinator and rendezvous must have the same CA" in daemon.wait_for("dropped")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["xcenc"], "a rendezvous takes options only, not 'xcenc'"),
        (["-t", "x"], "-t: expected a port number or an endpoint string"),
        (["--memory", "1X"], "--memory: expected bytes, or a number with K, M or G, as 64M, got '1X'"),
        (["--retain", "x"], "--retain: expected bytes, or a number"),
        (["--disk", "-1"], "--disk: expected bytes, or a number"),
        (["--spill", ""], "--spill: expected bytes, or a number with K, M or G, as 64M, got '': is a variable empty?"),
        (["--metrics", ""], "--metrics: expected a port of this machine, or HOST:PORT, got '': is a variable empty?"),
        (["--memory", "100K"], "--memory: at least 1M"),
        (["--connections", "0"], "--connections: expected a whole number from 1 to 10000000, got '0'"),
        (["--jobs", "x"], "--jobs: expected a whole number from 1 to"),
        (["--mailboxes", ""], "--mailboxes: expected a whole number from 1 to 10000000, got '': is a variable empty?"),
        (["--messages", "1e3"], "--messages: expected a whole number from 1 to"),
        (["-s", "x.pem"], "--srv-cert is of no use without the CA certificate, -c"),
        (["-c", __file__], "comes without a certificate of the rendezvous: give -s and -k"),
        (["--punch", "on"], "--punch: expected auto or off, got 'on'"),
        (["--probe-port", "x"], "--probe-port: expected a port from 0 to 65535, got 'x'"),
        (["--probe-port", "65536"], "--probe-port: expected a port from 0 to 65535"),
        (["--probe-port", "65535", "--shards", "2"], "--probe-port: 2 ports from it on would end above 65535"),
        (["--share-key"], "--share-key needs a key to share"),
    ],
)
def test_wrong_use_is_one_line(words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        Options().parseOptions(words)
    assert ended.value.code == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error


def test_the_page_shows_the_bounds_as_the_help_does_and_the_errors_as_they_are() -> None:
    said = " ".join(str(Options()).split())  # type: ignore[no-untyped-call]
    shown = re.findall(r"^ {10}(--.*)$", PAGE, re.MULTILINE)
    assert len(shown) == 10
    assert "55 MB, --memory, at most 250 kB for each connection" in said
    for line in shown:
        assert " ".join(line.split()) in said
    assert UNTRUSTED_HINT in PAGE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-c", "none/ca_cert.pem", "--ca-key", "none/ca_key.pem"], "does not exist; make a set with mu genkeys"),
        (["--state-dir", "/proc/none"], "cannot use the state directory /proc/none"),
    ],
)
def test_a_start_that_cannot_be_is_one_line(tmp_path: Path, words: list[str], said: str) -> None:
    status, line = complaint(tmp_path, *words)
    assert status == 1
    assert said in line


def greeted(daemon: Daemon, directory: Path) -> Caller:
    """A worker that has offered to punch."""
    authority = Authority.open(directory / ".local" / "state" / "mu" / "tls")
    pair = authority.issue(TaskIdentity("j", 1, 0), lifetime=HOUR)
    caller = Caller(daemon.port, pair, authority.certificate, directory)
    caller.says(LinkGreeting(b"j", 1, 0, {PUNCH: True}).encode())
    assert parse_link_welcome(caller.hears()).announced[PUNCH] is True
    caller.says(Offer(0, ()).encode())
    return caller


@pytest.mark.parametrize("chosen", [True, False])
def test_a_worker_is_probed_on_a_second_port(start: Start, tmp_path: Path, chosen: bool) -> None:
    number = free_ports()
    daemon = start(*(["--probe-port", str(number)] if chosen else []))
    caller = greeted(daemon, tmp_path)
    order = parse_from_rendezvous(caller.hears())
    assert isinstance(order, ProbeOrder)
    assert (order.reflexive.ip, order.reflexive.port) == caller.socket.getsockname()
    assert not chosen or order.port == number
    with socket.create_connection(("127.0.0.1", order.port), timeout=180) as probe:
        probe.sendall(encode(probe_message(order.token)))
        host, number = probe.getsockname()
        assert probe.makefile("rb").read() == encode(f"OK:PROBE:reflexive/{host}/{number}".encode())
    caller.says(PunchWant(2).encode())
    assert parse_from_rendezvous(caller.hears()) == PunchNo(2, PunchRefusal.ABSENT)
    caller.socket.close()


def test_where_direct_paths_are_off_a_worker_hears_that(start: Start, tmp_path: Path) -> None:
    caller = greeted(start("--punch", "off"), tmp_path)
    caller.says(PunchWant(2).encode())
    assert parse_from_rendezvous(caller.hears()) == PunchNo(2, PunchRefusal.OFF)
    caller.socket.close()


def test_a_probe_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = str(used.getsockname()[1])
        status, line = complaint(tmp_path, "-t", "tcp:0:interface=127.0.0.1", "--probe-port", port)
    assert status == 1
    assert f"cannot listen on port {port}: " in line
    assert "choose another with --probe-port (0: any that is free)" in line


def test_a_port_in_use_is_one_line(start: Start, tmp_path: Path) -> None:
    port = start().port
    status, line = complaint(tmp_path, "-t", str(port), "--state-dir", "other")
    assert status == 1
    assert f"cannot listen on {port}: " in line


@pytest.mark.parametrize("kind", [Options, options_for("mu rendezvous", Options)], ids=["twistd", "mu"])
def test_defaults_are_read_as_users_write_them_under_either_command(kind: type[Options]) -> None:
    options = kind()
    options.parseOptions([])
    assert (options["shards"], options["memory"]) == (1, RelayLimits().memory)
    assert isinstance(options.limits(), RelayLimits)
