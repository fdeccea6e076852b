"""Attempts notes the states of each attempt and when it was in them, in memory until it ends; then they are written.

Knows machines and files, neither jobs nor workers.
"""

import gzip
import json
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from twisted.logger import Logger

from mu_twisted.base import MuError
from mu_twisted.base.json_types import JsonObject
from mu_twisted.fsm import Machine, Outcome
from mu_twisted.transport import ReactorTime
from mu_twisted.wire.byte_counts import KINDS, ByteCounts
from mu_twisted.wording import ranges

MAX_STATES = 10_000
"""Changes kept of one attempt; the earliest go when there are more (an error is explained by what came last), and the
line says how many are missing."""
MAX_TEXTS = 1 << 18
"""Characters kept of one attempt's states; the earliest go here too."""
MAX_PEERS = 1000
"""Peers of an attempt of whose paths the outcome is kept."""
_GZIP = 31
"""zlib's name for gzip's format."""
_BEGINNING = b"\x1f\x8b\x08\x00"
"""Of what :func:`gzip.compress` makes."""
_CHUNK = 16 << 10
_LONGEST = 4 << 20
"""Bytes after which a line that does not end, as it was cut off, is taken for damaged."""

Sink = Callable[[bytes], int | None]
"""Takes one line of JSON, with its end. Returns where it begins, if it can be read from there."""


_RUNNING = Outcome.RUNNING
"""Looked up once, as in the machine's own module."""


class Attempts:
    """Makes ``{"task": 3, "attempt": 0, "outcome": "done", "states": [[0.0, "3:(...)"], ...], "end": 1.5}`` lines.

    The original wrote, for each of its actors, the list of (seconds since start, state).

    :param clock: seconds are counted from this object's making.
    :param sinks: where lines go. One that fails is logged, once until it takes a line again; the lines in between
        are lost.
    """

    log = Logger()

    def __init__(self, clock: ReactorTime, *sinks: Sink) -> None:
        self._clock = clock
        self._start = clock.seconds()
        self._sinks = sinks
        self._failing: set[Sink] = set()
        self._open: dict[tuple[int, int], deque[tuple[float, str]]] = {}
        self._dropped: dict[tuple[int, int], tuple[float, int]] = {}
        """When the attempt came into the first of its states, where that is not kept, and how many are not."""
        self._paths: dict[tuple[int, int], dict[int, str]] = {}
        self._bytes: dict[tuple[int, int], ByteCounts] = {}
        self._places: dict[tuple[int, int], int] = {}

    def paths_known(self, task: int, attempt: int, outcomes: Mapping[int, str]) -> None:
        """Note of an attempt that is under way what has become of direct paths to its peers.

        :param outcomes: by the peer's task, ``direct``, or why there is none.
        """
        if (task, attempt) in self._open:
            known = self._paths.setdefault((task, attempt), {})
            known.update((peer, each) for peer, each in outcomes.items() if peer in known or len(known) < MAX_PEERS)

    def bytes_known(self, task: int, attempt: int, counts: ByteCounts) -> dict[str, int]:
        """Note how many bytes an attempt that is under way has moved so far.

        :returns: how many more these are than was known, by kind.
        """
        before = self._bytes.get((task, attempt), ByteCounts())
        self._bytes[task, attempt] = counts
        return {kind: max(0, getattr(counts, kind) - getattr(before, kind)) for kind in KINDS}

    def bytes_of(self, task: int, attempt: int) -> dict[str, int] | None:
        """How many bytes an attempt that is under way has moved so far, by kind; None: its worker has not said so."""
        counts = self._bytes.get((task, attempt))
        return None if counts is None else asdict(counts)

    def ended(self, task: int, attempt: int, outcome: str) -> JsonObject:
        """An attempt is over, as is about to be recorded; one whose machine has not ended is written as it is.

        :param outcome: as records spell it.
        :returns: what is known of it beside the record: its ``bytes``, by kind, if its worker has counted them, and
            its ``states``, where their line begins in the attempt file, if it is there.
        """
        self._write(task, attempt, outcome)
        known: JsonObject = {}
        counts, place = self._bytes.pop((task, attempt), None), self._places.pop((task, attempt), None)
        if counts is not None:
            known["bytes"] = asdict(counts)
        if place is not None:
            known["states"] = place
        return known

    def watch(self, task: int, attempt: int) -> Callable[[Machine], None]:
        """A function to call whenever the attempt's machine may have changed."""
        states = self._open.setdefault((task, attempt), deque())
        characters = 0

        def look(machine: Machine) -> None:
            nonlocal characters
            text, now = machine.text, None
            if not states or states[-1][1] != text:
                now = self._now()
                states.append((now, text))
                characters += len(text)
                while len(states) > MAX_STATES or characters > MAX_TEXTS:
                    at, first = states.popleft()
                    characters -= len(first)
                    begin, dropped = self._dropped.get((task, attempt), (at, 0))
                    self._dropped[task, attempt] = begin, dropped + 1
            if machine.outcome is not _RUNNING:
                self._write(task, attempt, machine.outcome.value, now)

        return look

    def current(self, task: int | None = None) -> list[JsonObject]:
        """The attempts that have not ended, as their lines would be now.

        :param task: only those at this one; None: all.
        """
        return [
            self._line(*key, Outcome.RUNNING.value, states)
            for key, states in self._open.items()
            if task in (None, key[0])
        ]

    def close(self) -> None:
        """Write what has not ended as it is."""
        for task, attempt in list(self._open):
            self._write(task, attempt, Outcome.RUNNING.value)

    def _write(self, task: int, attempt: int, outcome: str, end: float | None = None) -> None:
        states = self._open.pop((task, attempt), None)
        if states is None:
            return
        line = self._line(task, attempt, outcome, states)
        line["end"] = self._now() if end is None else end
        self._dropped.pop((task, attempt), None)
        self._paths.pop((task, attempt), None)
        data = json.dumps(line).encode("ascii") + b"\n"
        for sink in self._sinks:
            try:
                place = sink(data)
            except (OSError, ValueError) as error:
                if sink not in self._failing:
                    self._failing.add(sink)
                    self.log.warn("the states of attempts are not kept for now: {error}", error=str(error))
            else:
                self._failing.discard(sink)
                if place is not None:
                    self._places[task, attempt] = place

    def _now(self) -> float:
        return round(self._clock.seconds() - self._start, 6)

    def _line(self, task: int, attempt: int, outcome: str, states: Iterable[tuple[float, str]]) -> JsonObject:
        line: JsonObject = {"task": task, "attempt": attempt, "outcome": outcome, "states": list(states)}
        if (task, attempt) in self._dropped:
            line["begin"], line["dropped"] = self._dropped[task, attempt]
        paths = self._paths.get((task, attempt))
        if paths:
            line["paths"] = dict(Counter(paths.values()))
            line["peers"] = {
                outcome: ranges(sorted(peer for peer, each in paths.items() if each == outcome))
                for outcome in line["paths"]
            }
        counts = self._bytes.get((task, attempt))
        if counts is not None:
            line["bytes"] = asdict(counts)
        return line


class TimesFile:
    """The file of ``-O`` takes such lines as they are.

    :param path: of the file.
    :param anew: whether it is begun anew, for a new job; else lines are added, and nothing is looked at before.
    :raises MuError: it cannot be written.
    """

    def __init__(self, path: Path, *, anew: bool = True) -> None:
        self._path = path
        if not anew:
            return
        try:
            path.write_bytes(b"")
        except (OSError, ValueError) as error:
            raise MuError(f"-O {path}: {getattr(error, 'strerror', None) or error}") from None

    def append(self, line: bytes) -> None:
        """:raises OSError: it cannot be written."""
        with self._path.open("ab") as file:
            file.write(line)


class AttemptFile:
    """An attempt file holds such lines, each compressed by itself, so that an interrupted one costs no other.

    :param path: of the file; made with the first line, its directory too.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, line: bytes) -> int:
        """Add a line.

        :returns: where it begins, for :meth:`at`.
        :raises OSError: it cannot be written.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            place = file.tell()
            file.write(gzip.compress(line, 1))
        return place

    def at(self, place: int) -> JsonObject | None:
        """The line that begins there; None: there is none, or it is damaged."""
        with suppress(OSError, ValueError, zlib.error), self._path.open("rb") as file:
            file.seek(place)
            unpack, line = zlib.decompressobj(_GZIP), b""
            while not unpack.eof and len(line) < _LONGEST and (chunk := file.read(_CHUNK)):
                line += unpack.decompress(chunk)
            found = json.loads(line)
            return found if isinstance(found, dict) else None
        return None

    def read(self, task: int) -> Iterator[JsonObject | None]:
        """The lines of a task, the oldest first, and None for each of another's: there may be many, so that the
        reader may want to pause. What is cut off or damaged is left out.
        """
        start = f'{{"task": {task}, '.encode("ascii")
        for line in self._lines():
            try:
                yield json.loads(line) if line.startswith(start) else None
            except ValueError:
                yield None

    def read_all(self) -> Iterator[JsonObject]:
        """All lines, the oldest first. What is cut off or damaged is left out."""
        for line in self._lines():
            with suppress(ValueError):
                yield json.loads(line)

    def _lines(self) -> Iterator[bytes]:
        held = b""
        with suppress(OSError), self._path.open("rb") as file:
            more = True
            while more:
                chunk = file.read(_CHUNK)
                more = bool(chunk)
                held += chunk
                while held:
                    unpack = zlib.decompressobj(_GZIP)
                    try:
                        line = unpack.decompress(held)
                    except zlib.error:
                        held = _after_damage(held)
                        continue
                    if unpack.eof:
                        held = unpack.unused_data
                        yield line
                    elif len(held) > _LONGEST or not more:
                        held = _after_damage(held)
                    else:
                        break


def _after_damage(data: bytes) -> bytes:
    """From where another line may begin."""
    start = data.find(_BEGINNING, 1)
    return data[start:] if start > 0 else b""
