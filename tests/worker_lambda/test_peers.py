"""The peer channel: opening, identity, closing, refusals and loss, with a rendezvous by hand."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mu_twisted.wire import FULL
from mu_twisted.wire import state_message as state

Pair = Callable[..., tuple]  # talk and worker


def where(relay: Any, text: str = "hello") -> bytes:
    return f"127.0.0.1:{relay.port}:{text}".encode()


def connect(talk: Any, relay: Any, text: str = "hello") -> Any:
    """Have a worker dial a relay; the relay's end of it."""
    argument = where(relay, text)
    assert talk.ask(b"connect:" + argument) == b"OK:CONNECT(" + argument + b")"
    peer = relay.accept()
    if text:
        assert peer.hear() == text.encode()
    return peer


def is_silent(talk: Any) -> bool:
    """Whether nothing has been said: what is asked now is answered next, though the loop had its turns."""
    return all(talk.ask(b"run:true").startswith(b"OK:RETVAL(0)") for _ in range(2))


@pytest.fixture
def relay(make_coordinator: Callable[..., Any]) -> Any:
    return make_coordinator()


@pytest.fixture
def tls_pair(tls_coordinator: Any, start: Callable, keys: Any, event: Callable) -> Pair:
    """As ``pair``, over TLS."""

    def dialled(**more: Any) -> tuple:
        worker = start(event(tls_coordinator, **keys.event(), **more))
        talk = tls_coordinator.accept()
        assert talk.hear().startswith(b"OK:HELLO")
        return talk, worker

    return dialled


# -- opening -----------------------------------------------------------------------------------------------------------


def test_the_reply_comes_before_the_handshake_and_the_text_waits_for_it(
    tls_pair: Pair, make_coordinator: Callable, keys: Any
) -> None:
    talk, _ = tls_pair(job="j")
    relay = make_coordinator(keys.rendezvous)
    with socket.create_server(("127.0.0.1", 0)) as front:  # takes the connection, and shakes no hands yet
        argument = f"127.0.0.1:{front.getsockname()[1]}:hello".encode()
        assert talk.ask(b"connect:" + argument) == b"OK:CONNECT(" + argument + b")"
        sock, _ = front.accept()
        peer = relay.adopt(sock)
        assert peer.hear() == b"hello"


def test_nothing_is_sent_where_the_text_is_empty(pair: Pair, relay: Any) -> None:
    talk, _ = pair(job="j")
    peer = connect(talk, relay, "")
    talk.say(b"close_connect:")
    with pytest.raises(EOFError):
        peer.hear()


def test_a_second_connect_fails_while_one_is_open(pair: Pair, relay: Any) -> None:
    talk, _ = pair()
    peer = connect(talk, relay)
    reply = talk.ask(b"connect:" + where(relay))
    assert reply == f"FAIL(already connected to 127.0.0.1:{relay.port}: close_connect: comes first)".encode()
    talk.say(b"close_connect:")
    assert talk.hear() == b"OK:CLOSE_CONNECT"
    with pytest.raises(EOFError):
        peer.hear()
    connect(talk, relay, "again")


def test_an_address_of_ipv6_stands_in_brackets(tls_pair: Pair, make_coordinator: Callable, keys: Any) -> None:
    try:
        relay = make_coordinator(keys.rendezvous, host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    talk, _ = tls_pair(job="j")
    argument = f"[::1]:{relay.port}:a:b".encode()
    assert talk.ask(b"connect:" + argument) == b"OK:CONNECT(" + argument + b")"
    assert relay.accept().hear() == b"a:b"


@pytest.mark.parametrize(
    "argument",
    [b"", b"h", b"h:80", b":80:t", b"h:x:t", b"h:0:t", b"h:65536:t", b"::1:80:t", b"[::1]80:t", b"[]:80:t"],
)
def test_what_is_no_address_fails(pair: Pair, argument: bytes) -> None:
    talk, _ = pair()
    assert talk.ask(b"connect:" + argument).startswith(b"FAIL(")
    assert talk.ask(b"echo:up") == b"OK:ECHO(up)"


@pytest.mark.parametrize("host", [b"a" * 300, b"\xff\xfe", b"no\0where", b"a..b", b"\n"])
def test_what_is_no_name_of_a_host_fails_on_one_line(pair: Pair, host: bytes) -> None:
    talk, _ = pair()
    reply = talk.ask(b"connect:" + host + b":80:t")
    assert reply.startswith(b"FAIL(")
    assert b"\n" not in reply


def test_without_tls_only_loopback_is_dialled(pair: Pair) -> None:
    talk, _ = pair(job="j")
    reply = talk.ask(b"connect:192.0.2.1:80:t")
    assert b"without TLS only loopback can be dialled" in reply


def test_commands_wait_for_the_connection_and_kill_gives_it_up(pair: Pair) -> None:
    talk, _ = pair(nonblock=1)
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # so that the next one gets no answer
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(full.getsockname())
        talk.say(b"connect:127.0.0.1:%d:t" % full.getsockname()[1], b"echo:later", b"ping:1")
        assert talk.hear() == b"OK:PONG(1)"
        talk.say(b"kill:")
        assert talk.hear() == b"FAIL(it was killed)"
        assert talk.hear() == b"OK:KILL(0)"
        assert talk.ask(b"echo:now") == b"OK:ECHO(now)"


# -- who is who --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", ["coordinator", "without_identity", "launch"])
def test_only_a_rendezvous_certificate_is_accepted_for_a_job(
    tls_pair: Pair, make_coordinator: Callable, keys: Any, shown: str
) -> None:
    talk, _ = tls_pair(job="j")
    relay = make_coordinator(getattr(keys, shown))
    assert talk.ask(b"connect:" + where(relay)) == b"OK:CONNECT(" + where(relay) + b")"
    with pytest.raises((EOFError, OSError)):
        relay.accept().hear()
    reply = talk.hear()
    assert reply.startswith(f"FAIL(the peer channel to 127.0.0.1:{relay.port} was lost: ".encode())
    assert b"not a rendezvous's: expected mu:role/rendezvous, got " in reply
    good = make_coordinator(keys.rendezvous)
    connect(talk, good)


def test_without_a_job_any_certificate_of_the_authority_will_do_and_no_other(
    tls_pair: Pair, make_coordinator: Callable, keys: Any
) -> None:
    talk, worker = tls_pair()
    foreign = make_coordinator(type(keys)().rendezvous)
    assert talk.ask(b"connect:" + where(foreign)).startswith(b"OK:CONNECT(")
    with pytest.raises((EOFError, OSError)):
        foreign.accept().hear()
    assert is_silent(talk)
    connect(talk, make_coordinator(keys.without_identity))
    talk.close()
    result, log = worker.result()
    assert result == {"ended": "closed by the coordinator"}
    assert "is not trusted" in log


def shown_by(peer: Any) -> set[str]:
    return {str(value) for _, value in peer.sock.getpeercert()["subjectAltName"]}


def test_an_identity_is_shown_from_then_on_until_the_reset(
    tls_pair: Pair, make_coordinator: Callable, keys: Any
) -> None:
    talk, _ = tls_pair(job="j")
    relay = make_coordinator(keys.rendezvous)
    peer = connect(talk, relay)
    assert shown_by(peer) == {"mu:job/j/launch"}
    given = keys.task(3, attempt=2)
    assert talk.ask(b"identity:" + given) == b"OK:IDENTITY"
    talk.say(b"close_connect:")
    with pytest.raises(EOFError):
        peer.hear()
    peer.goodbye()
    assert talk.hear() == b"OK:CLOSE_CONNECT"
    assert shown_by(connect(talk, relay)) == {"mu:job/j/task/3/attempt/2"}
    dump = talk.ask(b"dump_vals:")
    assert not any(part in dump for part in given.split())
    assert talk.ask(b"get:identity").startswith(b"FAIL(")
    assert talk.ask(b"reset:").startswith(b"OK:HELLO")
    assert shown_by(connect(talk, relay)) == {"mu:job/j/launch"}


def test_a_chain_is_shown_whole(tls_pair: Pair, make_coordinator: Callable, keys: Any) -> None:
    talk, _ = tls_pair(job="j")
    certificate, _, key = keys.task(1).partition(b" ")
    chain = b" ".join((certificate, keys.event()["cacert"].encode(), key))
    assert talk.ask(b"identity:" + chain) == b"OK:IDENTITY"
    assert shown_by(connect(talk, make_coordinator(keys.rendezvous))) == {"mu:job/j/task/1/attempt/1"}


def test_an_identity_that_cannot_be_used_fails_and_shows_nothing_of_it(tls_pair: Pair, keys: Any) -> None:
    talk, worker = tls_pair(job="j")
    certificate, _, key = keys.task(1).partition(b" ")
    other = keys.task(2).partition(b" ")[2]
    for argument in (b"", certificate, key, certificate + b" !" + key, key + b" " + certificate, b"\xff " + key):
        reply = talk.ask(b"identity:" + argument)
        assert reply.startswith(b"FAIL(")
        assert key[-60:] not in reply
    assert b"no certificate and its key" in talk.ask(b"identity:" + certificate + b" " + other)
    folder = next(worker.temporary.iterdir())
    assert list(folder.iterdir()) == []


def test_without_tls_an_identity_is_refused(pair: Pair, keys: Any) -> None:
    talk, _ = pair(job="j")
    assert talk.ask(b"identity:" + keys.task(1)).startswith(b"FAIL(the event has no cacert: ")


# -- closing -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["plain", "tls"])
def opened(request: pytest.FixtureRequest, make_coordinator: Callable, keys: Any) -> tuple:
    """The coordinator's talk with a worker of a job, and the rendezvous's."""
    with_tls = request.param == "tls"
    talk, worker = request.getfixturevalue("tls_pair" if with_tls else "pair")(job="j")
    return talk, connect(talk, make_coordinator(keys.rendezvous if with_tls else None)), worker


def test_a_close_is_answered_once_the_rendezvous_has_read_all_and_closed(opened: tuple) -> None:
    talk, peer, _ = opened
    talk.say(b"close_connect:", b"echo:after", b"ping:1")
    assert talk.hear() == b"OK:PONG(1)"
    with pytest.raises(EOFError):
        peer.hear()
    assert talk.ask(b"ping:2") == b"OK:PONG(2)"  # and no other reply
    peer.goodbye()
    assert talk.hear() == b"OK:CLOSE_CONNECT"
    assert talk.hear() == b"OK:ECHO(after)"
    assert talk.ask(b"close_connect:") == b"OK:CLOSE_CONNECT"


def test_a_connection_that_breaks_while_it_is_closed_confirms_nothing(opened: tuple) -> None:
    talk, peer, _ = opened
    talk.say(b"close_connect:")
    with pytest.raises(EOFError):
        peer.hear()
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    assert talk.hear().startswith(b"FAIL(the peer channel to ")
    assert talk.ask(b"echo:up") == b"OK:ECHO(up)"


def test_an_end_of_tls_without_goodbye_confirms_nothing(tls_pair: Pair, make_coordinator: Callable, keys: Any) -> None:
    talk, _ = tls_pair(job="j")
    peer = connect(talk, make_coordinator(keys.rendezvous))
    talk.say(b"close_connect:")
    with pytest.raises(EOFError):
        peer.hear()
    peer.close()
    assert talk.hear().endswith(b" was lost: closed by the rendezvous)")


def test_a_rendezvous_that_does_not_confirm_is_waited_for_so_long(
    here: Callable, coordinator: Any, relay: Any, event: Callable
) -> None:
    worker = here(event(coordinator, job="j"), confirm=0.3)
    talk = coordinator.accept()
    talk.hear()
    connect(talk, relay)
    reply = talk.ask(b"close_connect:")
    assert reply.startswith(f"FAIL(the peer channel to 127.0.0.1:{relay.port} was lost: ".encode())
    assert reply.endswith(b"the rendezvous has not confirmed what it was sent for 0.3 s)")
    talk.say(b"quit:")
    worker.result()


def test_a_message_that_finds_no_room_fails_the_close_too(opened: tuple) -> None:
    talk, peer, _ = opened
    talk.say(b"close_connect:")
    with pytest.raises(EOFError):
        peer.hear()
    peer.say(FULL)
    peer.goodbye()
    assert talk.hear() == b"FAIL(rendezvous: FULL)"
    assert talk.ask(b"echo:up") == b"OK:ECHO(up)"


def test_kill_gives_a_close_up(opened: tuple) -> None:
    talk, peer, _ = opened
    talk.say(b"close_connect:", b"ping:1")
    assert talk.hear() == b"OK:PONG(1)"
    with pytest.raises(EOFError):
        peer.hear()
    talk.say(b"kill:")
    assert talk.hear() == b"FAIL(it was killed)"
    assert talk.hear() == b"OK:KILL(0)"


def test_without_a_job_a_close_is_answered_at_once(pair: Pair, relay: Any) -> None:
    talk, _ = pair()
    peer = connect(talk, relay)
    for number in range(6):
        assert talk.ask(b"close_connect:") == b"OK:CLOSE_CONNECT"
        peer = connect(talk, relay, str(number))  # though the other side has not closed the last one
    assert talk.ask(b"echo:up") == b"OK:ECHO(up)"
    talk.close()
    with pytest.raises(EOFError):
        peer.hear()


# -- refusals and loss -------------------------------------------------------------------------------------------------


def test_a_refusal_is_told_once_in_the_words_of_the_rendezvous(opened: tuple) -> None:
    talk, peer, _ = opened
    peer.say(b"FAIL(attempt 1 of task 3 is stale:\n there is attempt 2)", b"FAIL(again)")
    peer.goodbye()
    assert talk.hear() == b"FAIL(rendezvous: attempt 1 of task 3 is stale: there is attempt 2)"
    assert is_silent(talk)


def test_a_sender_whose_message_finds_no_room_is_told(opened: tuple) -> None:
    talk, peer, _ = opened
    peer.say(FULL)
    assert talk.hear() == b"FAIL(rendezvous: FULL)"
    with pytest.raises(EOFError):
        peer.hear()


def test_a_lost_channel_is_told_at_once_also_while_a_program_runs(opened: tuple) -> None:
    talk, peer, _ = opened
    talk.say(b"run:sleep 600", b"ping:1")
    assert talk.hear() == b"OK:PONG(1)"
    peer.goodbye()
    reply = talk.hear()
    assert reply.startswith(b"FAIL(the peer channel to 127.0.0.1:")
    assert reply.endswith(b" was lost: closed by the rendezvous)")
    talk.say(b"kill:")
    assert talk.hear().startswith(b"OK:RETVAL(-9)")


def test_garbage_from_the_rendezvous_loses_the_channel_and_nothing_else(opened: tuple) -> None:
    talk, peer, _ = opened
    peer.sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert b" was lost: protocol error: expected a frame header" in talk.hear()
    assert talk.ask(b"echo:up") == b"OK:ECHO(up)"


def test_a_message_larger_than_may_be_is_not_waited_for(pair: Pair, relay: Any) -> None:
    talk, _ = pair(job="j")
    connect(talk, relay).sock.sendall(b"%012d " % ((64 << 20) + 1))
    assert b" was lost: protocol error: a frame of " in talk.hear()


def test_without_a_job_refusals_are_no_messages_and_a_loss_is_not_told(pair: Pair, relay: Any) -> None:
    talk, _ = pair()
    peer = connect(talk, relay)
    peer.say(FULL, b"FAIL(x)")
    assert talk.hear().startswith(b"INFO:peer_error:")
    assert talk.hear().startswith(b"INFO:peer_error:")
    peer.close()
    assert is_silent(talk)
    connect(talk, relay)


def test_a_rendezvous_that_takes_nothing_is_lost(here: Callable, coordinator: Any, relay: Any, event: Callable) -> None:
    worker = here(event(coordinator, job="j", bg_silent=1, nonblock=1, send_statefile=1), stall=0.3)
    talk = coordinator.accept()
    talk.hear()
    connect(talk, relay)
    talk.say(
        b"seti:produces_state:1", b"run:cd ##TMPDIR## && touch output.ivf && head -c 20000000 /dev/urandom >final.state"
    )
    assert talk.hear() == b"OK:SETI(produces_state)"
    assert talk.hear().startswith(b"OK:RETVAL(0)")
    assert talk.hear().endswith(b" was lost: the rendezvous has taken nothing of what it was sent for 0.3 s)")
    talk.say(b"quit:")
    worker.result()


# -- the coordinator goes ----------------------------------------------------------------------------------------------


def test_the_channel_outlives_a_lost_coordinator(
    here: Callable, coordinator: Any, relay: Any, event: Callable, tmp_path: Path
) -> None:
    worker = here(event(coordinator, job="j", expect_statefile=1))
    talk = coordinator.accept()
    talk.hear()
    peer = connect(talk, relay)
    talk.say(b"seti:run_iter:1", b"run:##INSTATEWAIT## cat; cat ##TMPDIR##/0.state", b"ping:1")
    assert {talk.hear(), talk.hear()} == {b"OK:SETI(run_iter)", b"OK:PONG(1)"}
    talk.close()
    peer.say(state(0, b"while you were out"))
    again = coordinator.accept()
    assert again.hear().startswith(b"OK:HELLO:")
    assert b"hi\nwhile you were out):COMMAND" in again.hear()
    again.say(b"quit:")
    assert worker.result() == {"ended": "the coordinator said quit"}


def test_the_channel_ends_with_a_worker_whose_coordinator_stays_away(
    here: Callable, make_coordinator: Callable, relay: Any, event: Callable
) -> None:
    coordinator = make_coordinator()
    worker = here(event(coordinator, job="j", orphan_timeout=0.4))
    talk = coordinator.accept()
    talk.hear()
    peer = connect(talk, relay)
    coordinator.close()
    with pytest.raises(EOFError):
        peer.hear()
    assert worker.result()["error"].startswith("lost the coordinator")


def test_a_loss_while_the_coordinator_is_away_is_told_when_it_is_back(
    here: Callable, coordinator: Any, relay: Any, event: Callable
) -> None:
    worker = here(event(coordinator, job="j"), redial=0.4)
    talk = coordinator.accept()
    talk.hear()
    peer = connect(talk, relay)
    talk.close()
    peer.close()
    again = coordinator.accept()
    assert again.hear().startswith(b"OK:HELLO:")
    assert b" was lost: closed by the rendezvous)" in again.hear()
    again.say(b"quit:")
    worker.result()


def test_without_a_job_the_worker_ends_with_its_coordinator_in_any_case(pair: Pair, relay: Any) -> None:
    talk, worker = pair()
    peer = connect(talk, relay)
    talk.close()
    with pytest.raises(EOFError):
        peer.hear()
    assert worker.result()[0] == {"ended": "closed by the coordinator"}
