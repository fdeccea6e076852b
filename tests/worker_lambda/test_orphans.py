"""Coordinators that are lost, silent, another party, or not there."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mu_twisted.tls import pem_body
from mu_twisted.wire import parse_greeting
from worker_lambda import _worker

Here = Any  # a worker in a thread of this process


def test_a_lost_coordinator_is_found_again_and_told_what_has_ended(
    here: Callable[..., Here], tls_coordinator: Any, keys: Any, event: Callable, tmp_path: Path
) -> None:
    worker = here(event(tls_coordinator, job="j", launch_id="l", nonblock=1, bg_silent=1, **keys.event()))
    talk = tls_coordinator.accept()
    first = parse_greeting(talk.hear())
    assert (first.launch_id, first.redial) == ("l", False)
    talk.say(b"run:until [ -f ##TMPDIR##/go ]; do sleep 0.02; done; echo went", b"ping:1")
    assert talk.hear() == b"OK:PONG(1)"
    talk.close()
    folder = next(tmp_path.glob("mu_worker_*"))
    (folder / "go").touch()
    again = tls_coordinator.accept()
    second = parse_greeting(again.hear())
    assert (second.launch_id, second.redial) == ("l", True)
    reply = again.hear()
    assert reply.startswith(b"OK:RETVAL(0):OUTPUT(")
    assert b"went\n" in reply
    again.say(b"quit:")
    assert worker.result() == {"ended": "the coordinator said quit"}
    assert any("dialling again" in line for line in worker.log)


def test_a_worker_that_comes_back_shows_the_token_it_was_given(
    here: Callable[..., Here], tls_coordinator: Any, keys: Any, event: Callable
) -> None:
    worker = here(event(tls_coordinator, job="j", launch_id="l", **keys.event()))
    talk = tls_coordinator.accept()
    first = parse_greeting(talk.hear())
    announced = ("token", "links", "punch", "punches", "pipes", "tee", "processes", "presign")
    assert (first.supports, first.token) == (announced, "")
    talk.say(b"run:sleep 600", b"token:" + b"5ec7e7" * 8)  # is not kept waiting
    assert talk.hear() == b"OK:TOKEN"
    talk.say(b"kill:", b"reset:")
    assert [talk.hear()[:9] for _ in range(2)] == [b"OK:RETVAL", b"OK:KILL(1"]
    assert parse_greeting(talk.hear()).token == "5ec7e7" * 8
    talk.say(b"dump_vals:", b"get:token")
    shown = talk.hear() + talk.hear()
    assert b"no such variable token" in shown
    assert b"5ec7e7" not in shown
    talk.close()
    again = tls_coordinator.accept()
    second = parse_greeting(again.hear())
    assert (second.redial, second.token) == (True, "5ec7e7" * 8)
    for bad in (b"", b"x" * 257, b"two\nlines", b"\xff", b"a b"):
        assert again.ask(b"token:" + bad).startswith(b"FAIL(a token has 1 to 256 letters and digits")
    again.say(b"quit:")
    assert worker.result() == {"ended": "the coordinator said quit"}
    assert not any("5ec7e7" in line for line in worker.log)


def test_a_lost_coordinator_that_stays_away_ends_the_worker(
    here: Callable[..., Here], make_coordinator: Callable, event: Callable
) -> None:
    coordinator = make_coordinator()
    worker = here(event(coordinator, job="j", orphan_timeout=0.4))
    talk = coordinator.accept()
    talk.hear()
    assert talk.ask(b"echo:x") == b"OK:ECHO(x)"
    talk.say(b"run:sleep 600")
    coordinator.close()
    assert worker.result()["error"].startswith(f"lost the coordinator at 127.0.0.1:{coordinator.port}: ")


def test_one_that_only_closes_is_not_dialled_for_ever(
    here: Callable[..., Here], coordinator: Any, event: Callable
) -> None:
    worker = here(event(coordinator, job="j", orphan_timeout=0.5))
    done = threading.Event()

    def shut_out() -> None:
        while not done.is_set():
            try:
                coordinator.accept().close()
            except OSError:
                return

    thread = threading.Thread(target=shut_out)
    thread.start()
    result = worker.result()
    done.set()
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", coordinator.port)).close()
    thread.join(180)
    assert result["error"].startswith("could not reach")


def test_without_a_job_silence_ends_a_worker_that_does_nothing(
    here: Callable[..., Here], coordinator: Any, event: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(_worker, "time", SimpleNamespace(monotonic=lambda: now))
    worker = here(event(coordinator, nonblock=1), silence=0.5)  # it looks at the clock as often as that
    talk = coordinator.accept()
    assert talk.hear() == b"OK:HELLO"
    assert talk.ask(b"run:sleep 1; echo x").startswith(b"OK:RUNNING")
    now += 0.6
    assert talk.hear().startswith(b"OK:RETVAL(0):OUTPUT(x")
    talk.sock.settimeout(0.6)
    ended = False
    while not ended:  # what it does behind its reply may be the last event
        now += 0.6
        with suppress(TimeoutError):
            ended = talk.sock.recv(1) == b""
    assert worker.result() == {"ended": "nothing happened for 0.5 s"}


@pytest.mark.parametrize("shown", ["rendezvous", "without_identity", "launch"])
def test_only_a_coordinators_certificate_is_accepted_for_a_job(
    here: Callable[..., Here], make_coordinator: Callable, keys: Any, event: Callable, shown: str
) -> None:
    coordinator = make_coordinator(getattr(keys, shown))
    worker = here(event(coordinator, job="j", **keys.event()))
    talk = coordinator.accept()
    with pytest.raises((EOFError, OSError)):
        talk.hear()
    assert "not a coordinator's: expected mu:role/coordinator" in worker.result()["error"]


def test_a_legacy_coordinators_certificate_needs_no_name(
    here: Callable[..., Here], make_coordinator: Callable, keys: Any, event: Callable
) -> None:
    coordinator = make_coordinator(keys.without_identity)
    worker = here(event(coordinator, **keys.event()))
    talk = coordinator.accept()
    assert talk.hear() == b"OK:HELLO"
    assert b"<secret>" in talk.ask(b"dump_vals:")
    talk.close()
    assert worker.result() == {"ended": "closed by the coordinator"}


def test_a_certificate_of_another_authority_ends_the_first_dial_at_once(
    here: Callable[..., Here], tls_coordinator: Any, keys: Any, event: Callable
) -> None:
    other = type(keys)()
    given = {**keys.event(), "cacert": other.event()["cacert"]}
    worker = here(event(tls_coordinator, job="j", **given))
    with pytest.raises(OSError, match=r"(?i)alert|eof|reset|broken"):
        tls_coordinator.accept()
    assert "is not trusted" in worker.result()["error"]


def test_keys_of_every_kind_are_taken(
    here: Callable[..., Here], tls_coordinator: Any, keys: Any, event: Callable
) -> None:
    rsa = keys.authority.issue(None, lifetime=timedelta(hours=1), rsa=True)
    assert b"BEGIN RSA PRIVATE KEY" in rsa.key
    given = {**keys.event(), "srvcrt": pem_body(rsa.certificate), "srvkey": pem_body(rsa.key)}
    worker = here(event(tls_coordinator, **given))
    talk = tls_coordinator.accept()
    assert talk.hear() == b"OK:HELLO"
    talk.say(b"quit:")
    assert worker.result() == {"ended": "the coordinator said quit"}


def test_the_private_key_is_in_no_file_once_the_worker_has_greeted(
    here: Callable[..., Here], tls_coordinator: Any, keys: Any, event: Callable, tmp_path: Path
) -> None:
    worker = here(event(tls_coordinator, job="j", **keys.event()))
    talk = tls_coordinator.accept()
    talk.hear()
    assert [path for folder in tmp_path.glob("mu_worker_*") for path in folder.iterdir()] == []
    talk.say(b"quit:")
    worker.result()


def test_garbage_closes_the_connection_with_what_was_wrong(
    here: Callable[..., Here], coordinator: Any, event: Callable
) -> None:
    worker = here(event(coordinator))
    talk = coordinator.accept()
    talk.hear()
    talk.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert worker.result()["error"].startswith("protocol error: ")
