"""States that travel: in from a neighbour, out to the next one, with a rendezvous by hand."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mu_twisted.wire import encode, is_fail, parse_state
from mu_twisted.wire import state_message as state

Pair = Callable[..., tuple]  # talk and worker
PRODUCE = b"run:cd ##TMPDIR## && echo %b >output.ivf && echo %b >final.state"


@pytest.fixture
def relay(make_coordinator: Callable[..., Any]) -> Any:
    return make_coordinator()


@pytest.fixture
def peered(pair: Pair, relay: Any) -> Callable[..., tuple]:
    """A worker of a job whose channel is open: the coordinator's talk with it, and the rendezvous's."""

    def opened(**more: Any) -> tuple:
        talk, worker = pair(**{"job": "j", "bg_silent": 1, **more})
        return talk, connect(talk, relay), worker

    return opened


def connect(talk: Any, relay: Any) -> Any:
    assert talk.ask(b"connect:127.0.0.1:%d:hello" % relay.port).startswith(b"OK:CONNECT(")
    peer = relay.accept()
    assert peer.hear() == b"hello"
    return peer


def flushed(talk: Any, peer: Any) -> list[bytes]:
    """What the worker says of all messages that it has been sent, the channel being closed behind them."""
    talk.say(b"close_connect:")
    with pytest.raises(EOFError):
        peer.hear()
    peer.goodbye()
    said = []
    while (reply := talk.hear()) != b"OK:CLOSE_CONNECT":
        said.append(reply)
    return said


def output(talk: Any, command: bytes) -> bytes:
    """What a command prints."""
    reply: bytes = talk.ask(b"run:" + command)
    assert reply.startswith(b"OK:RETVAL("), reply
    return reply.partition(b":OUTPUT(")[2].rpartition(b"):COMMAND(")[0]


def wait_for(talk: Any, name: bytes) -> None:
    """Until a file is there."""
    output(talk, b"until [ -f ##TMPDIR##/%b ]; do sleep 0.02; done" % name)


# -- in ----------------------------------------------------------------------------------------------------------------


def test_all_messages_of_one_read_are_written(peered: Callable) -> None:
    talk, peer, _ = peered()
    peer.say(*[state(number, b"s%d\n" % number) for number in range(300)])
    wait_for(talk, b"299.state")
    listed = output(talk, b"cd ##TMPDIR##; ls -A | wc -l; cat 0.state 299.state")
    assert listed == b"300\ns0\ns299\n"


def test_a_state_that_comes_in_pieces_is_there_only_when_it_is_whole(peered: Callable) -> None:
    talk, peer, _ = peered()
    frame = encode(state(0, os.urandom(100_000)))
    for at in range(0, len(frame) - 1, 20_000):
        peer.sock.sendall(frame[at : min(at + 20_000, len(frame) - 1)])
        assert output(talk, b"ls -A ##TMPDIR##") == b""
    peer.sock.sendall(frame[-1:])
    wait_for(talk, b"0.state")
    assert output(talk, b"cat ##TMPDIR##/0.state | wc -c") == b"100000\n"


def test_of_a_message_that_breaks_off_nothing_is_left(peered: Callable) -> None:
    talk, peer, _ = peered()
    peer.sock.sendall(encode(state(0, os.urandom(100_000)))[:-1])
    peer.close()
    assert talk.hear().endswith(b" was lost: closed by the rendezvous)")
    assert output(talk, b"ls -A ##TMPDIR##") == b""


def test_the_same_state_again_is_passed_over_and_another_one_fails_the_task(peered: Callable) -> None:
    talk, peer, _ = peered()
    peer.say(state(4, b"first"))
    wait_for(talk, b"4.state")
    assert output(talk, b"cd ##TMPDIR##; cat 4.state; rm 4.state") == b"first"  # used: the run deletes it
    peer.say(state(4, b"first"), state(5, b"next"))
    wait_for(talk, b"5.state")
    assert output(talk, b"ls ##TMPDIR##") == b"5.state\n"
    peer.say(state(5, b"other"))
    reply = talk.hear()
    assert reply.startswith(b"FAIL(STATE(5) came again with other bytes: ")
    assert b"not deterministic" in reply
    assert output(talk, b"cat ##TMPDIR##/5.state") == b"next"


def test_after_a_new_connection_the_first_is_still_kept(peered: Callable, relay: Any) -> None:
    talk, peer, _ = peered()
    peer.say(state(1, b"first"))
    wait_for(talk, b"1.state")
    peer.close()
    assert is_fail(talk.hear())
    again = connect(talk, relay)
    again.say(state(1, b"first"), state(1, b"other"))
    assert talk.hear().startswith(b"FAIL(STATE(1) came again")


def test_nothing_of_a_task_is_left_after_the_reset(peered: Callable, relay: Any) -> None:
    talk, peer, worker = peered()
    peer.say(state(1, b"old"))
    wait_for(talk, b"1.state")
    peer.say(*[state(2, os.urandom(3_000_000)) for _ in range(4)])
    talk.say(b"reset:")
    while not talk.hear().startswith(b"OK:HELLO"):
        pass
    with pytest.raises((EOFError, ConnectionResetError)):
        peer.hear()
    again = connect(talk, relay)
    again.say(state(1, b"new"))
    wait_for(talk, b"1.state")
    assert output(talk, b"cd ##TMPDIR##; ls -A; cat 1.state") == b"1.state\nnew"
    assert flushed(talk, again) == []
    assert len(list(worker.temporary.iterdir())) == 1


def test_what_is_no_state_is_dropped_and_told(peered: Callable) -> None:
    talk, peer, _ = peered()
    bad = [b"", b"STATE(1)", b"STATE(x):", b"STATE(-1):", b"STATE(1):\xff", state(1, b"x" * 99)[:-1], b"STATE(../1):x"]
    peer.say(*bad, state(0, b"good"))
    said = [talk.hear() for _ in bad]
    assert all(each.startswith(b"INFO:peer_error:a message of a peer was dropped: ") for each in said)
    wait_for(talk, b"0.state")
    assert output(talk, b"ls -A ##TMPDIR##") == b"0.state\n"


def test_a_neighbour_that_sends_only_rubbish_does_not_drown_the_rest(peered: Callable) -> None:
    talk, peer, _ = peered()
    peer.say(*[b"rubbish"] * 5000, state(0, b"a"), state(0, b"b"))
    said = flushed(talk, peer)
    assert len(said) == 17
    assert is_fail(said[-1])


def test_a_state_that_cannot_be_written_fails_and_leaves_nothing(peered: Callable) -> None:
    talk, peer, _ = peered()
    assert output(talk, b"mkdir ##TMPDIR##/3.state") == b""
    peer.say(state(3, b"x"))
    assert talk.hear() == b"FAIL(STATE(3) could not be written: Is a directory)"
    assert output(talk, b"ls -A ##TMPDIR##") == b"3.state\n"


def test_messages_that_come_faster_than_they_are_written_take_bounded_memory(peered: Callable) -> None:
    talk, peer, worker = peered()
    body = state(0, os.urandom(8_000_000)).removeprefix(b"STATE(0):")
    for number in range(20):
        peer.say(b"STATE(%d):%b" % (number, body))
    wait_for(talk, b"19.state")
    assert talk.ask(b"ping:1") == b"OK:PONG(1)"
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    assert int(status.split("VmHWM:")[1].split()[0]) < 120_000  # kB; all together have 160,000


def test_a_program_that_waits_for_a_state_ends_when_it_is_killed(peered: Callable) -> None:
    talk, _, _ = peered(expect_statefile=1)
    talk.say(b"seti:run_iter:1", b"run:##INSTATEWAIT## cat", b"ping:1")
    assert {talk.hear(), talk.hear()} == {b"OK:SETI(run_iter)", b"OK:PONG(1)"}
    talk.say(b"kill:")
    assert talk.hear().startswith(b"OK:RETVAL(-9):OUTPUT():COMMAND(sh -c 'until [ -f ")
    assert talk.hear() == b"OK:KILL(1)"


# -- out ---------------------------------------------------------------------------------------------------------------


def test_a_marked_run_sends_its_state_with_the_values_of_its_start(peered: Callable) -> None:
    talk, peer, _ = peered(nonblock=1, send_statefile=1)
    talk.say(b"seti:produces_state:1", b"seti:run_iter:3")
    talk.say(
        b"run:cd ##TMPDIR## && touch 1.state 2.state && echo ivf >output.ivf && echo st >final.state;"
        b"until [ -f go ]; do sleep 0.02; done",
        *(b"seti:run_iter:9", b"seti:send_statefile:0", b"seti:produces_state:0"),
    )
    for _ in range(5):
        assert talk.hear().startswith(b"OK:SETI(")
    talk.say(b"run:touch ##TMPDIR##/go")
    for _ in range(2):
        assert talk.hear().startswith(b"OK:RETVAL(0)")
    assert parse_state(peer.hear(), 100) == (3, b"st\n")
    assert (
        output(talk, b"cd ##TMPDIR##; ls -A; cat prev.ivf") == b"2.state\nfinal.state\ngo\noutput.ivf\nprev.ivf\nivf\n"
    )


@pytest.mark.parametrize("program", [b"xc-enc", b"xc-dump", b"xc-terminate-chunk"])
def test_for_states_of_the_original_the_text_of_a_command_marks_its_run(peered: Callable, program: bytes) -> None:
    talk, peer, _ = peered(send_statefile=1)
    assert talk.ask(b"seti:run_iter:2") == b"OK:SETI(run_iter)"
    assert output(talk, PRODUCE[4:] % (b"encoded", program)) == b""
    assert parse_state(peer.hear(), 100) == (2, program + b"\n")
    assert output(talk, b"cat ##TMPDIR##/prev.ivf") == b"encoded\n"


@pytest.mark.parametrize("value", [b"0", b"1"])
def test_once_it_is_said_which_runs_make_a_state_the_text_marks_nothing(peered: Callable, value: bytes) -> None:
    talk, peer, _ = peered(send_statefile=1)
    for said in (value, b"0"):
        assert talk.ask(b"seti:produces_state:" + said) == b"OK:SETI(produces_state)"
    assert output(talk, PRODUCE[4:] % (b"xc-enc", b"s")) == b""
    assert output(talk, b"ls ##TMPDIR##") == b"final.state\noutput.ivf\n"
    assert flushed(talk, peer) == []  # in which no message was heard


def test_without_a_channel_the_text_marks_nothing(pair: Pair) -> None:
    talk, _ = pair(job="j", send_statefile=1)
    assert output(talk, b": xc-enc") == b""


def test_the_next_task_of_a_worker_is_marked_by_its_own_commands(peered: Callable, relay: Any) -> None:
    talk, peer, _ = peered(send_statefile=1)
    assert talk.ask(b"seti:produces_state:0") == b"OK:SETI(produces_state)"
    talk.say(b"reset:")
    assert talk.hear().startswith(b"OK:HELLO")
    peer = connect(talk, relay)
    assert output(talk, PRODUCE[4:] % (b"i", b"xc-enc")) == b""
    assert parse_state(peer.hear(), 100) == (0, b"xc-enc\n")


def test_a_run_whose_state_cannot_be_sent_fails(pair: Pair) -> None:
    talk, _ = pair(job="j", send_statefile=1)
    assert talk.ask(b"seti:produces_state:1") == b"OK:SETI(produces_state)"
    reply = talk.ask(PRODUCE % (b"i", b"s"))
    assert reply == b"FAIL(the state of run_iter 0 was not sent: the peer channel is not open)"
    assert talk.ask(b"seti:send_statefile:0") == b"OK:SETI(send_statefile)"
    assert output(talk, PRODUCE[4:] % (b"i", b"s")) == b""


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (b"true", b"output.ivf could not be kept as prev.ivf: No such file or directory"),
        (b"touch ##TMPDIR##/output.ivf", b"final.state could not be sent: No such file or directory"),
        (b"cd ##TMPDIR##; touch output.ivf; mkfifo final.state", b"final.state is no file that could be sent"),
        (
            b"cd ##TMPDIR##; touch output.ivf; truncate -s 300M final.state",
            b"final.state has 314572800 bytes, the limit is 268435456",
        ),
        (
            b"cd ##TMPDIR##; touch output.ivf; mkdir prev.ivf final.state",
            b"output.ivf could not be kept as prev.ivf: Is a directory",
        ),
    ],
)
def test_a_run_that_makes_no_state_fails(peered: Callable, command: bytes, reason: bytes) -> None:
    talk, _, _ = peered(send_statefile=1)
    assert talk.ask(b"seti:produces_state:1") == b"OK:SETI(produces_state)"
    assert talk.ask(b"run:" + command) == b"FAIL(" + reason + b")"
    assert talk.ask(b"echo:up") == b"OK:ECHO(up)"


def test_states_and_runs_that_make_more_wait_for_a_slow_rendezvous(peered: Callable) -> None:
    talk, peer, _ = peered(nonblock=1, send_statefile=1)
    bulky = b"run:cd ##TMPDIR## && touch output.ivf && head -c 20000000 /dev/urandom >final.state"
    talk.say(b"seti:produces_state:1", bulky)
    assert talk.hear() == b"OK:SETI(produces_state)"
    assert talk.hear().startswith(b"OK:RETVAL(0)")
    talk.say(b"seti:run_iter:1", PRODUCE % (b"i", b"small"), b"seti:produces_state:0")
    assert {talk.hear(), talk.hear()} == {b"OK:SETI(run_iter)", b"OK:SETI(produces_state)"}
    assert output(talk, b"until [ -f ##TMPDIR##/output.ivf ]; do sleep 0.02; done") == b""
    assert talk.ask(b"ping:1") == b"OK:PONG(1)"  # and still no RETVAL
    number, first = parse_state(peer.hear(), 1 << 25)
    assert (number, len(first)) == (0, 20_000_000)
    assert talk.hear().startswith(b"OK:RETVAL(0)")
    assert parse_state(peer.hear(), 100) == (1, b"small\n")


def test_kill_gives_up_a_run_whose_state_waits(peered: Callable) -> None:
    talk, peer, _ = peered(nonblock=1, send_statefile=1)
    bulky = b"run:cd ##TMPDIR## && touch output.ivf && head -c 20000000 /dev/urandom >final.state"
    talk.say(b"seti:produces_state:1", bulky)
    assert talk.hear() == b"OK:SETI(produces_state)"
    assert talk.hear().startswith(b"OK:RETVAL(0)")
    talk.say(PRODUCE % (b"i", b"second"), b"seti:produces_state:0")
    assert talk.hear() == b"OK:SETI(produces_state)"
    assert output(talk, b"until grep -q second ##TMPDIR##/final.state; do sleep 0.02; done") == b""
    talk.say(b"kill:")
    assert talk.hear().startswith(b"OK:RETVAL(-9):")
    assert talk.hear().startswith(b"OK:KILL(")
    assert len(parse_state(peer.hear(), 1 << 25)[1]) == 20_000_000
    assert flushed(talk, peer) == []


def test_a_reset_forgets_runs_whose_states_wait_and_the_next_task_sends_its_own(peered: Callable, relay: Any) -> None:
    talk, peer, _ = peered(nonblock=1, send_statefile=1)
    bulky = b"run:cd ##TMPDIR## && touch output.ivf && head -c 20000000 /dev/urandom >final.state"
    talk.say(b"seti:produces_state:1", bulky)
    assert talk.hear() == b"OK:SETI(produces_state)"
    assert talk.hear().startswith(b"OK:RETVAL(0)")
    talk.say(PRODUCE % (b"i", b"second"), b"seti:produces_state:0")
    assert talk.hear() == b"OK:SETI(produces_state)"
    assert output(talk, b"until grep -q second ##TMPDIR##/final.state; do sleep 0.02; done") == b""
    assert talk.ask(b"reset:").startswith(b"OK:HELLO")
    peer.close()
    again = connect(talk, relay)
    assert talk.ask(b"seti:produces_state:1") == b"OK:SETI(produces_state)"
    assert talk.ask(PRODUCE % (b"i", b"new")).startswith(b"OK:RETVAL(0)")
    assert parse_state(again.hear(), 100) == (0, b"new\n")
    assert flushed(talk, again) == []


def test_a_run_that_had_ended_but_for_its_output_is_killed_all_the_same(peered: Callable) -> None:
    talk, peer, _ = peered(send_statefile=1)
    talk.say(
        b"seti:produces_state:1", b"run:cd ##TMPDIR## && touch output.ivf final.state; sleep 600 & exit 0", b"ping:1"
    )
    assert {talk.hear(), talk.hear()} == {b"OK:SETI(produces_state)", b"OK:PONG(1)"}
    talk.say(b"kill:")
    assert talk.hear().startswith(b"OK:RETVAL(-9)")
    assert talk.hear() == b"OK:KILL(1)"
    assert flushed(talk, peer) == []


def test_what_is_queued_arrives_before_a_close_is_answered(peered: Callable) -> None:
    talk, peer, _ = peered(send_statefile=1)
    bulky = b"run:cd ##TMPDIR## && touch output.ivf && head -c 20000000 /dev/urandom >final.state"
    talk.say(b"seti:produces_state:1", bulky, b"close_connect:", b"ping:1")
    assert {talk.hear(), talk.hear()} == {b"OK:PONG(1)", b"OK:SETI(produces_state)"}
    assert talk.hear().startswith(b"OK:RETVAL(0)")
    assert len(parse_state(peer.hear(), 1 << 25)[1]) == 20_000_000
    with pytest.raises(EOFError):
        peer.hear()
    peer.goodbye()
    assert talk.hear() == b"OK:CLOSE_CONNECT"


def test_without_a_job_what_is_queued_arrives_though_the_close_is_answered_at_once(pair: Pair, relay: Any) -> None:
    talk, _ = pair(send_statefile=1)
    peer = connect(talk, relay)
    bulky = b"run:: xc-enc; cd ##TMPDIR## && touch output.ivf && head -c 20000000 /dev/urandom >final.state"
    talk.say(bulky, b"close_connect:")
    assert talk.hear().startswith(b"OK:RETVAL(0)")
    assert talk.hear() == b"OK:CLOSE_CONNECT"
    assert len(parse_state(peer.hear(), 1 << 25)[1]) == 20_000_000
    with pytest.raises(EOFError):
        peer.hear()
