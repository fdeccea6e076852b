"""Named messages are measured by the rendezvous and directly: bytes in a second, a round trip, and pairing with TLS.

Workers' code and the real rendezvous, on loopback, where no way is far and all share the processors. What a message
with its acknowledgement costs the rendezvous is measured beside a program in C that does the same (link_relay.c), which
is the load of both, too.
"""

import json
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench._figure import Figure, median_of, ratio_of
from bench._processes import ROOT, line_of, process_of, rendezvous
from bench.relay import KINDS, fine_cpu_of, keys_of, make_relay, relay_of, say
from mu_twisted.base.json_types import JsonObject
from mu_twisted.tls import Authority, RoleIdentity, TaskIdentity, pem_body
from mu_twisted.wire import PeerGreeting
from mu_twisted.wire.links import parse_paths

JOB = "bench"
SIZE = 256 << 20
"""Bytes of the file that is sent."""
ROUNDS = 1_000
PARTIES, PROCESSES = 1_000, 4
AT_ONCE = 40
"""Workers that pair up at once: a punch has a second, and all have the same processors."""
CONNECTING, PAIRING = 60.0, 120.0
"""Seconds after which it is given up: without a word of any worker, and for all to pair up."""
RUNS = 5
STREAM = 2_000
"""Messages in a row, between workers."""
CASES = {1: 10_000, 100: 200}
"""Messages of each pair, by the number of pairs, of the load in C."""
STATE_FRAME, STATES = 1280 * 544 * 3 // 2, 5
"""Bytes of a frame of the film that xcenc was made for, of which a state has three; and states that are sent."""
MOST_OVER_C = 1.8
"""Times the CPU of the one in C, with 100 pairs."""
MOST_PAIRING = 10.0
"""Seconds."""
_STAYS = "xcenc moves to links where neither is above 1"
_HERE = Path(__file__).parent


def run() -> list[Figure]:
    """All figures; takes about half a minute."""
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        work = Path(directory)
        authority = Authority.open(work / "keys")
        (work / "file").write_bytes(bytes(SIZE))
        with _rendezvous(work, authority) as (relay, port):
            figures: list[Figure] = []
            rates, trips = {}, {}
            for number, way in enumerate(("by the rendezvous", "directly")):
                rates[way], trips[way] = _two(work, authority, port, 2 * number, direct=way == "directly")
                figures.append(Figure(f"links, {SIZE >> 20} MB {way}: rate", rates[way], "MB/s"))
                figures.append(Figure(f"links, 1 KB there and back {way}: p50", trips[way], "us"))
            figures.append(Figure("links, rate directly over by the rendezvous", _ratio(rates), "times"))
            figures.append(Figure("links, round trip directly over by the rendezvous", _ratio(trips), "times"))
            figures.append(_acknowledged(authority, relay, port))
            figures.append(_pair(authority, relay, port))
            figures += _states(work, authority, port)
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        return figures + _beside_c(Path(directory))


def _beside_c(work: Path) -> list[Figure]:
    """What messages of 1 KB with their acknowledgements cost the rendezvous, and the one in C; the two run in turn."""
    make_relay(work, "link_relay")
    figures = []
    for pairs, count in CASES.items():
        made = {kind: [] for kind in KINDS}  # type: dict[str, list[float]]
        for _ in range(RUNS):
            for kind, samples in made.items():
                samples.append(_loaded(work, kind, pairs, count))
        what = f"links, 1 KB with its acknowledgement, {pairs} pair{'s' * (pairs > 1)}"
        figures += [median_of(f"{kind}, {what}: CPU", samples, "us") for kind, samples in made.items()]
        ours, theirs = made.values()
        target = MOST_OVER_C if pairs == 100 else None
        figures.append(ratio_of(f"rendezvous over C relay, {what}: CPU", ours, theirs, target))
    return figures


def _loaded(work: Path, kind: str, pairs: int, count: int) -> float:
    """:returns: microseconds of CPU for a message."""
    with relay_of(work, kind, "link_relay") as (relay, port):
        words = [port, *keys_of(work), str(pairs), "1000", str(count)]
        with process_of([str(work / "link_relay"), "load", *words]) as load:
            if line_of(load) != "connected":
                raise RuntimeError("the load does not connect")
            begun = fine_cpu_of(relay.pid)
            say(load, "go")
            line_of(load)
            return (fine_cpu_of(relay.pid) - begun) / pairs / count * 1e6


def _acknowledged(authority: Authority, relay: int, port: int) -> Figure:
    """What messages of 1 KB cost the rendezvous that workers send, in a row."""
    ours = []
    with ExitStack() as stack:
        tasks = [stack.enter_context(_program()) for _ in range(2)]
        for number, program in enumerate(tasks):
            _open(program, authority, port, 4 + number, 5 - number, direct=False)
        for _ in range(RUNS):
            begun = fine_cpu_of(relay)
            _say(tasks[1], {"take": STREAM})
            _say(tasks[0], {"stream": STREAM})
            for program in tasks:
                assert _hear(program) == "all"
            ours.append((fine_cpu_of(relay) - begun) / STREAM * 1e6)
    return median_of("links, 1 KB with its acknowledgement, between two workers: the rendezvous' CPU", ours, "us")


def _there_and_back(tasks: "list[subprocess.Popen[str]]") -> list[float]:
    """:returns: the round trips' times, sorted."""
    _say(tasks[1], {"echo": ROUNDS})
    _say(tasks[0], {"ping": ROUNDS})
    times: list[float] = _hear(tasks[0])
    return times


def _ratio(by_way: dict[str, float]) -> float:
    return by_way["directly"] / by_way["by the rendezvous"]


def _two(work: Path, authority: Authority, port: int, first: int, *, direct: bool) -> tuple[float, float]:
    """:returns: 10**6 bytes in a second, and the median round trip, microseconds."""
    with ExitStack() as stack:
        tasks = [stack.enter_context(_program()) for _ in range(2)]
        for number, program in enumerate(tasks):
            _open(program, authority, port, first + number, first + 1 - number, direct=direct)
        if direct:
            for program in tasks:
                _hear_direct(program)
        _say(tasks[1], {"receive": str(work / "got")})
        begun = time.perf_counter()
        _say(tasks[0], {"send": str(work / "file")})
        for program in tasks:
            assert _hear(program).startswith("OK:")
        rate = SIZE / (time.perf_counter() - begun) / 1e6
        times = _there_and_back(tasks)
        return rate, times[len(times) // 2] * 1e6


def _pair(authority: Authority, relay: int, port: int) -> Figure:
    """Seconds from when all are connected until all know about their peers.

    What they cost in CPU stands beside it: on a machine that does something else the seconds are not the links' alone.
    """
    what = f"links, {PARTIES} connected workers in {PROCESSES} processes pair up"
    with ExitStack() as stack:
        programs = [stack.enter_context(_program()) for _ in range(PROCESSES)]
        heard = _Heard(programs)
        for task in range(PARTIES, 2 * PARTIES):
            order = _order(authority, port, task, task ^ 1, direct=True)
            _say(programs[_place(task)], {**order, "later": True})
        connected = 0
        while connected < PARTIES:
            outcome = heard.next_outcome(CONNECTING)
            if outcome is None:
                return _given_up(what, f"{connected} of {PARTIES} were connected", CONNECTING)
            connected += outcome[1] != "unreachable"  # else it is tried on
        processes = relay, *(program.pid for program in programs)
        spent, begun = [fine_cpu_of(process) for process in processes], time.perf_counter()
        settled: dict[int, str] = {}
        waiting = list(range(PARTIES, 2 * PARTIES, 2))
        under_way = 0
        while len(settled) < PARTIES:
            while waiting and 2 * under_way < AT_ONCE:
                first = waiting.pop()
                under_way += 1
                for task in (first, first + 1):
                    _say(programs[_place(task)], {"pair": [task]})
            outcome = heard.next_outcome(begun + PAIRING - time.perf_counter())
            if outcome is None:
                return _given_up(what, f"{len(settled)} of {PARTIES} knew about their peers", PAIRING)
            peer, how = outcome
            if peer < 2 * PARTIES and how != "absent":  # then it is the peer that asks
                under_way -= peer not in settled and peer ^ 1 in settled
                settled[peer] = how
        seconds = time.perf_counter() - begun
        spent = [fine_cpu_of(process) - before for process, before in zip(processes, spent, strict=True)]
        linked = sum(how == "direct" for how in settled.values())
        note = f"{linked} of {PARTIES} directly; CPU: rendezvous {spent[0]:.2f} s, workers {sum(spent[1:]):.2f} s"
        return Figure(what, seconds, "s", MOST_PAIRING, note)


def _states(work: Path, authority: Authority, port: int) -> list[Figure]:
    """An encoder's state from one worker to the next, from when it is made until it is a file there: as xcenc does, by
    the state channel, which compresses it; and by links, directly, as it is.

    :returns: both, beside each other.
    """
    size = 3 * STATE_FRAME
    noise = random.Random(1).randbytes(size)  # noqa: S311 - no secret
    state = bytes((at >> 9 & 63) + (each >> 5) for at, each in enumerate(noise))
    (work / "final.state").write_bytes(state)
    by_channel, by_links, sent = [], [], 0
    with ExitStack() as stack:
        folder = work / "states"
        folder.mkdir()
        channel = [stack.enter_context(_program(folder / str(task))) for task in range(2)]
        links = [stack.enter_context(_program()) for _ in range(2)]
        for task, program in enumerate(channel):
            order = _order(authority, port, 20 + task, 0, direct=False)
            greeting = PeerGreeting(JOB.encode(), 20 + task, 21 + task, 0).encode().decode()
            _say(program, {"states": greeting, "port": port, "tls": order["tls"]})
            assert _hear(program).startswith("OK:CONNECT")
            _open(links[task], authority, port, 30 + task, 31 - task, direct=True)
        for program in links:
            _hear_direct(program)
        (folder / "0" / "final.state").write_bytes(state)
        for number in range(STATES):
            _say(channel[1], {"await": number})
            begun = time.perf_counter()
            _say(channel[0], {"hand": number})
            sent = _hear(channel[0])
            assert _hear(channel[1]) == "there"
            by_channel.append(1e3 * (time.perf_counter() - begun))
            _say(links[1], {"receive": str(work / "got")})
            begun = time.perf_counter()
            _say(links[0], {"send": str(work / "final.state")})
            assert _hear(links[1]).startswith("OK:RECEIVE")
            by_links.append(1e3 * (time.perf_counter() - begun))
            assert _hear(links[0]).startswith("OK:SEND")
    name = f"links, an encoder's state of {size / 1e6:.1f} MB"
    return [
        median_of(f"{name} by the state channel: time", by_channel, "ms"),
        median_of(f"{name} by links, directly: time", by_links, "ms"),
        ratio_of(f"{name} by links over the state channel: time", by_links, by_channel),
        Figure(f"{name} by links over the state channel: bytes", size / sent, "times", note=_STAYS),
    ]


def _place(task: int) -> int:
    """The program of a task: the two of a pair are in different ones."""
    return (task // 2 + task % 2) % PROCESSES


def _given_up(what: str, so_far: str, limit: float) -> Figure:
    return Figure(what, limit, "s", MOST_PAIRING, f"GIVEN UP: {so_far} by then")


class _Heard:
    """What programs say of paths, each line as it comes."""

    def __init__(self, programs: "list[subprocess.Popen[str]]") -> None:
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        for program in programs:
            threading.Thread(target=self._read, args=(program,), daemon=True).start()

    def next_outcome(self, timeout: float) -> tuple[int, str] | None:
        """:returns: a peer, and what has become of the path to it; None: nothing was said for so many seconds."""
        try:
            said = str(json.loads(self._lines.get(timeout=max(0.0, timeout))))
        except queue.Empty:
            return None
        (outcome,) = parse_paths(said.encode()).items()
        return outcome

    def _read(self, program: "subprocess.Popen[str]") -> None:
        for line in program.stdout or ():
            self._lines.put(line)


def _open(program: "subprocess.Popen[str]", authority: Authority, port: int, task: int, peer: int, **more: Any) -> None:
    _say(program, _order(authority, port, task, peer, **more))


def _order(authority: Authority, port: int, task: int, peer: int, *, direct: bool) -> JsonObject:
    pair = authority.issue(TaskIdentity(JOB, task, 0), lifetime=timedelta(hours=1))
    bodies = {"cacert": authority.certificate, "srvcrt": pair.certificate, "srvkey": pair.key}
    tls = {name: pem_body(pem) for name, pem in bodies.items()}
    return {"task": task, "port": port, "tls": tls, "peer": peer, "direct": direct}


@contextmanager
def _rendezvous(work: Path, authority: Authority) -> Iterator[tuple[int, int]]:
    """Its process and its port."""
    own = authority.issue(RoleIdentity("rendezvous"), lifetime=None)
    for name, content in (("ca", authority.certificate), ("cert", own.certificate), ("key", own.key)):
        (work / name).touch(0o600)
        (work / name).write_bytes(content)
    with rendezvous(work, "ca", "cert", "key") as (process, port):
        yield process.pid, int(port)


@contextmanager
def _program(directory: Path | None = None) -> Iterator["subprocess.Popen[str]"]:
    """:param directory: its own, which is made; None: a temporary one."""
    words = [sys.executable, str(_HERE / "link_worker.py"), *([] if directory is None else [str(directory)])]
    with process_of(words, environ={"PYTHONPATH": str(ROOT)}) as process:
        yield process


def _say(program: "subprocess.Popen[str]", order: JsonObject) -> None:
    say(program, json.dumps(order))


def _hear(program: "subprocess.Popen[str]") -> Any:
    return json.loads(line_of(program))


def _hear_direct(program: "subprocess.Popen[str]") -> None:
    """Wait for its direct path; while the rendezvous or the peer is not there yet, it is tried on."""
    while (said := str(_hear(program))).endswith(('"absent"}', '"unreachable"}')):
        pass
    if not said.endswith('"direct"}'):
        raise RuntimeError(f"expected a direct path, got {said}")
