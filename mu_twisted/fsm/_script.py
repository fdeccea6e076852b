"""A script is a task written as a coroutine, stepped by its machine. There is no event loop and no asyncio in it.

A script is one state to the Machine. Inside it are strands: the script itself, and what ``Worker.all`` runs beside
each other. Each strand waits for one reply at a time.
"""

from collections.abc import Callable, Coroutine, Iterator
from types import CoroutineType
from typing import Any, TypeAlias

from mu_twisted.base import MuError
from mu_twisted.fsm._errors import (
    PROPAGATED,
    FSMError,
    StateFault,
    describe,
    error_line,
    is_ours,
    place_of,
    show,
    user_line,
)
from mu_twisted.fsm._states import MachineState, TerminalState
from mu_twisted.fsm._worker import INFORMED, RunError, Step, Together, Worker

Script: TypeAlias = Callable[[Worker], Coroutine[Any, Any, Any]]
"""A task as a coroutine function: ``async def task(w): ...``."""

_GREETING = "OK:HELLO"


class _Strand:
    """One coroutine under way."""

    __slots__ = ("children", "coroutine", "done", "parent", "result", "wait")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], parent: "_Strand | None" = None) -> None:
        self.coroutine = coroutine
        self.parent = parent
        self.children: list[_Strand] = []
        self.wait: Step | None = None
        self.done = False
        self.result: Any = None

    def waiting(self) -> "Iterator[_Strand]":
        """The strands that wait for a reply, this one or those within it, in order."""
        if self.wait is not None:
            yield self
        for child in self.children:
            yield from child.waiting()

    def close(self) -> None:
        """End it and what runs within it; what its clean-up raises or awaits says nothing any more."""
        for child in self.children:
            child.close()
        self.children, self.wait, self.done = [], None, True
        try:
            self.coroutine.close()
        except PROPAGATED:
            raise
        except BaseException:  # noqa: BLE001, S110 - a clean-up that awaits, or fails, after the end
            pass

    def users(self) -> "CoroutineType[Any, Any, Any] | None":
        """The innermost coroutine in it that is the user's."""
        found = None
        at: Any = self.coroutine
        while isinstance(at, CoroutineType):
            # Not the frame: Python makes an object of it when it is asked for, and most of them are ours.
            if not is_ours(at.cr_code.co_filename):
                found = at
            at = at.cr_await
        return found

    def line(self) -> tuple[str, int, str] | None:
        """File, line and function where it waits, of the innermost frame that is the user's."""
        found = self.users()
        if found is None:
            return self.parent.line() if self.parent is not None else None
        frame, code = found.cr_frame, found.cr_code
        return None if frame is None else (code.co_filename, frame.f_lineno, code.co_name)


_ReadyStrands: TypeAlias = list[tuple[_Strand, Any, BaseException | None]]
"""Strands that can go on, the next one last, each with what its await gives or raises."""


class ScriptState(MachineState):
    """The state of a machine whose task is a script. It begins with the worker's greeting."""

    _awaits_messages = True

    def __init__(self, prevState: MachineState, actorNum: int, script: Script) -> None:
        super().__init__(prevState, actorNum)
        self._script = script
        self._called = getattr(script, "__name__", type(script).__name__)
        self._root: _Strand | None = None
        self._worker = Worker(self._context, actorNum)
        self._shown: tuple[object, object, int, str] = (None, None, -1, "")

    @property
    def _holds_back(self) -> bool:  # type: ignore[override]
        return self._root is not None and bool(self._root.children)

    @property
    def name(self) -> str:
        """The script's name, and the line where it waits."""
        place = self._place()
        return self._called if place is None else f"{self._called}:{place[1]}"

    def get_expect(self) -> str | None:
        expected = self._expected()
        return expected[0] if expected else None

    def str_extra(self) -> str:
        if self._worker.extra:
            return f"({self._worker.extra})"
        place = self._place()
        return f"({self._called})" if place is None else f"({self._called}, line {place[1]})"

    def __str__(self) -> str:
        # It is asked for with each message, and mostly says the same again: where the same coroutine waits at the same
        # instruction, as the line would take longer to find.
        strand, extra = self._first_waiting(), self._worker.extra
        users = strand.users() if strand is not None else None
        frame = users.cr_frame if users is not None else None
        if frame is None or type(extra) is not str:
            return super().__str__()
        at = frame.f_lasti
        shown_extra, shown_users, shown_at, text = self._shown
        if at != shown_at or users is not shown_users or extra is not shown_extra:
            text = super().__str__()
            self._shown = extra, users, at, text
        return text

    def _first_waiting(self) -> _Strand | None:
        root = self._root
        return root if root is None or root.wait is not None else next(root.waiting(), None)

    def _place(self) -> tuple[str, int, str] | None:
        strand = self._first_waiting()
        return None if strand is None else strand.line()

    def _where(self) -> str:
        place = self._place()
        return f"script {self._called}" + (f" ({place_of(*place)})" if place else "")

    def _expected(self) -> list[str]:
        if self._root is None:
            return [_GREETING]
        return [text for strand in self._root.waiting() if strand.wait for text in strand.wait.prefixes]

    def _offer(self, message: str) -> MachineState | None:
        if self._root is None:
            if not message.startswith(_GREETING):
                return None
            self._context.delivered()
            return self._resume(self._begin(), None)
        strand = self._taker(message)
        if strand is None:
            return None
        self._context.delivered()
        strand.wait = None
        return self._resume(strand, message)

    def _informed(self) -> MachineState:
        if self._root is None:
            return self
        state: MachineState = self
        for strand in list(self._root.waiting()):
            if strand.wait is not None and strand.wait.prefixes == INFORMED:
                strand.wait = None
                state = self._resume(strand, "")
        return state

    def _begin(self) -> _Strand:
        coroutine = self._script(self._worker)
        if not isinstance(coroutine, Coroutine):
            raise FSMError(f"a script is an async function, but this one returned {show(coroutine)}")
        self._root = _Strand(coroutine)
        return self._root

    def _taker(self, message: str) -> _Strand | None:
        """The strand whose command the message names most surely; the first of those that wait for such a one."""
        root = self._root
        assert root is not None
        if not root.children:  # most scripts, most of the time: there is one that can take it
            return root if root.wait is not None and message.startswith(root.wait.prefixes) else None
        best, rank = None, -1
        for strand in root.waiting():
            wait = strand.wait
            if wait is not None and message.startswith(wait.prefixes):
                names = wait.names(message) if wait.names is not None else 0
                if names > rank:
                    best, rank = strand, names
        return best

    def _resume(self, strand: _Strand, message: str | None) -> MachineState:
        assert self._root is not None
        try:
            self._drive(strand, message)
        except (*PROPAGATED, StateFault):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a script raises ends its machine only
            place = user_line(error.__traceback__)
            where = f"script {self._called}" + (f" ({place})" if place else "")
            text = error_line(f"{where}: {describe(error)}")
            if isinstance(error, RunError):
                result = error.result
                raise StateFault(text, status=result.status, output=result.output, where=where) from error
            said = isinstance(error, MuError) and not isinstance(error, FSMError)
            raise StateFault(text, where=where if said else None) from error
        return TerminalState(self, self.actorNum) if self._root.done else self

    def _drive(self, strand: _Strand, message: str | None) -> None:
        """Run a strand, and whatever it starts or sets free, until all that is left waits."""
        ready: _ReadyStrands = [(strand, message, None)]
        step = self._context.step
        while ready:
            strand, value, error = ready.pop()
            if strand.done:
                continue
            try:
                step()
            except FSMError as loop:
                # Not raised inside the script, which could go on regardless.
                place = strand.line()
                where = f"script {self._called}" + (f" ({place_of(*place)})" if place else "")
                raise StateFault(f"{where}: {loop}") from None
            try:
                request = strand.coroutine.send(value) if error is None else strand.coroutine.throw(error)
                waits = self._request(strand, request, ready)
            except StopIteration as stop:
                strand.done, strand.result = True, stop.value
                parent = strand.parent
                if parent is not None and all(child.done for child in parent.children):
                    ready.append((parent, [child.result for child in parent.children], None))
                    parent.children = []
            except BaseException as failure:
                strand.close()
                parent = strand.parent
                if parent is None or isinstance(failure, PROPAGATED):
                    raise
                for child in parent.children:
                    child.close()
                parent.children = []
                ready.append((parent, None, failure))
            else:
                if waits is not None:
                    ready.append((strand, None, waits))

    def _request(self, strand: _Strand, request: object, ready: _ReadyStrands) -> BaseException | None:
        """Do what a strand awaits; returns what is to be raised inside it instead."""
        if isinstance(request, Step):
            try:
                self._context.emit(request.command)
            except FSMError as error:
                return error
            strand.wait = request
        elif isinstance(request, Together):
            wrong = [c for c in request.coroutines if not isinstance(c, Coroutine)]
            if wrong:
                return FSMError(f"all() takes coroutines, got {show(wrong[0])}")
            strand.children = [_Strand(coroutine, strand) for coroutine in request.coroutines]
            if strand.children:
                ready += [(child, None, None) for child in reversed(strand.children)]
            else:
                ready.append((strand, [], None))
        else:
            return FSMError(f"a script awaits its worker's methods only, got {show(request)}")
        return None

    def _leave(self) -> None:
        if self._root is not None:
            self._root.close()
