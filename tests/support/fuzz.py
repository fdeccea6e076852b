"""Fuzzing of what reads a stranger's bytes: the decoder, parsers of replies, greetings and notices, Machine, Session.

``python tests/support/fuzz.py --seconds 60`` changes recorded messages at random. The same seed gives the same inputs
in the same order, time only decides how many; the seed is printed. An input that is new in what it leads to is kept
and changed further. What breaks a rule is written to a file, and ``--input FILE`` tries that one alone.

``--messages 1000000`` has so many come from hostile workers to each kind of task, and looks at the memory of the
process: it may grow by 20 MB from the first 10,000 of them to the last.
"""

import argparse
import hashlib
import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsm_vectors as vectors
import fuzz_memory as memory
import fuzz_targets as targets
from fuzz_targets import LIMIT, STREAMS, TARGETS, one_input, told

from mu_twisted import wire
from mu_twisted.wire import links, pipes, tee

MAX_CORPUS = 2000

HERE = Path(__file__).resolve().parent


def said_in_tests() -> tuple[list[bytes], list[tuple[int, bytes]]]:
    """Replies that were recorded, and the streams in which they came to machines."""
    messages: dict[bytes, None] = {}
    streams: dict[tuple[int, bytes], None] = {}
    which = itertools.count(1)
    for scenario in vectors.scenarios():
        number = next(which) % 256 if "machine" in scenario else 0
        said = [vectors.value(part) for step in scenario["steps"] for part in step.get("in", [])]
        messages.update(dict.fromkeys(said))
        streams[number, b"".join(map(wire.encode, said))] = None
    recorded = json.loads((HERE.parent / "vectors" / "worker.json").read_text())["scenarios"]
    for step in itertools.chain.from_iterable(scenario["steps"] for scenario in recorded):
        if isinstance(step.get("expect"), str):
            messages[step["expect"].encode()] = None
    messages[b"OK:HELLO"] = None
    messages[b"OK:RETVAL(-9):OUTPUT(a):COMMAND(b):COMMAND(x)\0b):COMMAND(x"] = None
    return list(messages), list(streams)


def link_frames() -> Iterator[links.LinkFrame]:
    """Frames of three tasks in turn, as an exchange has them."""
    yield links.Want(1, 1, b"x")
    for number, body in enumerate((b"", b"some bytes", bytes(70_000)), 1):
        digest = hashlib.sha256(body).hexdigest().encode()
        yield links.Begin(0, number, len(body), b"x", body[: LIMIT // 8])
        yield links.WantAny(b"x", ((0, 1), (2, 5)))
        yield links.Want(1, number, b"x")
        yield links.End(0, number, digest, b"x")
    yield links.Begin(2, 1, 1 << 17, b"y", bytes(300))
    yield links.Whole(2, 3, hashlib.sha256(b"whole").hexdigest().encode(), b"x", b"whole")
    yield links.Part(2, 1, 300, b"y", b"more")
    yield from (links.Cut(2, 1, b"y"), links.Ack(1, 1, b"x"), links.Nak(1, 1, b"x", b"no"))
    yield from (links.Unwant(None, b"x"), links.Unwant(1, b"x"), links.Held(1, 3, 0, b"0" * 64, b"x"), links.LinkPing())


def pipe_frames() -> Iterator[pipes.PipeFrame]:
    """Frames of three tasks in turn, as a pipe from task 0 to task 1 has them, and another back by task 2."""
    yield pipes.OpenPipe(1, 0, b"x", True)
    yield pipes.OpenPipe(0, 0, b"x", False)
    yield pipes.OpenPipe(1, 0, b"y", True)
    yield pipes.PipeData(1, b"x", b"some")
    yield pipes.PipeCredit(0, 300, b"x")
    yield pipes.EndPipe(1, b"y")
    for size in (100, 200):
        yield pipes.PipeData(1, b"x", bytes(size))
        yield pipes.OpenPipe(2, 0, b"y", False)
        yield pipes.CutPipe(1, b"y", b"no")
    yield from (pipes.EndPipe(1, b"x"), pipes.ClosePipe(0, b"x"), pipes.ClosePipe(1, b"y"))


def corpus() -> list[bytes]:
    """What was recorded, and a few messages of our own, for each target."""
    messages, streams = said_in_tests()
    hello = wire.Greeting(1, "0-1", 1000, 128).encode()
    greeted = [(number, wire.encode(hello) + stream) for number, stream in streams]
    peers = [wire.PeerGreeting(b"j", 1, 2), wire.PeerGreeting(b"j", 1, 2, 3, replay=True)]
    notices: list[Any] = [wire.JobNotice("j", {"retain": 1, "spill": 2}), wire.JobTaken("j", "s"), wire.EndNotice("j")]
    notices += [wire.EndTaken("j"), wire.LostNotice("j", 7)]
    whole = wire.state_message(3, b"a state" * 20)
    greetings = [links.LinkGreeting(b"j", 1, 2, {"a": [1]}).encode(), links.LinkWelcome({"store": "s"}).encode()]
    linked = [frame.encode() for frame in link_frames()]
    piped = [frame.encode() for frame in pipe_frames()]
    teed = [tee.OutputPiece(*said).encode() for said in ((0, 0, b"x"), (1, 70, b"y" * 300), (0, 9, b""))]
    teed.append(b"OK:RETVAL(0):OUTPUT(x and more):COMMAND(true)")
    begun: list[tuple[Callable[[int, bytes], str], list[tuple[int, bytes]]]] = [
        (targets.frames, streams),
        (targets.machine, streams),
        (targets.conversation, greeted),
        (targets.greeting, [(1, hello), (1, b"OK:HELLO"), (1, b'OK:HELLO:{"version":' + b"[" * 500)]),
        (targets.info, [(1, message) for message in messages]),
        (targets.run, [(1, message) for message in messages]),
        (targets.peer_greeting, [(1, said) for said in (*(peer.encode() for peer in peers), b"HELLO_STATE:j:\x06:1")]),
        (targets.notice, [(1, notice.encode()) for notice in notices]),
        (targets.link_frame, [(1, said) for said in (*linked, *greetings)]),
        (targets.output_piece, [(1, said) for said in teed[:3]]),
        (targets.tee_store, [(1, b"".join(map(wire.encode, teed[:end]))) for end in range(1, len(teed) + 1)]),
        (targets.link_store, [(number, b"".join(map(wire.encode, linked))) for number in range(8)]),
        (targets.pipe_frame, [(1, said) for said in (*piped, pipes.MovePipe(1, 7, b"x").encode())]),
        (targets.pipe_store, [(number, b"".join(map(wire.encode, piped))) for number in range(8)]),
        (targets.state, [(1, whole), (0, whole), (9, whole[:-4]), (9, wire.state_message(3, bytes(9 << 8)))]),
    ]
    made = [bytes([TARGETS.index(target), number]) + body for target, bodies in begun for number, body in bodies]
    return list(dict.fromkeys(part for part in made if len(part) < LIMIT))


WORDS = [b"OK:", b"FAIL(", b"INFO:", b"OK:HELLO:{", b":OUTPUT(", b"):COMMAND(", b"OK:RETVAL(0)", b"\xff\xfe", b"\0"]
WORDS += [
    b"PIPE_OPEN:1:0:to:x",
    b"PIPE_CREDIT:0:9:x",
    b"000000000003 OK:",
    b"999999999999 ",
    b"\n",
    "\u0660\u2028".encode(),
    b'{"version":1,"launch_id":"',
    b"[" * 99,
]
WORDS += [b"HELLO_STATE2:", b":-1", b":1:", b"STATE(", b'JOB:j:{"spill":', b"OK:JOB:", b"LOST:j:", b"9" * 20]
WORDS += [b"OUT:0:0:x", b"OUT:1:", b"OUT:0:9:"]
WORDS += [b"SEND:0:1:0:x\0", b"DATA:0:1:", b"END:0:1:" + b"0" * 64 + b":x", b"CUT:0:1:x", b"ACK:0:1:x", b"NAK:0:1:x\0"]
WORDS += [b"WANT:0:1:x", b"WANT_ANY:x\0", b"0=1,", b"UNWANT:*:x", b"HELLO_LINK:j:1:0:{}", b"OK:HELLO_LINK:{}"]


def changed(chance: random.Random, kept: list[list[bytes]], messages: list[bytes]) -> bytes:
    """One of those kept for some target, changed: as bytes, or where it is a stream, also frame by frame."""
    target = chance.randrange(len(TARGETS))
    latest = kept[target][-50:]
    data = chance.choice(latest if chance.random() < 0.3 else kept[target])
    number = data[1] if chance.random() < 0.8 else chance.randrange(256)
    if TARGETS[target] in STREAMS and chance.random() < 0.7:
        body = reframed(chance, data[2:], messages)
    else:
        body = mangled(chance, data[2:], kept[target])
    return bytes([target, number]) + body[: LIMIT - 2]


def reframed(chance: random.Random, data: bytes, messages: list[bytes]) -> bytes:
    """A stream with other frames, or the same in another order."""
    decoded = told(wire.FrameError, wire.Decoder(LIMIT).feed, data)
    said = list(decoded.completed if isinstance(decoded, Exception) else decoded)
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(len(said) + 1)
        match chance.randrange(6):
            case 0:
                del said[at : at + 1]
            case 1 if said:
                said.insert(at, chance.choice(said))
            case 2 if at < len(said):
                said[at] = mangled(chance, said[at], messages)
            case 3 if at < len(said):
                said[at : at + 1] *= chance.choice((2, 20, 1100))
            case 4:
                chance.shuffle(said)
            case _:
                said.insert(at, chance.choice(messages))
    return b"".join(map(wire.encode, said))


def mangled(chance: random.Random, of: bytes, kept: list[bytes]) -> bytes:
    """Bytes that are changed in up to five ways."""
    data = bytearray(of)
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice((1, 2, 4, 13, 64, 1024)))
        match chance.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = chance.randbytes(chance.choice((1, 2, 13, 100)))
            case 3:
                data[at:at] = chance.choice(WORDS)
            case 4:
                data[at:end] = data[at:end] * chance.choice((2, 3, 50))
            case 5:
                other = chance.choice(kept)
                data[at:] = other[chance.randrange(len(other)) :]
            case _:
                data[at:at] = wire.encode(chance.choice((chance.choice(WORDS), bytes(data[at:end]))))
    return bytes(data)


def inputs(seed: int) -> Iterator[tuple[bytes, Callable[[str], None]]]:
    """What to try, without end, each with a function that takes what it led to."""
    chance, seen, begun = random.Random(seed), set[str](), corpus()
    kept = [[data for data in begun if data[0] == number] for number in range(len(TARGETS))]
    messages = [data[2:] for data in kept[TARGETS.index(targets.info)]]

    def learn(led_to: str) -> None:
        if led_to not in seen and len(kept[data[0]]) < MAX_CORPUS:
            seen.add(led_to)
            kept[data[0]].append(data)

    for data in begun:
        yield data, seen.add
    while True:
        data = changed(chance, kept, messages)
        yield data, learn


def fuzz(seed: int, *, seconds: float = float("inf"), runs: float = float("inf")) -> tuple[int, int]:
    """Try inputs until the time is over or so many were tried.

    :returns: how many, and to how many different results they led.
    :raises Broken: one broke a rule.
    """
    end = time.monotonic() + seconds
    results = set[str]()
    count = 0
    for data, learn in inputs(seed):
        if count >= runs or time.monotonic() >= end:
            break
        try:
            led_to = one_input(data)
        except Exception as error:
            raise Broken(data) from error
        learn(led_to)
        results.add(led_to)
        count += 1
    return count, len(results)


def held(first: str, seed: int, count: int) -> bool:
    """Whether tasks that start so hold no more after that many hostile messages than after the first of them."""
    more = memory.grown(first, memory.hostile(seed), count)
    say(f"{count} messages to tasks that are {first}: {more / (1 << 20):+.1f} MiB")
    return more < memory.ALLOWED


class Broken(Exception):
    """An input broke a rule; the cause says which.

    :ivar data: the input.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(f"{data[:200]!r} ({len(data)} bytes)")
        self.data = data


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=sys.maxsize)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--messages", type=int, help="look at the memory, and at nothing else")
    parser.add_argument("--input", type=Path, help="try this file alone")
    words = parser.parse_args()
    seed = words.seed if words.seed is not None else random.SystemRandom().randrange(1 << 31)
    say(f"seed {seed}")
    if words.input is not None:
        say(one_input(words.input.read_bytes()))
        return 0
    if words.messages is not None:
        return 0 if all(held(first, seed, words.messages) for first in memory.FIRST) else 1
    try:
        count, results = fuzz(seed, seconds=words.seconds, runs=words.runs)
    except Broken as broken:
        found = Path(tempfile.mkdtemp(prefix="mu-fuzz-")) / "input"
        found.write_bytes(broken.data)
        say(f"broken by {broken}; again with --input {found}")
        raise
    say(f"{count} inputs, {results} different results, nothing broke")
    return 0


if __name__ == "__main__":
    sys.exit(main())
