"""The lab does what it says: each kind of NAT maps and rejects as its kind does, and nothing of it is left."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from nat_lab import BOXES, MAPPINGS, RENDEZVOUS, Lab, Nat, end, used_namespaces, why_not
from network_namespaces import NetworkNamespace
from warm_processes import LIMIT

pytestmark = pytest.mark.netns

SUPPORT = Path(__file__).parents[1] / "support"
PROGRAM = str(SUPPORT / "lab_sockets.py")
PORTS = ("13337", "13338")
Build = Callable[..., Lab]


class Hosts:
    """Programs that run in a lab's namespaces until the test is over."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._stack = ExitStack()
        mirror = self.start(lab.rendezvous, "mirror", *PORTS)
        assert self.hear(mirror) == "ready"

    def start(self, where: NetworkNamespace, *words: str) -> "subprocess.Popen[str]":
        process = where.start_python(PROGRAM, *words)
        self._stack.callback(end, process)
        return process

    def hear(self, process: "subprocess.Popen[str]") -> Any:
        assert process.stdout is not None
        return json.loads(process.stdout.readline())

    def map(self, number: int) -> tuple["subprocess.Popen[str]", dict[str, Any]]:
        process = self.start(self.lab.hosts[number], "map", RENDEZVOUS, *PORTS)
        return process, self.hear(process)

    def call(self, number: int, host: str, port: int) -> dict[str, Any]:
        said: dict[str, Any] = self.hear(self.start(self.lab.hosts[number], "call", host, str(port)))
        return said

    def unanswered(self, number: int, host: str, port: int) -> bool:
        words = ("unanswered", host, str(port), RENDEZVOUS, PORTS[0])
        return self.hear(self.start(self.lab.hosts[number], *words)) is True

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def hosts(build: Build) -> Iterator[Callable[..., Hosts]]:
    begun = []

    def begin(*nats: Nat, isolated: bool = False, rtt: float = 0.0) -> Hosts:
        lab = build(len(nats), isolated=isolated)
        lab.configure(*nats)
        lab.set_rtt(rtt)
        begun.append(Hosts(lab))
        return begun[-1]

    yield begin
    for each in begun:
        each.close()


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_a_nat_maps_a_port_as_its_kind_does(hosts: Callable[..., Hosts], mapping: str) -> None:
    mapped = hosts(Nat(mapping), Nat()).map(0)[1]
    addresses = {address for address, _ in mapped["seen"]}
    assert addresses == {BOXES[0]}
    ports = [port for _, port in mapped["seen"]]
    assert (len(set(ports)) == 1) == ("random" not in mapping)
    assert (ports[0] == mapped["local"]) == (mapping in ("masquerade", "port-preserving"))


@pytest.mark.parametrize("unsolicited", ["drop", "rst", "icmp"])
def test_a_nat_answers_what_no_host_has_asked_for(hosts: Callable[..., Hosts], unsolicited: str) -> None:
    begun = hosts(Nat(), Nat(unsolicited=unsolicited))
    _, mapped = begun.map(1)
    if unsolicited == "drop":
        assert begun.unanswered(0, *mapped["seen"][0])
    else:
        assert begun.call(0, *mapped["seen"][0])["outcome"] == "ECONNREFUSED"
    carried = begun.lab.route()
    resets = carried["rst"].get(f"{BOXES[1]}>{BOXES[0]}", 0)
    assert (resets > 0) == (unsolicited == "rst")
    assert carried["syn"][f"{BOXES[0]}>{BOXES[1]}"] >= 1


def test_a_full_cone_lets_in_what_anyone_sends(hosts: Callable[..., Hosts]) -> None:
    begun = hosts(Nat(), Nat("full-cone"))
    process, mapped = begun.map(1)
    assert begun.call(0, *mapped["seen"][0])["outcome"] == "connected"
    assert begun.hear(process)[0] == BOXES[0]


@pytest.mark.parametrize("hairpin", [True, False])
def test_a_nat_with_hairpin_leads_back_to_a_host_behind_it(hosts: Callable[..., Hosts], hairpin: bool) -> None:
    begun = hosts(Nat("port-range", hairpin=hairpin), isolated=True)
    process, mapped = begun.map(1)
    _, caller = begun.map(0)
    assert caller["seen"][0][0] == mapped["seen"][0][0] == BOXES[0]
    if hairpin:
        assert begun.call(0, *mapped["seen"][0])["outcome"] == "connected"
        assert begun.hear(process)[0] == BOXES[0]
    else:
        assert begun.unanswered(0, *mapped["seen"][0])


@pytest.mark.parametrize("isolated", [True, False])
def test_hosts_behind_one_nat_share_a_network_unless_isolated(hosts: Callable[..., Hosts], isolated: bool) -> None:
    begun = hosts(Nat(), isolated=isolated)
    _, mapped = begun.map(1)
    if isolated:
        assert begun.unanswered(0, "10.0.2.3", mapped["local"])
    else:
        assert begun.call(0, "10.0.1.3", mapped["local"])["outcome"] == "connected"


def test_the_internet_takes_its_time(hosts: Callable[..., Hosts]) -> None:
    begun = hosts(Nat(), Nat("full-cone"), rtt=0.3)
    _, mapped = begun.map(1)
    assert begun.call(0, *mapped["seen"][0])["seconds"] >= 0.3


def test_the_internet_loses_the_syns_that_it_is_to_lose(hosts: Callable[..., Hosts]) -> None:
    begun = hosts(Nat(), Nat("full-cone"))
    _, mapped = begun.map(1)
    begun.lab.set_rtt(0.0, lose_syns={BOXES[0]: 1})
    assert begun.call(0, *mapped["seen"][0])["outcome"] == "connected"
    carried = begun.lab.route()
    assert carried["syn"][f"{BOXES[0]}>{BOXES[1]}"] == 2
    assert carried["dials"][f"{BOXES[0]}>{BOXES[1]}"] == 1


def test_where_the_internet_is_cut_nothing_travels(hosts: Callable[..., Hosts]) -> None:
    begun = hosts(Nat(), Nat("full-cone"))
    _, mapped = begun.map(1)
    begun.lab.route(cut=[list(BOXES)])
    assert begun.unanswered(0, *mapped["seen"][0])
    begun.lab.route(loss=1.0, lossless=[RENDEZVOUS])
    assert begun.unanswered(0, *mapped["seen"][0])
    begun.lab.route()
    assert not begun.unanswered(0, *mapped["seen"][0])


def test_a_lab_whose_process_is_killed_leaves_nothing(permitted: None) -> None:
    named = Path("/run/netns")
    before = sorted(each.name for each in named.iterdir()) if named.exists() else []
    script = (
        "import sys, time; from nat_lab import Lab, Nat; lab = Lab(); lab.configure(Nat(), Nat('full-cone'))\n"
        "programs = [each.start('sleep', '600') for each in lab.hosts]\n"
        "print(*(each.inode for each in lab.hosts), flush=True); time.sleep(600)"
    )
    path = os.pathsep.join([str(SUPPORT), str(SUPPORT.parents[1])])
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    with process:
        try:
            assert process.stdout is not None
            inodes = set(map(int, process.stdout.readline().split()))
            assert len(inodes) == 2
            wait_until(lambda: inodes <= set(used_namespaces()))
        finally:
            process.kill()
    wait_until(lambda: not inodes & set(used_namespaces()))
    assert (sorted(each.name for each in named.iterdir()) if named.exists() else []) == before


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < deadline


def test_what_the_lab_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = why_not()
    assert reason is not None
    assert reason.startswith("ip and nft and nsenter cannot be found")
