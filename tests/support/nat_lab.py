"""A laboratory of real NATs: hosts behind NAT boxes, a rendezvous, and between them an internet with delay and loss.

The NATs are the kernel's own (nftables); :mod:`tun_router` is the internet. Everything lives as long as this process.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from network_namespaces import NamespaceError, NetworkNamespace, missing_commands

RENDEZVOUS = "198.51.100.10"
BOXES = ("198.51.100.1", "198.51.100.2")
"""The public addresses of the NAT boxes."""
_LEARNT = "flags dynamic, timeout; timeout 10m;"

MAPPINGS = {
    "masquerade": "masquerade",
    "port-preserving": "snat to {address}",
    "port-range": "meta l4proto tcp masquerade to :20000-29999",
    "random": "meta l4proto tcp masquerade random",
    "fully-random": "meta l4proto tcp masquerade fully-random",
    "full-cone": "meta l4proto tcp masquerade random",
}
"""How each kind of NAT gives out its ports: nftables' statement, where no mapping of the same source exists yet."""
UNSOLICITED = {
    "drop": "drop",
    "rst": "tcp flags & (syn | ack) == syn reject with tcp reset",
    "icmp": "tcp flags & (syn | ack) == syn reject with icmp port-unreachable",
}
"""What a NAT box does with packets that belong to no connection."""


@dataclass(frozen=True)
class Nat:
    """A kind of NAT box.

    :param mapping: one of :data:`MAPPINGS`. ``full-cone`` maps a source to one random port whatever the destination,
        and lets in what any address sends to it.
    :param unsolicited: one of :data:`UNSOLICITED`.
    :param hairpin: whether hosts behind it reach one another by its public address.
    """

    mapping: str = "masquerade"
    unsolicited: str = "drop"
    hairpin: bool = False

    def __str__(self) -> str:
        extra = "" if self.unsolicited == "drop" else f" {self.unsolicited}"
        return self.mapping + extra + (" hairpin" if self.hairpin else "")

    def rules(self, address: str, *, isolated: bool) -> str:
        """The box's rules, for ``nft -f``.

        :param address: its public one.
        :param isolated: whether hosts behind it do not reach one another by their private addresses.
        """
        cone = self.mapping == "full-cone"
        learns = cone or self.hairpin
        lines = [
            "flush ruleset",
            "table ip nat {",
            # What is mapped: public port to private end, and private end to public one. Filled by the packets.
            f"map ends {{ type inet_service : ipv4_addr . inet_service; {_LEARNT} }}",
            f"map ports {{ type ipv4_addr . inet_service : ipv4_addr . inet_service; {_LEARNT} }}",
            "chain prerouting { type nat hook prerouting priority dstnat; policy accept;",
            'iifname "wan" dnat ip to tcp dport map @ends' if cone else "",
            f'iifname "lan*" ip daddr {address} dnat ip to tcp dport map @ends' if self.hairpin else "",
            "}",
            "chain postrouting { type nat hook postrouting priority srcnat; policy accept;",
            'oifname "wan" snat ip to ip saddr . tcp sport map @ports' if cone else "",
            f'oifname "wan" {MAPPINGS[self.mapping].format(address=address)}',
            'iifname "lan*" oifname "lan*" ct status dnat snat ip to ip saddr . tcp sport map @ports',
            f'iifname "lan*" oifname "lan*" ct status dnat snat to {address}',
            "}",
            "chain learn { type filter hook postrouting priority srcnat + 10; policy accept;",
        ]
        if learns:
            opening = 'oifname "wan" tcp flags & (syn | ack) == syn ct direction original'
            inside = "ct original ip saddr . ct original proto-src"
            lines += [
                f"{opening} add @ends {{ tcp sport : {inside} }}",
                f"{opening} add @ports {{ {inside} : ip saddr . tcp sport }}",
            ]
        lines += [
            "}",
            "}",
            "table ip filter {",
            "chain input { type filter hook input priority filter; policy accept;",
            f'iifname "wan" {UNSOLICITED[self.unsolicited]}',
            f'iifname "lan*" ip daddr {address} {UNSOLICITED[self.unsolicited]}',
            'iifname "wan" drop',
            "}",
            "chain forward { type filter hook forward priority filter; policy accept;",
            'iifname "lan*" oifname "lan*" ct status dnat accept',
            'iifname "lan*" oifname "lan*" drop' if isolated else "",
            'iifname "wan" ct status dnat accept',
            'iifname "wan" ct state new drop',
            "}",
            "}",
        ]
        return "\n".join(lines) + "\n"


class Lab:
    """Two hosts and a rendezvous.

    :param boxes: 2, one for each host, or 1 for both.
    :param isolated: whether the hosts behind one box are in networks of their own.
    :raises NamespaceError: it cannot be had here.
    :ivar rendezvous: its namespace.
    :ivar hosts: their namespaces.
    """

    def __init__(self, boxes: int = 2, *, isolated: bool = False) -> None:
        self._isolated = isolated
        self.addresses = BOXES[:boxes]
        self._stack = ExitStack()
        try:
            self.rendezvous = self._namespace("rendezvous")
            self._boxes = [self._namespace(f"box {address}") for address in self.addresses]
            self.hosts = [self._namespace(f"host {number}") for number in range(2)]
            self._router = self._start_router()
            for number, host in enumerate(self.hosts):
                self._connect(host, number)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def configure(self, *nats: Nat) -> None:
        """Make the boxes of these kinds, one for each; connections that they know go on."""
        for box, address, nat in zip(self._boxes, self.addresses, nats, strict=True):
            box.run("nft", "-f", "-", stdin=nat.rules(address, isolated=self._isolated))

    def route(self, **order: Any) -> dict[str, dict[str, int]]:
        """Set what the internet does; see :meth:`tun_router.Router.configure`.

        :returns: what it has carried since it was set last.
        """
        assert self._router.stdin is not None
        assert self._router.stdout is not None
        self._router.stdin.write(json.dumps(order) + "\n")
        self._router.stdin.flush()
        carried: dict[str, dict[str, int]] = json.loads(self._router.stdout.readline())
        return carried

    def set_rtt(self, seconds: float, **order: Any) -> dict[str, dict[str, int]]:
        """Let a packet between the hosts take so long there and back, and half of that to the rendezvous."""
        return self.route(**{"delay": dict.fromkeys(self.addresses, seconds / 4), **order})

    def between(self, carried: dict[str, dict[str, int]], kind: str) -> int:
        """How many packets of a kind have travelled between the boxes."""
        first, *rest = self.addresses
        other = rest[0] if rest else first
        return sum(carried.get(kind, {}).get(way, 0) for way in {f"{first}>{other}", f"{other}>{first}"})

    def close(self) -> None:
        """End the router, and let the namespaces go."""
        self._stack.close()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _namespace(self, name: str) -> NetworkNamespace:
        made = NetworkNamespace(name)
        self._stack.callback(made.close)
        return made

    def _start_router(self) -> "subprocess.Popen[str]":
        interfaces: dict[str, int] = {}
        try:
            for address, namespace in zip((RENDEZVOUS, *self.addresses), (self.rendezvous, *self._boxes), strict=True):
                interfaces[address] = namespace.tun("wan")
                namespace.run("ip", "address", "add", f"{address}/32", "dev", "wan")
                namespace.run("ip", "link", "set", "wan", "up")
                namespace.run("ip", "route", "add", "default", "dev", "wan")
            program = Path(__file__).with_name("tun_router.py")
            router = subprocess.Popen(
                [sys.executable, str(program), json.dumps(interfaces)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=list(interfaces.values()),
            )
        finally:
            for descriptor in interfaces.values():
                os.close(descriptor)
        self._stack.callback(end, router)
        return router

    def _connect(self, host: NetworkNamespace, number: int) -> None:
        """Put a host behind its box. Hosts behind different boxes have the same private address, as in real life."""
        box = self._boxes[min(number, len(self._boxes) - 1)]
        alone = len(self._boxes) > 1
        network = f"10.0.{2 if self._isolated and number else 1}"
        lan = f"lan{number}"
        box.run("ip", "link", "add", lan, "type", "veth", "peer", "name", "eth0")
        host.take("eth0", box)
        if not alone and not self._isolated:
            self._bridge(box, lan, number)
        else:
            box.run("ip", "address", "add", f"{network}.1/24", "dev", lan)
        box.run("ip", "link", "set", lan, "up")
        box.set("ipv4/ip_forward", "1")
        box.set("ipv4/icmp_ratemask", "0")  # else it rejects six packets, and then one in a second
        for ended in ("time_wait", "close", "last_ack", "fin_wait", "close_wait"):
            # Else mappings of earlier tries are found where a host's port comes up again.
            box.set(f"netfilter/nf_conntrack_tcp_timeout_{ended}", "1")
        host.run("ip", "address", "add", f"{network}.{2 if alone else 2 + number}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        host.run("ip", "route", "add", "default", "via", f"{network}.1")

    @staticmethod
    def _bridge(box: NetworkNamespace, lan: str, number: int) -> None:
        if number == 0:
            box.run("ip", "link", "add", "lan", "type", "bridge")
            box.run("ip", "address", "add", "10.0.1.1/24", "dev", "lan")
            box.run("ip", "link", "set", "lan", "up")
        box.run("ip", "link", "set", lan, "master", "lan")


def end(process: "subprocess.Popen[str]") -> None:
    """End a program of the lab by the end of its input, and by force if it does not."""
    try:
        process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def why_not() -> str | None:
    """Why no lab can be had here; None: it can."""
    missing = missing_commands()
    if missing:
        return f"{' and '.join(missing)} cannot be found: the lab needs iproute2, nftables and util-linux"
    if os.geteuid() != 0:
        return "the lab needs root, or root of its own: unshare --map-root-user --net make nat-lab"
    try:
        with Lab() as lab:
            lab.configure(*[Nat("full-cone", "icmp", hairpin=True)] * 2)
    except NamespaceError as error:
        return f"the lab cannot be built: {error}"
    return None


def used_namespaces() -> Sequence[int]:
    """The network namespaces that processes are in, by their numbers."""
    found = set()
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                found.add((process / "ns" / "net").stat().st_ino)
            except OSError:  # it has ended
                continue
    return sorted(found)
