"""Whatever the machine and whatever comes: no exception gets out, and how messages were read changes nothing."""

from typing import Any

import fsm_vectors as vectors
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples

from mu_twisted.fsm import Machine, Outcome, Worker
from mu_twisted.wire import MAX_REPLY, Decoder, encode

NAMES = ["A", "B", "C", "D"]
TARGETS = st.sampled_from([*NAMES, "Terminal"])
TEXTS = st.sampled_from(["OK", "OK:A", "OK:B", "OK:RETVAL(0)", "OK:RETVAL", "OK:ECHO", "FAIL", "", "x"])
COMMANDS = st.sampled_from(["echo:1", "run:x", "quit:", "set:a:b", "nonsense", ""])
PAIRS = st.tuples(st.none() | TEXTS, st.none() | COMMANDS)

PLAIN = st.one_of(
    st.fixed_dictionaries(
        {
            "kind": st.just("CommandList"),
            "list": st.lists(st.one_of(PAIRS, COMMANDS), max_size=4),
            "pipelined": st.booleans(),
            "next": TARGETS,
        }
    ),
    st.fixed_dictionaries(
        {"kind": st.just("OnePass"), "expect": st.none() | TEXTS, "command": st.none() | COMMANDS, "next": TARGETS}
    ),
    st.fixed_dictionaries(
        {
            "kind": st.just("IfElse"),
            "expect": TEXTS,
            "test": st.sampled_from(["info:k", "last:OK:A"]),
            "then": TARGETS,
            "else": TARGETS,
        }
    ),
    st.fixed_dictionaries(
        {
            "kind": st.just("ForLoop"),
            "expect": st.none() | TEXTS,
            "iterKey": st.sampled_from(["i", "k", "_loop_break"]),
            "iterInit": st.integers(-1, 2),
            "iterFin": st.integers(-1, 4),
            "loop": TARGETS,
            "exit": TARGETS,
        }
    ),
)
ANY = st.one_of(
    PLAIN,
    st.fixed_dictionaries({"kind": st.just("InfoWatcher"), "command": COMMANDS, "next": TARGETS}),
    st.fixed_dictionaries({"kind": st.just("Superposition"), "parts": st.lists(TARGETS, max_size=3), "next": TARGETS}),
)
REPLIES = st.sampled_from(
    [b"OK", b"OK:A", b"OK:B", b"OK:RETVAL(0):OUTPUT():COMMAND(x)", b"OK:RETVAL(1)", b"OK:ECHO(1)", b"x", b""]
)
MESSAGES = st.one_of(REPLIES, st.binary(max_size=20), st.sampled_from([b"INFO:k:v", b"INFO:i:2", b"INFO", b"FAIL(x)"]))


def machines(states: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"start": st.just("A"), "states": st.fixed_dictionaries(dict.fromkeys(NAMES, states))})


def check(machine: Machine, sent: list[bytes]) -> None:
    assert all(isinstance(command, bytes) for command in sent)
    assert machine.text.startswith("0:")
    if machine.outcome is Outcome.FAILED:
        assert sent == []
        assert machine.error
        assert machine.error.isprintable()
        assert len(machine.error) < 2000
    else:
        assert machine.error is None


@given(machines(ANY), st.lists(st.lists(MESSAGES, max_size=5), max_size=8))
@settings(deadline=None, max_examples=examples(150))
def test_no_exception_gets_out_of_a_machine(data: dict[str, Any], reads: list[list[bytes]]) -> None:
    machine = Machine(vectors.build(data, []))
    check(machine, machine.start())
    for read in reads:
        over = machine.outcome is not Outcome.RUNNING
        sent = machine.receive(read)
        check(machine, sent)
        assert not (over and sent)


@given(st.data(), machines(PLAIN), st.lists(REPLIES, max_size=12))
@settings(deadline=None, max_examples=examples(100))
def test_how_messages_were_split_into_reads_changes_no_command(
    data: st.DataObject, described: dict[str, Any], messages: list[bytes]
) -> None:
    # Not so for superpositions, which look at a read's messages in turn before they try the held back ones again,
    # nor for the commands of a read that makes the machine fail.
    whole = Machine(vectors.build(described, []))
    sent = whole.start() + whole.receive(messages)

    stream = b"".join(encode(message) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    split = Machine(vectors.build(described, []))
    decoder = Decoder(MAX_REPLY)
    pieces = split.start()
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        pieces += split.receive(decoder.feed(stream[begin:end]))

    assert split.outcome is whole.outcome
    assert split.error == whole.error
    assert split.info == whole.info
    if whole.outcome is not Outcome.FAILED:
        assert pieces == sent


STEPS = st.recursive(
    st.sampled_from(
        ["set", "get", "geti", "run", "tolerant", "retrieve", "upload", "echo", "raise", "catch", "informed"]
    ),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=8,
)
WORKER_SAYS = st.one_of(
    MESSAGES,
    st.sampled_from(
        [
            b"OK:SET(a)",
            b"OK:GET(1)",
            b"OK:GETI(k)",
            b"OK:RETRIEVING(b/k->f)",
            b"OK:RETRIEVE(b/k)",
            b"OK:UPLOAD(b/k)",
            b"OK:RUNNING(x)",
            b"OK:RETVAL(0):OUTPUT(\xff):COMMAND(x)",
            b"OK:RETVAL(x)",
        ]
    ),
)


async def perform(w: Worker, step: Any) -> None:
    """A script made of data: a list runs its members beside each other."""
    if isinstance(step, list):
        await w.all(*(perform(w, part) for part in step))
    elif step == "raise":
        raise ValueError("\n\udcff")
    elif step == "catch":
        try:
            await w.all(w.run("x"), w.echo("beside"))
        except Exception:  # noqa: BLE001
            await w.echo("caught")
    elif step == "tolerant":
        await w.run("x", check=False)
    else:
        await {
            "set": lambda: w.set("a", "1"),
            "get": lambda: w.get("a"),
            "geti": lambda: w.geti("k"),
            "run": lambda: w.run("x"),
            "retrieve": lambda: w.retrieve("k", "f"),
            "upload": lambda: w.upload("k", "f"),
            "echo": lambda: w.echo("1"),
            "informed": w.informed,
        }[step]()


@given(st.lists(STEPS, max_size=4), st.lists(st.lists(WORKER_SAYS, max_size=4), max_size=10))
@settings(deadline=None, max_examples=examples(150))
def test_no_exception_gets_out_of_a_script(steps: list[Any], reads: list[list[bytes]]) -> None:
    async def task(w: Worker) -> None:
        for step in steps:
            await perform(w, step)

    machine = Machine(task)
    check(machine, machine.start())
    check(machine, machine.receive([b"OK:HELLO"]))
    for read in reads:
        check(machine, machine.receive(read))
    machine.fail("the end of the test")
