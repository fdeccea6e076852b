"""This module builds the commands by which a script sends and receives named messages, and checks what it asks for."""

import re
from collections.abc import Mapping

from mu_twisted.fsm._errors import FSMError, show
from mu_twisted.fsm._peering import Peering
from mu_twisted.wire.links import MAX_DATA, check_name

_PLAIN = re.compile(r"[^A-Za-z0-9._-]")
_RECEIVED = "OK:RECEIVE("
LINK_COMMANDS = "send:", "receive:"
"""What the commands begin with."""
MAX_TASK_DIGITS = 18
"""Digits of a task's number in a command."""


def send_command(peering: Peering, me: int, to: int, name: str, file: str | None, data: bytes | None) -> str:
    """The ``send:`` command.

    :raises FSMError: what is to be sent cannot be.
    """
    _check(peering, me, to, name)
    if (file is None) is (data is None):
        raise FSMError("send a file or data, one of both")
    if data is None:
        if not isinstance(file, str) or not file or "\0" in file:
            raise FSMError(f"a file's name is text without NUL, and not empty, got {show(file)}")
        return f"send:{to}:{name}\0{file}"
    if not isinstance(data, bytes):
        raise FSMError(f"data is bytes, got {show(data)}")
    if len(data) > MAX_DATA:
        raise FSMError(f"data has {MAX_DATA} bytes at most, got {len(data)}: send more as a file")
    return f"send:{to}:{name}\0\0{data.decode('utf-8', 'surrogateescape')}"


def receive_command(peering: Peering, me: int, frm: int | None, name: str, file: str) -> str:
    """The ``receive:`` command; ``frm`` None: of any task.

    :raises FSMError: what is to be received cannot come.
    """
    if frm is not None:
        _check(peering, frm, me, name)
    else:
        _check_any(peering, me, name)
    if not file or "\0" in file:
        raise FSMError(f"a file's name is text without NUL, and not empty, got {show(file)}")
    return f"receive:{'*' if frm is None else frm}:{name}\0{file}"


def check_link_command(peering: Peering, me: int, command: str) -> None:
    """Check one of :data:`LINK_COMMANDS` that its author has written out; the worker checks its grammar.

    :raises FSMError: what it sends or receives is not declared.
    """
    word, _, rest = command.partition(":")
    peer, _, name = rest.partition("\0")[0].partition(":")
    if peer.isascii() and peer.isdigit() and len(peer) <= MAX_TASK_DIGITS:
        sender, receiver = (me, int(peer)) if word == "send" else (int(peer), me)
        _check(peering, sender, receiver, name)
    elif peer == "*" and word == "receive":
        _check_any(peering, me, name)


def received_from(reply: str) -> int:
    """The task whose message a ``receive:`` has brought.

    :raises FSMError: the reply does not say.
    """
    task = reply.removeprefix(_RECEIVED).partition("/")[0]
    if not (task.isascii() and task.isdigit() and len(task) <= MAX_TASK_DIGITS):
        raise FSMError(f"expected OK:RECEIVE(TASK/NAME), got {show(reply)}")
    return int(task)


def default_file(frm: int | None, name: str) -> str:
    """Where a message is put whose receiver does not say: in the worker's private directory."""
    return f"##TMPDIR##/{'any' if frm is None else frm}.{_PLAIN.sub('_', name)[:100]}"


class PipeWord(str):
    """What stands in a command for an end of a pipe: a word of the shell, which the worker makes the path of a FIFO."""

    __slots__ = ()


def pipe_word(peering: Peering, me: int, peer: int, name: str, *, writes: bool) -> PipeWord:
    """The word for the task's end of a pipe.

    :raises FSMError: it has no such pipe.
    """
    found = next((pipe for pipe in peering.pipes if pipe.name == name), None)
    if found is None or found.peer != peer or found.writes is not writes:
        writer, reader = (me, peer) if writes else (peer, me)
        raise FSMError(
            f"no pipe {show(name)} from task {writer} to task {reader} is declared: its pipeline says that by pipes="
        )
    return PipeWord(f'"##PIPE:{name}##"')


def with_pipes(command: str, words: Mapping[str, PipeWord]) -> str:
    """The command with these words in place of ``{name}`` for each.

    :raises FSMError: it names one not, or what is given for it is no pipe.
    """
    for name, word in words.items():
        if not isinstance(word, PipeWord):
            raise FSMError(f"{name}= of run takes what pipe_to or pipe_from returns, got {show(word)}")
        mark = "{" + name + "}"
        if mark not in command:
            raise FSMError(f"run: its command must say where {mark} stands, got {show(command)}")
        command = command.replace(mark, word)
    return command


def _check(peering: Peering, sender: int, receiver: int, name: str) -> None:
    _check_name(peering, name)
    for task in (sender, receiver):
        if type(task) is not int or task < 0:
            raise FSMError(f"a task is a number from 0 on, got {show(task)}")
    takes = peering.takes(receiver)
    if sender not in takes:
        raise FSMError(
            f"task {receiver} is not declared to take messages of task {sender}: "
            "its pipeline says that by messages= or consumes="
        )
    names = takes[sender]
    if names is not None and name not in names:
        raise FSMError(
            f"task {receiver} is not declared to take {name!r} of task {sender}, only {sorted(names)[:10]}: "
            "its pipeline says that by messages="
        )


def _check_any(peering: Peering, me: int, name: str) -> None:
    _check_name(peering, name)
    if not any(names is None or name in names for names in peering.takes(me).values()):
        raise FSMError(f"no task is declared to send {name!r} to task {me} (messages= or consumes= of its pipeline)")


def _check_name(peering: Peering, name: str) -> None:
    try:
        check_name(name)
    except (ValueError, AttributeError) as error:
        why = error if isinstance(error, ValueError) else f"a message's name is text, got {show(name)}"
        raise FSMError(str(why)) from None
    if not peering.links:
        raise FSMError(
            "the function's worker cannot send named messages, it is of an earlier version: "
            "make the function again with `mu lambdaize --replace`"
        )
