"""What is the core's alone: its threads and its process, turns, keys in any form, descriptors that run out."""

import os
import resource
import select
import socket
import ssl
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from core_transport import CoreTransportHarness, Port, core_module
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from memory_transport import AUTHORITY, SERVER, WORKER
from transport_contract import LIMIT, Recorder, _log, outcome  # noqa: F401
from twisted.logger import globalLogPublisher

from mu_twisted.tls import KeyPair, ServerContexts, server_contexts
from mu_twisted.transport import FrameFactory
from mu_twisted.wire import encode

LIMITS: dict[str, Any] = {
    "threads": 2,
    "max_handshakes": 8,
    "max_connections": 0,
    "room": 0,
    "handshake_timeout": 10.0,
    "stall_timeout": 1.0,
    "max_frame": LIMIT,
    "max_unsent": LIMIT,
}


@pytest.fixture
def world(log: list[str]) -> Any:
    world = CoreTransportHarness()
    yield world
    world.settle()
    world.break_all()
    world.end()


def make_core(**others: Any) -> Any:
    words = {"certificate": SERVER.certificate, "key": SERVER.key, "authorities": AUTHORITY.certificate, **others}
    keys = [words.pop(name) for name in ("certificate", "key", "authorities")]
    protocol = core_module("_core_protocol").CoreProtocol
    return core_module("_core").Core(*keys, protocol, **{**LIMITS, **words})


def pair(world: CoreTransportHarness) -> tuple[Recorder, Recorder]:
    far = Recorder()
    made = outcome(world.dial(far))
    world.settle()
    assert made == [far.connection]
    return world.accepted[-1], far


def test_a_fork_cannot_use_the_core_and_ends_without_its_threads() -> None:
    core, port = make_core(), Port()
    core.listen(port.fileno())
    child = os.fork()
    if child == 0:
        status = 1
        try:
            core.turn()
        except RuntimeError as error:
            status = 0 if "a fork" in str(error) else 2
        del core
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert core.turn() == []
    assert core.close() == []
    port.stopListening()


@pytest.mark.parametrize("call", ["turn", "flush", "stop_listening", "close"])
def test_another_thread_cannot_use_the_core(call: str) -> None:
    core = make_core()
    said: list[str] = []

    def try_it() -> None:
        try:
            getattr(core, call)()
        except RuntimeError as error:
            said.append(str(error))

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    assert len(said) == 1
    assert "thread" in said[0]
    assert core.close() == []
    assert core.close() == []
    assert core.fileno() == -1
    with pytest.raises(RuntimeError, match="closed"):
        core.turn()


@pytest.mark.parametrize("count", [1, 20])
def test_a_peer_that_stands_still_keeps_no_other_from_being_handed_over(tmp_path: Path, count: int) -> None:
    core, port = make_core(threads=1, handshake_timeout=600.0), Port()
    address = port.handle.getsockname()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=AUTHORITY.certificate.decode())
    keys = tmp_path / "keys.pem"
    keys.write_bytes(WORKER.certificate + WORKER.key)
    context.load_cert_chain(keys)
    kinds: list[int] = []
    with socket.create_connection(address), ExitStack() as peers:
        core.listen(port.fileno())
        for _ in range(count):
            peers.enter_context(context.wrap_socket(socket.create_connection(address, timeout=180)))
        while len(kinds) < count:
            assert select.select([core], [], [], 180)[0], "none was handed over"
            kinds += [event[0] for event in core.turn()]
    assert kinds == [core_module("_core").ESTABLISHED] * count
    core.close()
    port.stopListening()


@pytest.mark.parametrize(
    ("others", "error"),
    [
        ({"certificate": b"none"}, ValueError),
        ({"certificate": b""}, ValueError),
        ({"key": WORKER.key}, ValueError),
        ({"key": SERVER.certificate}, ValueError),
        ({"authorities": SERVER.key}, ValueError),
        ({"threads": 0}, ValueError),
        ({"threads": 100_000}, ValueError),
        ({"max_handshakes": 0}, ValueError),
        ({"handshake_timeout": 0.0}, ValueError),
        ({"stall_timeout": float("nan")}, ValueError),
        ({"max_unsent": -1}, ValueError),
    ],
)
def test_what_it_cannot_work_with_is_refused_in_one_line(others: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        make_core(**others)
    assert str(caught.value).isprintable()
    assert str(caught.value)


def test_keys_and_certificates_may_be_der(world: CoreTransportHarness) -> None:
    certificate, authority = (
        x509.load_pem_x509_certificate(pem) for pem in (SERVER.certificate, AUTHORITY.certificate)
    )
    key = load_pem_private_key(SERVER.key, None)
    der = KeyPair(
        certificate.public_bytes(Encoding.DER), key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    )
    world.server = ServerContexts(
        server_contexts(SERVER, AUTHORITY.certificate)._context, der, authority.public_bytes(Encoding.DER)
    )
    world.listen()
    near, far = pair(world)
    far.end.send(b"one")
    world.settle()
    assert near.payloads == [b"one"]


@pytest.mark.parametrize("size", [0, 1, 200])
def test_one_turn_takes_64_frames_of_a_connection_before_it_reads_others(
    world: CoreTransportHarness, size: int
) -> None:
    world.listen()
    (busy, _), (other, far) = pair(world), pair(world)
    stranger = world.network.ends[0]
    calls: list[Any] = []
    busy.frames_received = lambda payloads: calls.append(("busy", len(payloads)))  # type: ignore[method-assign]
    other.frames_received = lambda payloads: calls.append(("other", len(payloads)))  # type: ignore[method-assign]
    stranger.protocol.write(encode(b"x" * size) * 1000)
    far.end.send(b"patient")
    world.settle()
    assert sum(count for who, count in calls if who == "busy") == 1000
    assert max(count for who, count in calls if who == "busy") == 64
    assert calls.index(("other", 1)) < len(calls) - 5


def test_a_receiver_that_raises_ends_its_own_connection_only() -> None:
    world = CoreTransportHarness()
    world.listen()
    (bad, bad_far), (good, good_far) = pair(world), pair(world)

    def fail(payloads: list[bytes]) -> None:
        raise ValueError("of the test's")

    bad.frames_received = fail  # type: ignore[method-assign]
    failures: list[Any] = []

    def observe(event: Any) -> None:
        if "log_failure" in event:
            failures.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        bad_far.end.send(b"one")
        good_far.end.send(b"two")
        world.settle()
    finally:
        globalLogPublisher.removeObserver(observe)
    assert len(failures) == 1
    assert bad.reasons == ["failed here: ValueError: of the test's"]
    assert len(bad_far.reasons) == 1
    assert good.payloads == [b"two"]
    world.break_all()
    world.end()


def test_a_peer_waits_while_descriptors_have_run_out(world: CoreTransportHarness, log: list[str]) -> None:
    world.factory = FrameFactory(world._accept, clock=world.clock, max_frame=LIMIT)
    world.network.port = Port()
    world.port = world.network.port.getHost().port
    far = Recorder()
    made = outcome(world.dial(far))  # waits in the kernel
    world.listener = core_module("_core_listener").CoreListener(
        world.network.port, world.server, world.factory, world.clock, threads=1, manual_clock=True, begin=False
    )
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    first = os.dup(0)  # the lowest that is free: the core duplicates the listening one
    os.close(first)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first + 1, before[1]))
    try:
        world.listener.begin()
        world.settle()
        assert log == ["dropped :0: no connection can be accepted: Too many open files"]
        assert made == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    world.clock.advance(1)
    world.settle()
    assert made == [far.connection]


def test_listening_ends_with_its_handshakes_and_connections_go_on(world: CoreTransportHarness, log: list[str]) -> None:
    world.listen()
    near, far = pair(world)
    strangers = [world.dial_bare() for _ in range(5)]
    world.settle()
    assert world.handshakes() == 5
    world.listener.stopListening()
    world.settle()
    assert all(stranger.lost for stranger in strangers)
    assert log == []
    far.end.send(b"still here")
    near.end.send(b"so am I")
    world.settle()
    assert near.payloads == [b"still here"]
    assert far.payloads == [b"so am I"]
    assert world.clock.listener is not None
    far.end.close()
    world.settle()
    assert world.clock.listener is None


def test_the_end_of_the_reactor_ends_every_connection(world: CoreTransportHarness) -> None:
    world.listen()
    near, _ = pair(world)
    world.listener.connectionLost(None)
    assert near.reasons == ["ended here, as the listener has ended"]
    near.end.send(b"too late")
    near.end.close()
    near.end.abort()
    assert len(near.reasons) == 1


@pytest.mark.parametrize(("wanted", "most"), [(1, 16 << 10), (32 << 10, 32 << 10), (1 << 30, 256 << 10)])
def test_a_turn_reads_no_more_of_a_connection_than_its_receiver_wants(
    world: CoreTransportHarness, wanted: int, most: int
) -> None:
    world.listen()
    near, far = pair(world)
    near.end.read_at_once(wanted)
    grown = []

    def note(_: int) -> None:
        grown.append(near.end.pending - sum(grown))

    near.frame_begun = note  # type: ignore[method-assign]
    near.end.hand_over(near)
    far.end.send(b"x" * 900_000)
    world.settle()
    assert len(near.payloads) == 1
    assert max(grown) <= most + (16 << 10)


def test_a_paused_connection_of_which_more_was_read_does_not_keep_the_reactor_busy(world: CoreTransportHarness) -> None:
    world.listen()
    near, far = pair(world)
    near.end.read_at_once(16 << 10)
    near.frame_begun = lambda _: near.end.pause_reading()  # type: ignore[method-assign]
    near.end.hand_over(near)
    far.end.send(b"x" * 100_000)
    until = time.monotonic() + 180
    while not near.end.pending and time.monotonic() < until:
        world.network.carry(1 << 16)
    turns = [world.network.carry(1 << 16) for _ in range(50)]
    assert not all(turns[-10:]), "a paused connection has the core take turn after turn"
    near.frame_begun = lambda _: None  # type: ignore[method-assign]
    near.end.hand_over(near)
    near.end.resume_reading()
    world.settle()
    assert near.payloads == [b"x" * 100_000]
