"""Who may speak for whom, by certificate."""

from collections.abc import Iterator

import pytest
from memory_relay import MemoryRelay, Peer
from transport_contract import _log  # noqa: F401

from mu_twisted.tls import Identity, LaunchIdentity, RoleIdentity, TaskIdentity
from mu_twisted.wire import PeerGreeting


@pytest.fixture
def world(log: list[str]) -> Iterator[MemoryRelay]:
    world = MemoryRelay(tls=True)
    yield world
    world.close()


def come(world: MemoryRelay, identity: Identity | None, greeting: bytes) -> Peer:
    peer = world.dial(identity)
    peer.says(greeting)
    return peer


def test_a_worker_speaks_for_its_own_attempt_at_its_own_task(world: MemoryRelay) -> None:
    two = come(world, TaskIdentity("j", 2, 0), PeerGreeting(b"j", 2, 3, 0).encode())
    one = come(world, TaskIdentity("j", 1, 4), PeerGreeting(b"j", 1, 2, 4).encode())
    one.says(b"m")
    assert two.heard() == [b"m"]


@pytest.mark.parametrize(
    ("identity", "greeting"),
    [
        (TaskIdentity("j", 1, 0), PeerGreeting(b"k", 1, 2, 0)),
        (TaskIdentity("j", 1, 0), PeerGreeting(b"j", 2, 2, 0)),
        (TaskIdentity("j", 1, 0), PeerGreeting(b"j", 1, 2, 1)),
        (LaunchIdentity("j"), PeerGreeting(b"j", 1, 2, 0)),
        (RoleIdentity("operator"), PeerGreeting(b"j", 1, 2, 0)),
        (RoleIdentity("rendezvous"), PeerGreeting(b"j", 1, 2, 0)),
        (None, PeerGreeting(b"j", 1, 2, 0)),
    ],
)
def test_a_certificate_does_not_speak_for_another_party(
    world: MemoryRelay, identity: Identity | None, greeting: PeerGreeting
) -> None:
    peer = come(world, identity, greeting.encode())
    [said] = peer.heard()
    assert said.startswith(b"FAIL(")
    assert peer.reasons
    assert not world.relay.mailboxes.jobs


@pytest.mark.parametrize("identity", [TaskIdentity("j", 1, 0), LaunchIdentity("j"), RoleIdentity("operator")])
def test_who_has_an_identity_cannot_greet_as_the_original_does(world: MemoryRelay, identity: Identity) -> None:
    peer = come(world, identity, b"HELLO_STATE:j:1:2")
    assert peer.reasons
    assert not world.relay.mailboxes.runs


def test_a_certificate_without_identity_speaks_for_any_run(world: MemoryRelay) -> None:
    two = come(world, None, b"HELLO_STATE:r:2:3")
    come(world, None, b"HELLO_STATE:r:1:2").says(b"m")
    assert two.heard() == [b"m"]


def test_only_a_coordinator_gives_notice_and_it_does_nothing_else(world: MemoryRelay) -> None:
    coordinator = world.coordinator()
    coordinator.says(b"JOB:j:{}")
    assert coordinator.heard() == [b"OK:JOB:j:store1"]
    for identity in (TaskIdentity("j", 1, 0), RoleIdentity("operator"), None):
        assert come(world, identity, b"JOB:j:{}").reasons
    assert come(world, RoleIdentity("coordinator"), PeerGreeting(b"j", 1, 2, 0).encode()).reasons
    assert come(world, RoleIdentity("coordinator"), b"HELLO_STATE:r:1:2").reasons


def test_where_all_share_a_key_it_speaks_for_any_job(log: list[str]) -> None:
    world = MemoryRelay(tls=True, shared_key=True)
    two = come(world, None, PeerGreeting(b"j", 2, 3, 0).encode())
    come(world, None, PeerGreeting(b"j", 1, 2, 0).encode()).says(b"m")
    assert two.heard() == [b"m"]
    coordinator = come(world, None, b"JOB:j:{}")
    assert coordinator.heard() == [b"OK:JOB:j:store1"]
    assert come(world, TaskIdentity("j", 1, 0), PeerGreeting(b"j", 2, 2, 0).encode()).reasons
    world.close()
