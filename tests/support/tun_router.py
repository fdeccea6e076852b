"""A program that carries IPv4 packets between TUN interfaces, as the internet does: late, and not all of them.

It takes the descriptors and one JSON object a line on its standard input, answers each with one, and ends with its
input. The kernel of a test machine may have no ``netem``, so time and loss are made here.
"""

import heapq
import json
import os
import random
import select
import socket
import sys
import time
from collections import Counter
from itertools import count
from typing import Any

_MTU = 65536
_READS = 64
_TCP = 6
_SYN, _RST, _ACK = 0x02, 0x04, 0x10
_QUEUE = 200_000
"""Packets that may be on their way at once: what is beyond is lost, as in a router whose queue is full."""


class Router:
    """Carries packets.

    :param interfaces: descriptors by the address that is reached through them.
    """

    def __init__(self, interfaces: dict[str, int]) -> None:
        self._descriptors = {socket.inet_aton(address): each for address, each in interfaces.items()}
        self._names = {socket.inet_aton(address): address for address in interfaces}
        self._queue: list[tuple[float, int, int, bytes]] = []
        self._order = count()
        self._random = random.Random()  # noqa: S311
        self.configure({})

    def configure(self, order: dict[str, Any]) -> dict[str, Any]:
        """Take an order.

        :param order: ``delay``: seconds by address, one way, added up for both ends of a way; ``loss``: the part of
            packets that is lost between addresses other than those of ``lossless``; ``seed`` for it; ``lose_syns``: how
            many of the first SYNs of each new connection are lost, by the address that they come from; ``cut``: pairs
            of addresses between which nothing travels.
        :returns: what has travelled since the last order, by ``FROM>TO``: packets, under ``syn`` and ``rst`` those with
            that flag (a SYN without ACK), and under ``dials`` the SYNs that no earlier one is a copy of.
        """
        carried = {name: dict(counted) for name, counted in getattr(self, "_counted", {}).items()}
        self._counted: dict[str, Counter[str]] = {
            "packets": Counter(),
            "syn": Counter(),
            "rst": Counter(),
            "dials": Counter(),
        }
        self._delay = {socket.inet_aton(name): float(each) for name, each in order.get("delay", {}).items()}
        self._loss = float(order.get("loss", 0.0))
        self._lossless = {socket.inet_aton(name) for name in order.get("lossless", ())}
        if "seed" in order:
            self._random.seed(order["seed"])
        self._lose_syns = {socket.inet_aton(name): int(each) for name, each in order.get("lose_syns", {}).items()}
        self._syns: Counter[bytes] = Counter()
        self._cut = {frozenset(map(socket.inet_aton, pair)) for pair in order.get("cut", ())}
        return carried

    def serve(self, orders: int) -> None:
        """Carry packets until there are no more orders."""
        descriptors = {*self._descriptors.values(), orders}
        pending = b""
        while True:
            wait = None if not self._queue else max(0.0, self._queue[0][0] - time.monotonic())
            readable, _, _ = select.select(descriptors, (), (), wait)
            self._forward()
            for descriptor in readable:
                if descriptor != orders:
                    self._read(descriptor)
                    continue
                data = os.read(orders, 65536)
                if not data:
                    return
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    os.write(1, json.dumps(self.configure(json.loads(line))).encode() + b"\n")
            self._forward()

    def _read(self, descriptor: int) -> None:
        for _ in range(_READS):
            try:
                packet = os.read(descriptor, _MTU)
            except BlockingIOError:
                return
            if packet[0] >> 4 == 4 and len(packet) >= 20:
                self._take(packet)

    def _take(self, packet: bytes) -> None:
        source, target = packet[12:16], packet[16:20]
        descriptor = self._descriptors.get(target)
        if descriptor is None or self._is_lost(packet, source, target) or len(self._queue) >= _QUEUE:
            return
        due = time.monotonic() + self._delay.get(source, 0.0) + self._delay.get(target, 0.0)
        heapq.heappush(self._queue, (due, next(self._order), descriptor, packet))

    def _is_lost(self, packet: bytes, source: bytes, target: bytes) -> bool:
        way = f"{self._names.get(source, '?')}>{self._names[target]}"
        self._counted["packets"][way] += 1
        header = (packet[0] & 0x0F) * 4
        if packet[9] == _TCP and len(packet) >= header + 20:
            flags = packet[header + 13]
            if flags & _RST:
                self._counted["rst"][way] += 1
            if flags & (_SYN | _ACK) == _SYN:
                self._counted["syn"][way] += 1
                dial = source + target + packet[header : header + 8]  # ports and sequence number
                self._counted["dials"][way] += not self._syns[dial]
                self._syns[dial] += 1
                if self._syns[dial] <= self._lose_syns.get(source, 0):
                    return True
        if frozenset((source, target)) in self._cut:
            return True
        return not {source, target} & self._lossless and self._random.random() < self._loss

    def _forward(self) -> None:
        now = time.monotonic()
        while self._queue and self._queue[0][0] <= now:
            _, _, descriptor, packet = heapq.heappop(self._queue)
            try:
                os.write(descriptor, packet)
            except OSError:  # the interface is down, or takes no more: lost
                continue


if __name__ == "__main__":
    Router(json.loads(sys.argv[1])).serve(0)
