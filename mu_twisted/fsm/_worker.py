"""The Worker is what a script steers: the worker of its task, with one method for each command."""

from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any

from mu_twisted.fsm._context import Context
from mu_twisted.fsm._errors import FSMError, show
from mu_twisted.fsm._expect import default_expect
from mu_twisted.fsm._named_messages import (
    LINK_COMMANDS,
    PipeWord,
    check_link_command,
    default_file,
    pipe_word,
    receive_command,
    received_from,
    send_command,
    with_pipes,
)
from mu_twisted.fsm._peering import Peering
from mu_twisted.fsm._processes import Process, process_name
from mu_twisted.fsm._replies import RunResult, names_key, names_run, parse_run
from mu_twisted.wire import MAX_PRESIGNED, PRESIGN

INFORMED = ("INFO:",)
"""What is waited for where any INFO will do. Such a message never comes as a reply: it is put into ``info``."""

_SHOWN_OUTPUT = 400


class RunError(FSMError):
    """A command that a script ran ended with a status that is not 0.

    :ivar result: status and output.
    """

    def __init__(self, result: RunResult) -> None:
        self.result = result
        output = result.output.strip()
        shown = f": {show(output[-_SHOWN_OUTPUT:])}" if output else ""
        super().__init__(f"the command ended with status {result.status}{shown}")


class Step:
    """What a script's await hands to its driver: a command to send, and the reply to wait for.

    :param command: the command, or None to wait only.
    :param prefixes: what the reply may begin with.
    :param names: how surely a reply belongs to this command, 0 if nothing in it says so.
    """

    __slots__ = ("command", "names", "prefixes")

    def __init__(
        self, command: str | None, prefixes: tuple[str, ...], names: Callable[[str], int] | None = None
    ) -> None:
        self.command = command
        self.prefixes = prefixes
        self.names = names

    def __await__(self) -> Generator["Step", str, str]:
        return (yield self)


@dataclass(frozen=True)
class Together:
    """What ``Worker.all`` hands to its driver."""

    coroutines: tuple[Coroutine[Any, Any, Any], ...]

    def __await__(self) -> Generator["Together", list[Any], list[Any]]:
        return (yield self)


class Worker:
    """The worker of one task, as a script sees it. Every method that sends is to be awaited.

    A ``FAIL`` of the worker, or a reply that is none to what was sent, ends the task: scripts see successes only.

    :ivar task: number of the task, counted from 0.
    :ivar extra: what the script is about, in a few words; set by the script, and shown in place of its line.
    """

    __slots__ = ("_context", "_files", "extra", "task")

    def __init__(self, context: Context, task: int) -> None:
        self._context = context
        self._files: dict[str, int] = {}
        self.task = task
        self.extra = ""

    @property
    def settings(self) -> Any:
        """The job's options."""
        return self._context.settings

    @property
    def peering(self) -> Peering:
        """How the task finds its peers.

        :raises FSMError: the pipeline says nothing of peers (``consumes``).
        """
        return self._context.peering

    @property
    def info(self) -> dict[str, Any]:
        """What the worker reported by INFO."""
        return self._context.info

    async def set(self, key: str, value: str) -> None:
        """Set a worker variable to a text.

        :raises FSMError: the key holds a colon, or the value is no text.
        """
        await Step(f"set:{_key(key)}:{_text(value)}", ("OK:SET(",), lambda reply: 3 * (reply == f"OK:SET({key})"))

    async def seti(self, key: str, value: int) -> None:
        """Set a worker variable to an integer.

        :raises FSMError: the key holds a colon, or the value is no integer.
        """
        if not isinstance(value, int):
            raise FSMError(f"seti takes an integer, got {show(value)}")
        await Step(f"seti:{_key(key)}:{int(value)}", ("OK:SETI(",), lambda reply: 3 * (reply == f"OK:SETI({key})"))

    async def get(self, key: str) -> str:
        """The value of a worker variable; one that is not set ends the task.

        :param key: its name: one that was set, or of the event, as ``bucket`` (docs/protocol.md).
        """
        reply = await Step(f"get:{key}", ("OK:GET(",))
        return reply[len("OK:GET(") :].removesuffix(")")

    async def geti(self, key: str) -> int:
        """The value of an integer variable; it is in ``info`` then, too.

        :param key: its name; one that is not set ends the task.
        :raises FSMError: it is no integer.
        """
        await Step(f"geti:{_key(key)}", ("OK:GETI(",), lambda reply: 3 * (reply == f"OK:GETI({key})"))
        value = self.info.get(key)
        try:
            return int(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise FSMError(f"the worker's {key} is no integer: {show(value)}") from None

    async def retrieve(self, key: str | None = None, file: str | None = None) -> None:
        """Fetch an object of the variable ``bucket`` into a file, and wait until it is there.

        :param key: the object's key; without it the variables ``inkey`` and ``targfile`` say both.
        :param file: path on the worker; ``##TMPDIR##`` is its private directory.
        """
        reply = await Step(
            f"retrieve:{_pair(key, file)}", ("OK:RETRIEVE(", "OK:RETRIEVING("), lambda reply: names_key(reply, key)
        )
        if reply.startswith("OK:RETRIEVING("):
            await Step(None, ("OK:RETRIEVE(",), lambda reply: names_key(reply, key))

    async def upload(self, key: str | None = None, file: str | None = None) -> None:
        """Store a file as an object of the variable ``bucket``, and wait until it is there.

        :param key: the object's key; without it the variables ``outkey`` and ``fromfile`` say both.
        :param file: path on the worker.
        """
        reply = await Step(
            f"upload:{_pair(key, file)}", ("OK:UPLOAD(", "OK:UPLOADING("), lambda reply: names_key(reply, key)
        )
        if reply.startswith("OK:UPLOADING("):
            await Step(None, ("OK:UPLOAD(",), lambda reply: names_key(reply, key))

    async def presign(self, key: str, file: str, seconds: int = 3600) -> None:
        """Write a URL into a file on the worker, by which a program there can read an object of its bucket.

        So a program reads what it wants of a large object, in ranges. The URL stays on the worker.

        :param key: the object's key; there must be such an object.
        :param file: path on the worker, of a file with that one line.
        :param seconds: that the URL is good for, at most 604800; the function's own credentials may end it earlier.
        :raises FSMError: an argument is wrong, or the worker is of an earlier version.
        """
        supports = self._context.supports
        if supports is not None and PRESIGN not in supports:
            raise FSMError("the function holds a worker of an earlier version, without URLs: `mu lambdaize --replace`")
        if not isinstance(seconds, int) or not 0 < seconds <= MAX_PRESIGNED:
            raise FSMError(f"a URL is good for 1 to {MAX_PRESIGNED} seconds, not {show(seconds)}")
        prefix = "OK:PRESIGN("
        await Step(f"presign:{seconds}:{_pair(key, file)}", (prefix,), lambda reply: names_key(reply, key))

    async def run(self, command: str | None = None, *, check: bool = True, **pipes: PipeWord) -> RunResult:
        """Run a shell command on the worker and wait for its end, also where it runs in the background.

        :param command: without it the command runs that was given when the function was made.
        :param check: raise for a status that is not 0.
        :param pipes: ends of pipes (:meth:`pipe_to`, :meth:`pipe_from`), each for ``{its name}`` in the command.
        :raises RunError: the status is not 0, and ``check`` is set.
        :raises FSMError: the command does not name a pipe that is given.
        """
        text = with_pipes(_text(command or ""), pipes)
        reply = await Step(f"run:{text}", ("OK:RETVAL(", "OK:RUNNING("), lambda reply: names_run(reply, text))
        if reply.startswith("OK:RUNNING("):
            reply = await Step(None, ("OK:RETVAL(",), lambda reply: names_run(reply, text))
        result = parse_run(reply, text)
        if check and result.status != 0:
            raise RunError(result)
        return result

    async def process(
        self, command: str, *, name: str | None = None, keep: bool = False, ready: float | None = None
    ) -> Process:
        """Start a program that stays, and is asked line by line (:meth:`Process.ask`), as one with a model loaded.

        It ends with the task. One that is kept ends with the worker: the next task of the job on this worker that
        starts the same command finds it as it is. Where it runs already, no other is started.

        :param command: as for :meth:`run`; of one that is kept without ``##TMPDIR##``, which ends with the task.
        :param name: letters and digits, where a task has several of one command.
        :param keep: whether it outlives the task.
        :param ready: seconds to wait for its first line, by which it says that it can be asked; None: it says none.
        :raises FSMError: an argument is wrong, or the worker is of an earlier version.
        """
        called = process_name(command, name, self._context.supports)
        return await Process(called, Step).start(command, keep=keep, ready=ready)

    async def echo(self, text: str) -> str:
        """Have the worker repeat a text."""
        reply = await Step(f"echo:{_text(text)}", ("OK:ECHO(",), lambda reply: 3 * (reply == f"OK:ECHO({text})"))
        return reply[len("OK:ECHO(") :].removesuffix(")")

    async def connect(self, to: int) -> None:
        """Open the channel for encoder states to the task's peers, through the rendezvous.

        :param to: the task that all messages of this one go to; its own number where it sends none.
        :raises FSMError: the pipeline says nothing of peers (``consumes``).
        """
        await Step(self._context.peering.connect(self.task, to), ("OK:CONNECT(",))

    async def close_connect(self) -> None:
        """Close the channel to the peers, once the rendezvous has all that was sent."""
        await Step("close_connect:", ("OK:CLOSE_CONNECT",))

    async def send(self, to: int, name: str, file: str | None = None, *, data: bytes | None = None) -> None:
        """Send a message to another task, and wait until it is safe: at its receiver, or kept by the rendezvous.

        :param to: the task that is to receive it.
        :param name: what the receiver asks for it by; those of one name are received in the order of their sending.
        :param file: path on the worker, of a file of any size.
        :param data: instead of a file, the bytes themselves, 64 KiB at most.
        :raises FSMError: the pipeline does not declare it (``messages`` or ``consumes``), or an argument is wrong.
        """
        command = send_command(self._context.peering, self.task, to, name, file, data)
        await Step(command, ("OK:SEND(",), lambda reply: 3 * (reply == f"OK:SEND({to}/{name})"))

    async def receive(self, frm: int, name: str, file: str | None = None) -> str:
        """Wait for the next message of another task by this name.

        :param frm: the task that sends it.
        :param file: path on the worker where it is to be; None: one of its own in the private directory.
        :returns: that path: the file is whole.
        :raises FSMError: the pipeline does not declare it (``messages`` or ``consumes``), or an argument is wrong.
        """
        path = self._file(frm, name) if file is None else _text(file)
        command = receive_command(self._context.peering, self.task, frm, name, path)
        await Step(command, ("OK:RECEIVE(",), lambda reply: 3 * (reply == f"OK:RECEIVE({frm}/{name})"))
        return path

    async def receive_any(self, name: str, file: str | None = None) -> tuple[int, str]:
        """Wait for one more message by this name, of whatever task.

        :param file: as in :meth:`receive`.
        :returns: the task that has sent it, and the path.
        :raises FSMError: as :meth:`receive`.
        """
        path = self._file(None, name) if file is None else _text(file)
        command = receive_command(self._context.peering, self.task, None, name, path)
        reply = await Step(command, ("OK:RECEIVE(",), lambda reply: reply.endswith(f"/{name})"))
        return received_from(reply), path

    def pipe_to(self, task: int, name: str) -> PipeWord:
        """The end of a pipe that one command of this task writes to, and one of the other task reads from.

        What it writes is read as it comes. The reader's end of file comes when this command has ended with status 0.

        :param name: the pipe's, as the pipeline declares it (``pipes``).
        :returns: a word for a command, see :meth:`run`.
        :raises FSMError: it is not declared.
        """
        return pipe_word(self._context.peering, self.task, task, name, writes=True)

    def pipe_from(self, task: int, name: str) -> PipeWord:
        """The other end: a command of this task reads what one of the other task writes.

        :param name: as in :meth:`pipe_to`.
        :returns: a word for a command, see :meth:`run`.
        :raises FSMError: it is not declared.
        """
        return pipe_word(self._context.peering, self.task, task, name, writes=False)

    def _file(self, frm: int | None, name: str) -> str:
        path = default_file(frm, name)
        count = self._files[path] = self._files.get(path, 0) + 1
        return path if count == 1 else f"{path}.{count}"

    async def command(self, text: str, expect: str | None = None) -> str:
        """Send any command, and return its reply.

        :param text: the whole command, e.g. ``connect:HOST:PORT:TEXT``.
        :param expect: what the reply must begin with; without it the default of a CommandListState.
        :raises FSMError: it is a message that the pipeline does not declare.
        """
        if _text(text).startswith(LINK_COMMANDS):
            check_link_command(self._context.peering, self.task, text)
        return await Step(_text(text), (default_expect(text) if expect is None else _text(expect),))

    async def informed(self) -> None:
        """Wait until the worker reports something by INFO; ``info`` holds it then. What came before is past."""
        await Step(None, INFORMED)

    async def all(self, *coroutines: Coroutine[Any, Any, Any]) -> list[Any]:
        """Run several coroutines beside each other until all have ended.

        Replies are given to the coroutine that they name, else to the first that waits for such a one; one that
        no coroutine waits for yet is held back, as in a superposition.

        :returns: what each returned, in the order given.
        :raises Exception: what the first of them to fail raised; the others are ended then.
        """
        return await Together(coroutines)


def _text(value: str) -> str:
    if not isinstance(value, str):
        raise FSMError(f"a text is wanted, got {show(value)}")
    return value


def _key(key: str) -> str:
    if ":" in _text(key):
        raise FSMError(f"a variable's name holds no colon: {show(key)}")
    return key


def _pair(key: str | None, file: str | None) -> str:
    if key is None and file is None:
        return ""
    if key is None or file is None:
        raise FSMError("give both a key and a file, or neither")
    if "\0" in _text(key):
        raise FSMError(f"a key holds no NUL: {show(key)}")
    return f"{key}\0{_text(file)}"
