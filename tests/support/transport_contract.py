"""What every transport of frames must hold; another one is put under these tests by making a world for it.

Mix :class:`TransportContract` into a class whose name begins with ``Test`` and give it ``make_world``; where peers are
authenticated, :class:`AuthenticatedContract` too.
"""

from contextlib import suppress
from typing import Any, cast

import pytest
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, globalLogPublisher

from mu_twisted.tls import Identity
from mu_twisted.transport import FrameProtocol, TransportError
from mu_twisted.wire import encode

LIMIT = 1 << 20


class Recorder:
    """A receiver that remembers what it was called with."""

    def __init__(self) -> None:
        self.connection: FrameProtocol | None = None
        self.payloads: list[bytes] = []
        self.reads: list[int] = []
        self.begun: list[int] = []
        self.reasons: list[str] = []
        self.bundles: list[Any] = []
        self.passed: list[tuple[Any, FrameProtocol]] = []
        self.echo = False

    def connected(self, connection: FrameProtocol) -> None:
        assert self.connection is None
        self.connection = connection

    def frames_received(self, payloads: list[bytes]) -> None:
        assert payloads
        assert not self.reasons
        self.payloads += payloads
        self.reads.append(len(payloads))
        if self.echo:
            assert self.connection is not None
            self.connection.send(*payloads)

    def bundle_received(self, bundle: Any) -> None:
        assert not self.reasons
        assert bundle.frames
        self.bundles.append(bundle)
        if self.echo:
            for at in range(0, len(bundle), 70_000):
                self.end.write(memoryview(bundle)[at : at + 70_000])

    def bundle_passed(self, bundle: Any, to: FrameProtocol) -> None:
        assert not self.reasons
        self.passed.append((bundle, to))

    def frame_begun(self, size: int) -> None:
        assert not self.reasons
        self.begun.append(size)

    def disconnected(self, reason: str) -> None:
        assert self.connection is not None
        self.reasons.append(reason)

    @property
    def end(self) -> FrameProtocol:
        assert self.connection is not None
        return self.connection


class Producer:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


class Stranger:
    """A peer that is reached with bytes of any kind."""

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Send, now or as soon as there is a connection."""
        raise NotImplementedError

    def lose(self) -> None:
        """Close the connection."""
        raise NotImplementedError


class TransportHarness:
    """What a transport's tests need of it: a listener, those who dial it, and time.

    ``accepted`` are the receivers of the listener, in order; ``clock`` is a ``task.Clock``; it listens at ``port``
    of ``listens_at``, and they come from ``host``. ``near_listens``: the near end of a pair is the listening one.
    """

    host = listens_at = "192.0.2.1"
    port = 13579
    near_listens = False

    clock: Any
    accepted: list[Recorder]
    identity: Identity | None

    def listen(self, **limits: Any) -> None:
        """Accept connections with these limits of ``FrameFactory``; ``max_frame`` is LIMIT unless given."""
        raise NotImplementedError

    def dial(self, receiver: Recorder, **options: Any) -> Deferred[FrameProtocol]:
        """Dial the listener; the options are the implementation's own."""
        raise NotImplementedError

    def dial_with_bytes(self) -> Stranger:
        """A peer that is accepted, and then sends any bytes in place of frames."""
        raise NotImplementedError

    def settle(self, limit: int = 1 << 16) -> None:
        """Let everything arrive, in pieces of at most so many bytes."""
        raise NotImplementedError

    def break_all(self) -> None:
        """Break every connection without a word."""
        raise NotImplementedError

    def end(self) -> None:
        """Listen no more, and free what is left."""


@pytest.fixture(name="log")
def _log() -> Any:
    """The lines logged; a traceback fails the test."""
    lines: list[str] = []

    def observe(event: Any) -> None:
        assert "log_failure" not in event, event["log_failure"]
        if event.get("log_namespace", "").startswith("mu_twisted."):
            lines.append(event["log_format"].format(**event))

    observer = cast("ILogObserver", observe)
    globalLogPublisher.addObserver(observer)
    yield lines
    globalLogPublisher.removeObserver(observer)


def outcome(deferred: Deferred[Any]) -> list[Any]:
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results


class TransportContract:
    """Of any transport."""

    def make_world(self) -> TransportHarness:
        raise NotImplementedError

    @pytest.fixture
    def world(self, log: list[str]) -> Any:
        world = self.make_world()
        yield world
        world.settle()
        world.break_all()
        world.settle()
        assert world.clock.getDelayedCalls() == []
        world.end()

    def pair(self, world: TransportHarness, limit: int = 1 << 16, **limits: Any) -> tuple[Recorder, Recorder]:
        """The two ends of a connection, the dialling one first, unless the world has it the other way round."""
        if not world.accepted:
            world.listen(**limits)
        near, count = Recorder(), len(world.accepted)
        made = outcome(world.dial(near))
        world.settle(limit)
        assert made == [near.connection]
        assert len(world.accepted) == count + 1
        return (world.accepted[-1], near) if world.near_listens else (near, world.accepted[-1])

    def test_both_ends_learn_who_the_other_is(self, world: TransportHarness) -> None:
        ends = self.pair(world)
        near, far = reversed(ends) if world.near_listens else ends
        assert far.end.peer.identity == world.identity
        assert far.end.peer.host == world.host
        assert near.end.peer.port == world.port
        assert str(near.end.peer) == f"{world.listens_at}:{world.port}"

    @pytest.mark.parametrize("limit", [1, 2, 7, 1000, 1 << 16])
    def test_frames_travel_both_ways_at_any_split(self, world: TransportHarness, limit: int) -> None:
        near, far = self.pair(world, limit)
        far.echo = True
        payloads = [b"", b"one", bytes(range(256)), b"0" * 3000]
        near.end.send(*payloads)
        world.settle(limit)
        assert far.payloads == near.payloads == payloads

    def test_all_frames_of_one_read_come_in_one_call(self, world: TransportHarness) -> None:
        near, far = self.pair(world)
        near.end.send(b"a", b"b", b"c")
        near.end.send()
        world.settle()
        assert far.reads == [3]
        for _ in range(40):
            near.end.send(b"d" * 200)
        world.settle()
        assert far.reads == [3, 40]

    @pytest.mark.parametrize("tls_slice", [4096, 16384])
    def test_bytes_of_frames_can_be_sent_as_they_are(self, world: TransportHarness, tls_slice: int) -> None:
        near, far = self.pair(world, tls_slice=tls_slice)
        payload = bytes(range(256)) * 1000
        frame = memoryview(encode(payload) * 3)
        for at in range(0, len(frame), 100_000):
            far.end.write(frame[at : at + 100_000])
            world.settle()
        assert near.payloads == [payload] * 3

    def test_a_receiver_can_know_what_a_frame_announces_before_it_has_come(self, world: TransportHarness) -> None:
        near, far = self.pair(world)
        frame = encode(b"x" * 100_000)
        near.end.write(frame[:5])
        world.settle()
        assert far.begun == []
        near.end.write(frame[5:50_000])
        world.settle()
        assert far.begun == [100_000]
        near.end.write(frame[50_000:] + frame)
        world.settle()
        assert set(far.begun) == {100_000}
        assert far.payloads == [b"x" * 100_000] * 2

    def test_another_receiver_gets_what_comes_after_it_was_handed_over(self, world: TransportHarness) -> None:
        near, far = self.pair(world)
        frame = encode(b"x" * 100_000)
        near.end.write(encode(b"first") + frame[:50_000])
        world.settle()
        second = Recorder()
        second.connected(far.end)
        far.end.hand_over(second)
        near.end.write(frame[50_000:] + frame[:50_000])
        world.settle()
        assert (far.payloads, second.payloads) == ([b"first"], [b"x" * 100_000])
        assert set(second.begun) == {100_000}
        near.end.abort()
        world.settle()
        assert far.reasons == []
        assert len(second.reasons) == 1

    @pytest.mark.parametrize("limit", [1, 7, 1000, 1 << 16])
    def test_frames_can_come_in_bundles_from_the_middle_of_one_on(self, world: TransportHarness, limit: int) -> None:
        near, far = self.pair(world, limit)
        big = 300_000 if limit > 7 else 3000
        payloads = [b"", b"b" * 200, b"c" * 100, b"d" * big, b"", b"e" * 20_000 * (limit > 7), b"f"]
        wire = b"".join(map(encode, payloads))
        near.end.write(encode(b"frame") + wire[:50])
        world.settle(limit)
        assert far.payloads == [b"frame", b""]
        far.echo = True
        far.end.bundle()
        near.end.write(wire[50:])
        world.settle(limit)
        assert b"".join(bytes(bundle) for bundle in far.bundles) == wire[len(encode(b"")) :]
        assert sum(bundle.frames for bundle in far.bundles) == len(payloads) - 1
        assert max(bundle.longest for bundle in far.bundles) == big
        assert (far.payloads, near.payloads) == ([b"frame", b""], payloads[1:])

    def test_nothing_may_be_written_between_parts_of_a_bundle(self, world: TransportHarness) -> None:
        near, far = self.pair(world)
        far.end.bundle()
        frame = encode(b"x" * 60_000)
        near.end.write(frame)
        world.settle()
        [bundle] = far.bundles
        held = memoryview(bundle)
        for part in (held[:30_000], b"", held[30_000:30_000], held[30_000:], b""):
            far.end.write(part)
        world.settle()
        assert near.payloads == [b"x" * 60_000]
        assert not near.reasons

    def test_what_is_no_frame_or_too_long_ends_a_bundled_connection_in_the_same_words(
        self, world: TransportHarness, log: list[str]
    ) -> None:
        for said, reason in (
            (b"nonsense", "protocol error: expected a frame header of 12 digits and a blank, got b'nonsense'"),
            (b"000001048577 ", f"protocol error: a frame of 1048577 bytes was announced, the limit is {LIMIT}"),
        ):
            near, far = self.pair(world)
            far.end.bundle()
            near.end.write(encode(b"fine") + encode(b"too") + said)
            world.settle()
            assert b"".join(map(bytes, far.bundles)) == encode(b"fine") + encode(b"too")
            assert far.reasons == [reason]

    def test_what_a_frame_of_a_bundle_announces_is_known_and_where_it_ends(self, world: TransportHarness) -> None:
        near, far = self.pair(world)
        far.end.bundle()
        frame = encode(b"x" * 100_000)
        near.end.write(encode(b"whole") + frame[:50_000])
        world.settle()
        assert far.begun
        assert set(far.begun) == {100_000}
        assert far.end.pending == 50_000
        assert far.end.missing == len(frame) - 50_000
        near.end.close()
        world.settle()
        assert far.reasons == ["closed by the peer in the middle of a frame"]

    def test_nothing_of_a_bundled_connection_is_received_after_closing(self, world: TransportHarness) -> None:
        near, far = self.pair(world)
        far.end.bundle()
        near.end.send(b"kept")
        world.settle()
        near.end.send(b"too late")
        far.end.close()
        world.settle()
        assert [bytes(bundle) for bundle in far.bundles] == [encode(b"kept")]
        assert near.reasons == ["closed by the peer"]

    def test_a_big_frame_travels_whole(self, world: TransportHarness) -> None:
        near, far = self.pair(world)
        far.echo = True
        payload = bytes(range(256)) * (LIMIT // 256)
        near.end.send(payload)
        world.settle()
        assert far.payloads == near.payloads == [payload]

    def test_a_listener_that_greets_first_is_heard(self, world: TransportHarness) -> None:
        near, far = self.pair(world)
        far.end.send(b"OK:HELLO")
        world.settle()
        assert near.payloads == [b"OK:HELLO"]

    def test_the_limit_of_a_connection_can_be_set_by_its_receiver(
        self, world: TransportHarness, log: list[str]
    ) -> None:
        near, far = self.pair(world)
        far.end.max_frame = 3
        assert far.end.max_frame == 3
        near.end.send(b"abc", b"abcd")
        world.settle()
        assert far.payloads == [b"abc"]
        assert far.reasons == ["protocol error: a frame of 4 bytes was announced, the limit is 3"]

    # Back-pressure

    def test_a_producer_is_paused_while_the_peer_reads_nothing_and_resumed_when_it_does(
        self, world: TransportHarness
    ) -> None:
        near, far = self.pair(world)
        producer = Producer()
        near.end.register_producer(producer, True)
        far.end.pause_reading()
        near.end.send(b"x" * 300_000)
        world.settle()
        assert producer.calls == ["pause"]
        assert far.payloads == []
        far.end.resume_reading()
        world.settle()
        assert producer.calls == ["pause", "resume"]
        assert far.payloads == [b"x" * 300_000]
        near.end.unregister_producer()

    def test_a_producer_is_paused_by_the_very_write_that_is_not_taken(self, world: TransportHarness) -> None:
        near, far = self.pair(world)
        far.end.pause_reading()
        producer = Producer()
        near.end.register_producer(producer, True)
        written = 0
        while not producer.calls and written < 64 * LIMIT:
            near.end.write(encode(b"x" * 60_000))
            written += 60_000
        assert producer.calls == ["pause"]
        assert written < 16 * LIMIT
        near.end.unregister_producer()

    def test_a_receiver_that_pauses_gets_nothing_until_it_resumes(self, world: TransportHarness) -> None:
        near, far = self.pair(world)
        far.end.pause_reading()
        far.end.pause_reading()
        near.end.send(b"later")
        world.settle()
        assert far.payloads == []
        far.end.resume_reading()
        world.settle()
        assert far.payloads == [b"later"]

    def test_a_frame_does_not_run_out_of_time_while_its_reader_pauses(self, world: TransportHarness) -> None:
        _, far = self.pair(world, frame_timeout=60.0)
        stranger = world.dial_with_bytes()
        stranger.write(encode(b"slow")[:-1])
        world.settle()
        far = world.accepted[-1]
        far.end.pause_reading()
        world.clock.advance(3600)
        far.end.resume_reading()
        world.clock.advance(59)
        stranger.write(b"w")
        world.settle()
        assert far.payloads == [b"slow"]

    def test_a_producer_registered_too_late_is_stopped(self, world: TransportHarness) -> None:
        near, _ = self.pair(world)
        near.end.close()
        producer = Producer()
        near.end.register_producer(producer, True)
        assert producer.calls == ["stop"]

    # The end

    def test_closing_sends_all_that_was_to_be_sent_and_a_farewell(self, world: TransportHarness) -> None:
        near, far = self.pair(world)
        near.end.send(b"y" * 200_000)
        near.end.close(b"quit:")
        world.settle()
        assert far.payloads == [b"y" * 200_000, b"quit:"]
        assert near.reasons == ["closed here"]
        assert far.reasons == ["closed by the peer"]

    def test_closing_does_not_wait_for_a_producer(self, world: TransportHarness) -> None:
        near, far = self.pair(world)
        near.end.register_producer(Producer(), True)
        near.end.close()
        world.settle()
        assert near.reasons == ["closed here"]
        assert far.reasons == ["closed by the peer"]

    def test_an_end_that_pauses_can_close(self, world: TransportHarness) -> None:
        near, _ = self.pair(world)
        near.end.pause_reading()
        near.end.close()
        world.settle()
        assert near.reasons == ["closed here"]

    def test_nothing_is_received_after_closing(self, world: TransportHarness) -> None:
        near, far = self.pair(world)
        far.end.send(b"too late")
        near.end.close()
        world.settle()
        assert near.payloads == []

    def test_nothing_of_a_read_is_received_after_closing_within_it(self, world: TransportHarness) -> None:
        near, far = self.pair(world)
        near.end.send(b"first")
        far.frames_received = lambda payloads: (far.payloads.extend(payloads), far.end.close())  # type: ignore
        world.settle()
        near.end.send(b"second")
        world.settle()
        assert far.payloads == [b"first"]
        assert far.reasons == ["closed here"]

    def test_sending_after_the_end_is_harmless(self, world: TransportHarness) -> None:
        near, far = self.pair(world)
        near.end.close()
        for _ in range(2):
            near.end.send(b"lost")
            near.end.close(b"lost too")
            near.end.pause_reading()
            near.end.resume_reading()
            near.end.unregister_producer()
            world.settle()
        near.end.abort()
        assert far.payloads == []
        assert near.reasons == ["closed here"]

    def test_aborting_drops_what_was_to_be_sent(self, world: TransportHarness) -> None:
        near, far = self.pair(world)
        near.end.send(b"z" * 200_000)
        near.end.abort()
        world.settle()
        assert far.payloads == []
        assert near.reasons == ["aborted here"]
        assert len(far.reasons) == 1

    def test_a_connection_that_breaks_is_told_once(self, world: TransportHarness, log: list[str]) -> None:
        near, far = self.pair(world)
        world.break_all()
        for end in near, far:
            assert len(end.reasons) == 1
            assert end.reasons[0].startswith("the connection broke")
        assert log == []

    def test_a_peer_that_leaves_in_the_middle_of_a_frame_is_told_as_such(self, world: TransportHarness) -> None:
        self.pair(world)
        stranger = world.dial_with_bytes()
        stranger.write(encode(b"half")[:-2])
        world.settle()
        stranger.lose()
        world.settle()
        assert world.accepted[-1].reasons == ["closed by the peer in the middle of a frame"]

    def test_a_peer_that_does_not_take_the_closing_is_cut_off(self, world: TransportHarness) -> None:
        near, far = self.pair(world, close_timeout=15.0)
        near.end.pause_reading()
        far.end.send(b"q" * 300_000)
        far.end.close()
        world.settle()
        assert far.reasons == []
        world.clock.advance(15)
        near.end.resume_reading()
        world.settle()
        assert far.reasons == ["closed here"]

    # Bad peers. The others must not notice.

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"GET / HTTP/1.1\r\n", "protocol error: expected a frame header of 12 digits and a blank, got b'GET / "),
            (b"\x00\xff\n", "protocol error: expected a frame header of 12 digits and a blank, got "),
            (b"966367641600 x", "protocol error: a frame of 966367641600 bytes was announced, the limit is 1048576"),
        ],
    )
    def test_garbage_ends_its_connection_only_and_is_logged_once(
        self, world: TransportHarness, log: list[str], data: bytes, reason: str
    ) -> None:
        near, far = self.pair(world)
        stranger = world.dial_with_bytes()
        stranger.write(encode(b"fine") + data)
        stranger.write(b"more " * 100)
        world.settle()
        bad = world.accepted[-1]
        assert bad.payloads == [b"fine"]
        assert len(bad.reasons) == 1
        assert bad.reasons[0].startswith(reason)
        assert stranger.lost
        assert len(log) == 1
        assert log[0].startswith(f"dropped {world.host}:")
        assert reason in log[0]
        self.assert_unharmed(world, near, far)

    def test_half_a_frame_and_then_silence_is_dropped_after_the_frame_timeout(
        self, world: TransportHarness, log: list[str]
    ) -> None:
        near, far = self.pair(world, frame_timeout=60.0)
        stranger = world.dial_with_bytes()
        stranger.write(encode(b"whole") + encode(b"half")[:-1])
        world.settle()
        world.clock.advance(59.9)
        world.settle()
        assert not stranger.lost
        world.clock.advance(0.1)
        world.settle()
        assert stranger.lost
        assert world.accepted[-1].reasons == ["silent in the middle of a frame for 60 s"]
        assert len(log) == 1
        self.assert_unharmed(world, near, far)

    def test_silence_between_frames_is_no_offence(self, world: TransportHarness, log: list[str]) -> None:
        near, far = self.pair(world, frame_timeout=60.0)
        near.end.send(b"word")
        world.settle()
        world.clock.advance(86400)
        self.assert_unharmed(world, near, far)
        assert log == []

    def test_a_trickle_does_not_renew_a_frames_time_but_64_kib_do(self, world: TransportHarness) -> None:
        self.pair(world, frame_timeout=60.0)
        honest, trickling = world.dial_with_bytes(), world.dial_with_bytes()
        for stranger in (honest, trickling):
            stranger.write(b"%012d " % LIMIT)
        world.settle()
        for _ in range(3):
            world.clock.advance(40)
            honest.write(b"h" * 65536)
            trickling.write(b"t")
            world.settle()
        assert not honest.lost
        assert trickling.lost

    def test_each_frame_has_its_own_time(self, world: TransportHarness) -> None:
        self.pair(world, frame_timeout=60.0)
        stranger = world.dial_with_bytes()
        stranger.write(b"0")
        for _ in range(5):
            world.settle()
            world.clock.advance(50)
            stranger.write(encode(b"on time")[1:] + b"0")
        world.settle()
        assert world.accepted[-1].payloads == [b"on time"] * 5
        assert not stranger.lost

    def test_many_bad_peers_gets_few_lines_in_the_log(self, world: TransportHarness, log: list[str]) -> None:
        near, far = self.pair(world)
        for _ in range(50):
            world.dial_with_bytes().write(b"garbage")
        world.settle()
        assert len(log) == 20
        world.clock.advance(10)
        assert log[20:] == ["dropped 30 more within 10 s"]
        self.assert_unharmed(world, near, far)

    # Dialling

    def test_dialling_where_nothing_listens_fails_with_one_line(self, world: TransportHarness) -> None:
        receiver = Recorder()
        (failure,) = outcome(world.dial(receiver))
        assert failure.check(TransportError)
        said = failure.getErrorMessage()
        assert said.startswith("cannot connect: ")
        assert not said.endswith(".")
        assert "111" not in said
        assert receiver.connection is None

    @staticmethod
    def assert_unharmed(world: TransportHarness, near: Recorder, far: Recorder) -> None:
        before = len(far.payloads), len(near.payloads)
        near.end.send(b"still")
        far.end.send(b"here")
        world.settle()
        assert far.payloads[before[0] :] == [b"still"]
        assert near.payloads[before[1] :] == [b"here"]


class AuthenticatedContract:
    """Of a transport that has a handshake in which both sides prove who they are."""

    world: Any
    pair: Any
    assert_unharmed: Any

    @pytest.mark.parametrize("kind", ["foreign", "without certificate", "expired", "malformed identity"])
    def test_a_peer_that_cannot_prove_who_it_is_is_dropped(self, world: Any, log: list[str], kind: str) -> None:
        near, far = self.pair(world)
        reasons = world.dial_badly(kind)
        world.settle()
        assert len(world.accepted) == 1
        assert len(reasons) == 1, "the dialling side was not notified, or twice"
        assert len(log) == 1
        assert world.complaints[kind] in log[0]
        self.assert_unharmed(world, near, far)

    def test_a_renegotiation_is_refused(self, world: Any) -> None:
        near, far = self.pair(world)
        peer = world.dial_to_renegotiate()
        world.settle()
        peer.write(encode(b"before"))
        world.settle()
        tls = peer._end._tlsConnection
        assert tls.get_protocol_version_name() == "TLSv1.2"
        assert tls.renegotiate()
        with suppress(SSL.WantReadError):
            tls.do_handshake()
        peer._end._flushSendBIO()
        world.settle()
        assert world.accepted[-1].payloads == [b"before"]
        assert peer.lost
        assert len(world.accepted[-1].reasons) == 1
        self.assert_unharmed(world, near, far)

    def test_keys_can_be_renewed_now_and_then(self, world: Any, tmp_path: Any) -> None:
        self.pair(world)
        peer = world.dial_to_renew_keys(tmp_path)
        world.settle()
        sent = [b"%d" % number * 10_000 for number in range(10)]
        for number, payload in enumerate(sent):
            peer.renew_keys(number % 2)
            peer.write(encode(payload))
            world.settle()
        assert world.accepted[-1].payloads == sent
        world.accepted[-1].end.close()
        world.settle()
        peer.free()

    def test_a_flood_of_new_keys_costs_no_memory_and_no_other_peer(self, world: Any, tmp_path: Any) -> None:
        near, far = self.pair(world)
        peer = world.dial_to_renew_keys(tmp_path)
        world.settle()
        for _ in range(300):
            for _ in range(10):
                if not peer.lost:
                    peer.renew_keys(1)
            world.settle()
        assert peer.lost == world.cuts_off_floods_of_keys
        assert world.waiting() < 1 << 16
        self.assert_unharmed(world, near, far)
        world.accepted[-1].end.abort()
        world.settle()
        peer.free()

    def test_a_listener_of_another_authority_is_refused(self, world: Any) -> None:
        world.listen()
        receiver = Recorder()
        result = outcome(world.dial(receiver, trusting="another"))
        world.settle()
        assert result[0].check(TransportError)
        assert "its certificate was refused" in result[0].getErrorMessage()
        assert receiver.connection is None
        assert world.accepted == []
        assert world.factory.failed_handshakes == {"certificate": 1}

    def test_a_listener_without_the_expected_identity_is_refused(self, world: Any) -> None:
        world.listen()
        receiver = Recorder()
        result = outcome(world.dial(receiver, expected="another"))
        world.settle()
        assert "expected a certificate of mu:role/rendezvous, got mu:role/coordinator" in str(result[0].value)
        assert receiver.connection is None

    @pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"hello?" * 10, encode(b"OK:HELLO"), b"\x16\x03\x01"])
    def test_who_skips_the_handshake_is_dropped(self, world: Any, log: list[str], data: bytes) -> None:
        near, far = self.pair(world)
        stranger = world.dial_bare()
        stranger.write(data)
        world.settle()
        world.clock.advance(10)
        world.settle()
        assert stranger.lost
        assert len(world.accepted) == 1
        assert len(log) == 1
        self.assert_unharmed(world, near, far)

    def test_who_is_slow_with_the_handshake_is_dropped(self, world: Any, log: list[str]) -> None:
        near, far = self.pair(world, handshake_timeout=10.0)
        stranger = world.dial_bare()
        world.settle()
        world.clock.advance(9.9)
        world.settle()
        assert not stranger.lost
        world.clock.advance(0.1)
        world.settle()
        assert stranger.lost
        assert log == [f"dropped {world.host}:{stranger.port}: no TLS handshake within 10 s"]
        assert world.factory.failed_handshakes == {"timeout": 1}
        self.assert_unharmed(world, near, far)

    def test_who_leaves_during_the_handshake_is_logged(self, world: Any, log: list[str]) -> None:
        self.pair(world)
        stranger = world.dial_bare()
        stranger.lose()
        world.settle()
        assert len(log) == 1
        assert "during the TLS handshake" in log[0]
        assert world.factory.failed_handshakes == {"closed": 1}

    def test_a_dialling_side_gives_up_when_the_handshake_takes_too_long(self, world: Any, log: list[str]) -> None:
        world.listen(handshake_timeout=99.0)
        receiver = Recorder()
        result = outcome(world.dial(receiver))
        world.clock.advance(10)
        world.settle()
        assert result[0].check(TransportError)
        there = f"{world.listens_at}:{world.port}"
        assert str(result[0].value) == f"cannot connect to {there}: no TLS handshake within 10 s"

    def test_dialling_can_be_cancelled(self, world: Any) -> None:
        world.listen()
        receiver = Recorder()
        dialling = world.dial(receiver)
        result = outcome(dialling)
        dialling.cancel()
        world.settle()
        assert len(result) == 1
        assert receiver.connection is None

    def test_handshakes_in_progress_are_bounded_and_the_rest_waits(self, world: Any, log: list[str]) -> None:
        world.listen(max_handshakes=16)
        strangers = [world.dial_bare() for _ in range(20)]
        waiting = Recorder()
        result = outcome(world.dial(waiting))
        world.settle()
        assert world.handshakes() == 16
        assert result == []
        for stranger in strangers:
            stranger.lose()
        world.settle()
        assert world.handshakes() == 0
        assert result == [waiting.connection]

    def test_beyond_the_bound_connections_are_refused_where_the_port_cannot_wait(
        self, world: Any, log: list[str]
    ) -> None:
        world.listen(max_handshakes=4, pausable=False)
        strangers = [world.dial_bare() for _ in range(6)]
        assert [stranger.lost for stranger in strangers] == [False] * 4 + [True] * 2
        assert world.handshakes() == 4
        assert len(log) == 2
        assert log[0].endswith(": 4 TLS handshakes are in progress already")
        assert world.factory.failed_handshakes == {"full": 2}
