"""Each command of the coordinator is carried out here.

Knows no connection: commands come in, replies go out by a call.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from mu_twisted.base import MuError
from mu_twisted.wire import (
    MAX_PRESIGNED,
    MAX_PROCESS_NAME,
    MAX_PROCESS_SECONDS,
    MAX_TOKEN,
    CommandError,
    fail,
    info,
    parse_command,
)
from worker_lambda._errors import WorkerError
from worker_lambda._event import TLS_KEYS, LaunchEvent
from worker_lambda._expansion import WorkerPaths, expand_run
from worker_lambda._template import expand_question
from worker_lambda._traffic import Traffic
from worker_lambda._transfer_order import transfer_order
from worker_lambda._variables import Variables
from worker_lambda._workdir import WorkDirectory
from worker_lambda.peers import Finishing, PeerChannel, state_run
from worker_lambda.programs import CommandRuns

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from worker_lambda._store import Store
    from worker_lambda.links import LinkChannel
    from worker_lambda.programs.coprocesses import Coprocesses
    from worker_lambda.programs.program import Program
    from worker_lambda.programs.tee import Tee

MAX_QUEUED = 10_000
MAX_QUEUED_BYTES = 16 << 20
"""Commands that wait for the one before: so many, of so many bytes altogether."""

MAX_ECHOED = 200
"""Bytes of an unknown command that are sent back: what it is shows at its beginning, and the rest may be secret."""


class Commands:
    """Carries commands out in the order of their arrival, and answers each.

    :param event: see :class:`LaunchEvent`.
    :param paths: see :class:`WorkerPaths`.
    :param runs: starts what takes time, beside the loop.
    :param channel: to the rendezvous.
    :param finishing: takes the runs that have produced a state.
    :param send: takes one reply.
    :param greet: sends the greeting.
    :param clear: says whether replies are being taken; commands wait while they are not.
    :param make_links: makes the links of a task, whose private directory it is given.
    :param make_coprocesses: makes the place of programs that stay.
    :param traffic: counts bytes.
    :ivar leaving: whether ``quit:`` has come.
    :ivar token: by which the coordinator recognises this worker after a redial; no variable, and no command shows it.
    """

    def __init__(
        self,
        event: LaunchEvent,
        paths: WorkerPaths,
        runs: CommandRuns,
        channel: PeerChannel,
        finishing: Finishing,
        *,
        send: Callable[[bytes], None],
        greet: Callable[[], None],
        clear: Callable[[], bool],
        make_links: Callable[[WorkDirectory], LinkChannel],
        make_coprocesses: Callable[[], Coprocesses],
        traffic: Traffic | None = None,
    ) -> None:
        self.leaving = False
        self.token = ""
        self._event = event
        self._paths = paths
        self._runs = runs
        self._channel = channel
        self._finishing = finishing
        self._send = send
        self._greet = greet
        self._clear = clear
        self._make_links = make_links
        self._make_coprocesses = make_coprocesses
        self._traffic = traffic or Traffic()
        self._links: LinkChannel | None = None
        self._coprocesses: Coprocesses | None = None
        self._store: Store | None = None
        self._tee: Tee | None = None
        self._runs_begun = 0
        self.variables = Variables(event.variables)
        self.directory = WorkDirectory(paths.temporary)
        channel.begin(self.directory.path)
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._foreground = False
        self._silent = False
        self._killed: int | None = None
        self._handlers: dict[bytes, Callable[[bytes], None]] = {
            b"set": self._set,
            b"seti": self._seti,
            b"get": self._get,
            b"geti": self._geti,
            b"dump_vals": self._dump,
            b"retrieve": lambda argument: self._transfer(argument, upload=False),
            b"upload": lambda argument: self._transfer(argument, upload=True),
            b"presign": self._presign,
            b"run": self._run,
            b"echo": lambda argument: self._send(b"OK:ECHO(" + argument + b")"),
            b"connect": channel.connect,
            b"close_connect": lambda _: channel.close_connect(),
            b"identity": channel.identity,
            b"link": lambda argument: self._begin_links().link(argument),
            b"send": lambda argument: self._begin_links().send(argument),
            b"receive": lambda argument: self._begin_links().receive(argument),
            b"hand_over": lambda argument: self._begin_links().hand_over(argument),
            b"punches": lambda _: self._begin_links().punches(),
            b"pipe": lambda argument: self._begin_links().pipe(argument),
            b"process": self._process,
            b"ask": self._ask,
            b"end": self._end,
            b"quit": self._quit,
        }

    # -- from the loop ---------------------------------------------------------------------------------------------

    def receive(self, payload: bytes) -> None:
        """Take one command. ``ping:``, ``token:``, ``tee:``, ``kill:`` and ``reset:`` do not wait for those before."""
        if payload.startswith(b"ping:"):
            self._send(b"OK:PONG(" + payload[5:] + b")")
        elif payload.startswith(b"token:"):
            self._keep_token(payload[6:])
        elif payload.startswith(b"reset:") and self._hands_over:
            self._enqueue(payload)  # what other tasks may want again is copied first
        elif payload.startswith(b"tee:"):
            self._grant(payload[4:])
        elif self._killed is None and payload.startswith((b"kill:", b"reset:")):
            self._at_once(payload)
        else:
            self._enqueue(payload)
        self.pump()

    @property
    def can_go_on(self) -> bool:
        """Whether :meth:`pump` has something to do."""
        return bool(self._queue) and self._killed is None and not self._waits and self._clear()

    @property
    def _waits(self) -> bool:
        """Whether the reply to a command is due before the next one may begin."""
        return self._foreground or self._channel.busy or self._hands_over

    @property
    def _hands_over(self) -> bool:
        return self._links is not None and self._links.handing_over

    def pump(self) -> None:
        """Carry out what can be carried out now."""
        self._finishing.pump()
        while True:
            if self._killed is not None:
                if self._runs.active:
                    return
                killed, self._killed = self._killed, None
                self._send(b"OK:KILL(%d)" % killed)
            if self.leaving or self._waits or not self._queue or not self._clear():
                return
            payload = self._queue.popleft()
            self._queued -= len(payload)
            if payload.startswith((b"kill:", b"reset:")):  # came while a kill was under way
                self._at_once(payload)
            else:
                self._execute(payload)

    def step_links(self) -> float | None:
        """Let the links go on; as :meth:`worker_lambda.links.LinkChannel.step`."""
        if self._links is None:
            return None
        busy = self._foreground or self._runs.active > 0 or self._finishing.active > 0 or bool(self._queue)
        busy = busy or (self._coprocesses is not None and self._coprocesses.busy)
        return self._links.step(busy=busy)

    def step_tee(self, *, idle: bool) -> float | None:
        """Stream what programs print, if that is asked for; as :meth:`worker_lambda.programs.tee.Tee.step`."""
        return None if self._tee is None else self._tee.step(self._runs.running, idle=idle)

    def stop_tee(self) -> None:
        """Stream nothing more until it is asked for again."""
        self._tee = None

    def step_processes(self) -> float | None:
        """Look after the coprocesses; in how many seconds to be called again, None for never."""
        return None if self._coprocesses is None else self._coprocesses.tick()

    def close(self) -> None:
        """Release the directory and the connections to S3; ``rm_tmpdir`` says whether the directory is deleted."""
        self._close_links()
        if self._coprocesses is not None:
            self._coprocesses.close()
        if self._store is not None:
            self._store.close()
        self.directory.close(remove=self.variables.flag(b"rm_tmpdir"))

    # -- order -----------------------------------------------------------------------------------------------------

    def _at_once(self, payload: bytes) -> None:
        self._drop_queue()
        if payload.startswith(b"kill:"):
            self._killed = self._runs.kill()
            self._finishing.kill()
            self._channel.kill()
            if self._links is not None:
                self._links.kill()
            if self._coprocesses is not None:
                self._coprocesses.kill()
        else:
            self._reset()

    def _enqueue(self, payload: bytes) -> None:
        if len(self._queue) >= MAX_QUEUED or self._queued + len(payload) > MAX_QUEUED_BYTES:
            self._send(fail("too many commands are waiting for the one before"))
            return
        self._queue.append(payload)
        self._queued += len(payload)

    def _drop_queue(self) -> None:
        self._queue.clear()
        self._queued = 0

    def _reset(self) -> None:
        self._drop_queue()
        self._runs.drop()
        self._finishing.drop()
        self.stop_tee()
        self._runs_begun = 0
        self._foreground = False
        self._close_links()
        self._traffic.begin()
        if self._coprocesses is not None:
            self._silent = True
            self._coprocesses.drop()
            self._silent = False
        self.directory.close(remove=self.variables.flag(b"rm_tmpdir"))
        self.variables.restore()
        self.directory = WorkDirectory(self._paths.temporary)
        self._channel.begin(self.directory.path)
        self._greet()

    def _begin_links(self) -> LinkChannel:
        if self._links is None:
            self._links = self._make_links(self.directory)
        return self._links

    def _close_links(self) -> None:
        links, self._links = self._links, None
        if links is not None:
            links.close()

    def _execute(self, payload: bytes) -> None:
        command = parse_command(payload)
        handler = self._handlers.get(command.name) if len(payload) > len(command.name) else None
        if handler is None:
            self._send(fail(b"no such command '" + _bounded(payload) + b"'", self._code(CommandError.code)))
            return
        try:
            handler(command.argument)
        except WorkerError:
            raise
        except MuError as error:
            self._send(fail(str(error), self._code(getattr(error, "code", ""))))
        except (OSError, ImportError) as error:  # a module that is imported when it is needed wants a descriptor
            why = getattr(error, "strerror", None) or str(error)
            self._send(fail(f"{command.name.decode('ascii', 'replace')}: could not be begun: {why}"))

    def _code(self, code: str) -> str:
        """A failure's code, empty for a coordinator that has not announced that it reads codes."""
        return code if self._event.failure_codes else ""

    # -- commands --------------------------------------------------------------------------------------------------

    def _set(self, argument: bytes) -> None:
        key, value = _key_and_value(argument)
        self.variables.set(key, value)
        self._send(b"OK:SET(" + key + b")")

    def _seti(self, argument: bytes) -> None:
        key, value = _key_and_value(argument)
        self.variables.set_integer(key, value)
        self._send(b"OK:SETI(" + key + b")")

    def _keep_token(self, token: bytes) -> None:
        if not token or len(token) > MAX_TOKEN or not token.isalnum():
            self._send(fail(f"a token has 1 to {MAX_TOKEN} letters and digits"))
            return
        self.token = token.decode("ascii")
        self._send(b"OK:TOKEN")

    def _grant(self, argument: bytes) -> None:
        try:
            if self._tee is None:
                from worker_lambda.programs.tee import Tee  # costs, and few jobs use it

                self._tee = Tee(self._send)
            self._tee.grant(argument)
        except (MuError, OSError, ImportError) as error:
            self._send(fail(str(error)))

    def _get(self, key: bytes) -> None:
        self._send(b"OK:GET(" + self._value(key) + b")")

    def _geti(self, key: bytes) -> None:
        self._send(info(key, self._value(key)))
        self._send(b"OK:GETI(" + key + b")")

    def _dump(self, _: bytes) -> None:
        self._send(b"OK:DUMP_VALS:" + self.variables.dump(key for key in TLS_KEYS if key in self._event.tls))

    def _quit(self, _: bytes) -> None:
        self._drop_queue()
        self.leaving = True

    def _run(self, argument: bytes) -> None:
        directory = self.directory.path
        command = expand_run(argument, self._event, self.variables, self._paths, directory)
        if b"\0" in command:
            raise CommandError("a command cannot hold a NUL byte")
        # Commands of states that were ported from the original do not mark the runs that make a state for their peer.
        ported = self._channel.open and self.variables.get(b"produces_state") is None
        state = state_run(command, self.variables, marked_by_text=self._event.job is None or ported)
        background = self.variables.flag(b"nonblock")
        command, pipes = self._begin_links().begin_run(command) if b"##PIPE:" in command else (command, None)

        def report(reply: bytes) -> None:
            self._foreground = self._foreground and background
            self._send(reply)

        def ended(program: Program) -> None:
            status, output = program.result()
            if program.remark:
                self._send(info(b"background", program.remark))
            if pipes is None:
                go_on(program, status, output)
                return
            pipes.ended(status, lambda fault: go_on(program, status, output) if fault is None else report(fail(fault)))

        def go_on(program: Program, status: int, output: bytes) -> None:
            def result(status: int) -> None:
                if self._tee is not None:
                    self._tee.ended(program)
                report(b"OK:RETVAL(%d):OUTPUT(%b):COMMAND(%b)" % (status, output, command))

            if status != 0 or state is None:
                result(status)
            elif self._killed is not None:  # the shell had ended, and a process that held its output was killed
                result(-signal.SIGKILL)
            else:
                self._finishing.add(
                    state,
                    directory,
                    lambda fault: result(0) if fault is None else report(fail(fault)),
                    lambda: result(-signal.SIGKILL),
                )

        number, self._runs_begun = self._runs_begun, self._runs_begun + 1
        try:
            self._runs.run(command, ended, number)
        except BaseException:
            if pipes is not None:
                pipes.abandon()
            raise
        self._started(background, b"OK:RUNNING(" + command + b")")

    def _process(self, argument: bytes) -> None:
        name, kind, seconds, command = _fields(argument, 4)
        if kind not in (b"task", b"kept"):
            raise CommandError("a process is one of a task or kept")
        command = expand_run(command, self._event, self.variables, self._paths, self.directory.path)
        if kind == b"kept" and bytes(self.directory.path) in command:
            raise CommandError("a process that is kept cannot have ##TMPDIR## in its command: that ends with the task")
        if b"\0" in command:
            raise CommandError("a command cannot hold a NUL byte")
        limit, kept = _seconds(seconds), kind == b"kept"
        self._begin_coprocesses().begin(_name(name), command, limit, self._answer(b"PROCESS", name), kept=kept)

    def _ask(self, argument: bytes) -> None:
        name, seconds, line = _fields(argument, 3)
        if b"\n" in line:
            raise CommandError("a line that a process is asked holds no line break")
        limit = _seconds(seconds)
        if not limit:
            raise CommandError("an answer is waited for more than 0 seconds")
        line = expand_question(line, bytes(self.directory.path))
        self._begin_coprocesses().ask(_name(name), line, limit, self._answer(b"ASK", name))

    def _end(self, name: bytes) -> None:
        self._begin_coprocesses().end(_name(name))
        self._send(b"OK:END(" + name + b")")

    def _answer(self, kind: bytes, name: bytes) -> Callable[[bytes | None, str], None]:
        def answered(line: bytes | None, fault: str) -> None:
            if not self._silent:
                self._send(fail(fault) if line is None else b"OK:%b(%b:%b)" % (kind, name, line))

        return answered

    def _begin_coprocesses(self) -> Coprocesses:
        if self._coprocesses is None:
            self._coprocesses = self._make_coprocesses()
        return self._coprocesses

    def _transfer(self, argument: bytes, *, upload: bool) -> None:
        order = transfer_order(argument, self.variables, upload=upload, tmpdir=bytes(self.directory.path))
        background = self.variables.flag(b"nonblock")
        region, path = self.variables.get(b"region") or b"", order.path(bytes(self._paths.root))

        moved = 0

        def work(cancelled: Callable[[], bool]) -> None:
            nonlocal moved
            move(region, order.bucket, order.key, path, cancelled)
            if self._traffic.wanted:
                with suppress(OSError):
                    moved = os.stat(path).st_size  # noqa: PTH116 - as in the S3 client

        def finished(error: str | None) -> None:
            self._foreground = self._foreground and background
            if error is None:
                self._traffic.add(uploaded=moved if upload else 0, retrieved=0 if upload else moved)
            self._send(order.success if error is None else order.failure(error, self._code(transfer.code)))

        store = self._begin_store()
        move = store.upload if upload else store.retrieve
        transfer = self._runs.transfer(work, finished)
        self._started(background, order.bracketed)

    def _presign(self, argument: bytes) -> None:
        text, colon, argument = argument.partition(b":")
        if not colon or not text.isdigit() or len(text) > 9 or not 0 < int(text) <= MAX_PRESIGNED:
            raise CommandError(f"expected 1 to {MAX_PRESIGNED} seconds, a colon, and KEY NUL FILE")
        order = transfer_order(argument, self.variables, upload=False, tmpdir=bytes(self.directory.path))
        region, path, seconds = self.variables.get(b"region") or b"", order.path(bytes(self._paths.root)), int(text)

        def finished(error: str | None) -> None:
            self._foreground = False
            presigned = b"OK:PRESIGN(%b/%b)" % (order.bucket, order.key)
            self._send(presigned if error is None else fail(error, self._code(transfer.code)))

        store = self._begin_store()
        transfer = self._runs.transfer(
            lambda cancelled: store.presign(region, order.bucket, order.key, path, seconds, cancelled), finished
        )
        self._foreground = True

    def _begin_store(self) -> Store:
        if self._store is None:
            from worker_lambda._store import Store  # costs, and comes after the greeting

            self._store = Store(self._event.s3_endpoint)
        return self._store

    def _started(self, background: bool, bracketed: bytes) -> None:
        if not background:
            self._foreground = True
        elif not self.variables.flag(b"bg_silent"):
            self._send(bracketed)

    def _value(self, key: bytes) -> bytes:
        value = self.variables.get(key)
        if value is None:
            raise CommandError("no such variable " + key.decode("utf-8", "surrogateescape"))
        return value


def _bounded(payload: bytes) -> bytes:
    return payload if len(payload) <= MAX_ECHOED else payload[:MAX_ECHOED] + b" ..."


def _fields(argument: bytes, count: int) -> list[bytes]:
    fields = argument.split(b":", count - 1)
    if len(fields) < count:
        raise CommandError(f"invalid syntax: expected {count} fields with colons between them")
    return fields


def _name(name: bytes) -> str:
    if not 0 < len(name) <= MAX_PROCESS_NAME or not name.isalnum():
        raise CommandError(f"a process has a name of 1 to {MAX_PROCESS_NAME} letters and digits")
    return name.decode("ascii")


def _seconds(text: bytes) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_PROCESS_SECONDS:
        raise CommandError(f"expected 0 to {MAX_PROCESS_SECONDS:g} seconds")
    return seconds


def _key_and_value(argument: bytes) -> tuple[bytes, bytes]:
    key, colon, value = argument.partition(b":")
    if not key or not colon:
        raise CommandError("invalid syntax: expected a name, a colon and a value")
    return key, value
