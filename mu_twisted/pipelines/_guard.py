"""The guard calls what a pipeline's author wrote, and knows which job's code runs, since when, and whether it blocks.

Each call has a number, its generation, which stands with job, task and start in a page of memory that is a file of the
state directory. A thread (``_watchdog.c``) reads it and signals the main thread when a call has lasted too long; the
signal's handler raises :class:`Interrupted` where the call stands, but only if that very call still runs and the frame
that is interrupted is inside it: the journal, Deferreds and this module are never interrupted. What does not yield to
that ends the process, and the page, with a trace beside it, names to the next start whose code it was.

Knows neither jobs nor pipelines, only their names.
"""

import faulthandler
import gc
import mmap
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from twisted.logger import Logger

from mu_twisted.base import MuError
from mu_twisted.base.steps import Steps
from mu_twisted.fsm import Interrupted, user_place

try:
    from mu_twisted.pipelines import _watchdog
except ImportError:  # it is not built: said when it is asked for
    _watchdog = None  # type: ignore[assignment]

T = TypeVar("T")

SOFT_LIMIT = 0.5
"""Seconds after which a call is interrupted."""
HARD_LIMIT = 5.0
"""Seconds after which a call that bears no interruption ends the process."""

# Words of the page, of eight bytes each; _watchdog.c has them too.
_FORMAT, _GENERATION, _TASK, _START, _AIMED, _ELAPSED, _CAUSE, _JOB = 0, 1, 2, 3, 4, 5, 6, 16
_VERSION = 0x6D75_0001
_PAGE = 4096
_JOB_BYTES = 128
_FROZEN = 1
_INTERRUPT = signal.SIGURG
"""Its default is to be ignored, so one that comes late harms nothing; Go's runtime takes it for the same."""
_DUMP = signal.SIGXCPU
_IMPORTING = 0.8
"""Part of the hard limit that an import of another module has: one that was interrupted cannot be imported again by the
same process, whichever pipeline asks for it."""
_NOT_THE_AUTHORS = (str(Path(os.__file__).parent) + os.sep, str(Path(__file__).parent.parent) + os.sep)
"""Directories whose frames say nothing to a pipeline's author."""
_MAX_TRACE = 64 << 10
_FRAME = re.compile(r'^  File "([^"]+)", line (\d+) in (\S+)$', re.MULTILINE)


class WatchError(MuError):
    """What is to be known of the pipelines' code cannot be kept."""


class Guard:
    """Calls pipelines' code. There is one in a process; it watches from :meth:`watch` on, and only the main thread."""

    _log = Logger()

    def __init__(self) -> None:
        self._words: memoryview | None = None
        self._page: mmap.mmap | None = None
        self._trace: Any = None
        self._soft = SOFT_LIMIT
        self._hard = HARD_LIMIT
        self._named = b""
        self._job = b""
        self._place: str | None = None
        self._generation = 0
        self._collected: FrameType | None = None
        self._before: Any = None
        os.register_at_fork(after_in_child=self._forked)

    @property
    def watches(self) -> bool:
        """Whether calls have a time limit."""
        return self._words is not None

    # -- calls -----------------------------------------------------------------------------------------------------

    def call(self, job: bytes, task: int, function: Callable[..., T], *given: Any) -> T:
        """Call a function whose frames are, or lead to, the author's.

        :param job: its name, empty if it has none yet; ``task`` its task's number, -1 where it is about none.
        :raises Interrupted: it has lasted too long. What it was about is of no use any more.
        """
        words = self._words
        generation = self._generation
        if words is None or generation & 1:  # there is no watching, or it is part of another call
            return function(*given)
        if job is not self._named:
            self._name(job)
        words[_TASK] = task + 1
        words[_GENERATION] = self._generation = generation + 1
        try:
            found = function(*given)
        except BaseException as error:
            if self._place is not None:
                # Its frames hold the author's objects: if freeing them blocks, it is here that it is interrupted.
                error.__traceback__ = error.__context__ = error.__cause__ = None
            words[_GENERATION] = self._generation = generation + 2
            if self._place is None:
                raise
        else:
            words[_GENERATION] = self._generation = generation + 2
            if self._place is None:
                return found
        raise self._interrupted()

    def call_for_job(self, function: Callable[..., T], *given: Any) -> T:
        """The same for code that is about no task: for the job of :meth:`on_behalf_of`, from any thread."""
        if self._words is None or threading.current_thread() is not threading.main_thread():
            return function(*given)
        found: T = self.call(self._job, -1, _apply, function, given)
        return found

    @contextmanager
    def on_behalf_of(self, job: str) -> Iterator[None]:
        """What is called within is that job's."""
        before, self._job = self._job, job.encode("ascii", "replace")
        try:
            yield
        finally:
            self._job = before

    def doing_for(self, job: str, steps: Steps[T]) -> Steps[T]:
        """The same for what is called in these steps, and not in between."""
        with closing(steps):
            while True:
                try:
                    with self.on_behalf_of(job):
                        next(steps)
                except StopIteration as end:
                    found: T = end.value
                    return found
                yield

    # -- watching --------------------------------------------------------------------------------------------------

    def watch(self, directory: Path, soft: float = SOFT_LIMIT, hard: float = HARD_LIMIT) -> None:
        """Watch calls of this thread, the main one, from now on.

        :param directory: has page and trace, those of the process before are overwritten; see :func:`last_end`.
        :param soft: seconds that a call may last, ``hard`` those after which it ends the process.
        :raises WatchError: the directory cannot be written to.
        """
        self._soft, self._hard = soft, hard
        try:
            self._trace = _trace_file(directory).open("w+b", buffering=0)
            self._page = _new_page(_page_file(directory))
        except OSError as error:
            raise WatchError(f"cannot write to the state directory {directory}: {error.strerror}") from None
        self._place, self._named, self._generation = None, b"", 0
        self._words = memoryview(self._page).cast("Q")
        self._words[_FORMAT] = _VERSION
        faulthandler.enable(self._trace, all_threads=False)
        if _watchdog is None:
            self._log.warn("pipelines' code is called without a time limit: the C extension is not built")
            return
        self._before = signal.signal(_INTERRUPT, self._interrupt)
        faulthandler.register(_DUMP, self._trace, all_threads=False, chain=False)
        file = self._trace.fileno()
        _watchdog.start(self._page, threading.get_ident(), soft, hard, file, _INTERRUPT, _DUMP, _NOT_THE_AUTHORS)
        gc.callbacks.append(self._collecting)

    def stop(self) -> None:
        """Watch no longer: the process ends in good order, or not by a pipeline's code."""
        if self._words is None or self._page is None:
            return
        if _watchdog is not None:
            _watchdog.stop()
            gc.callbacks.remove(self._collecting)
            signal.signal(_INTERRUPT, self._before)
            faulthandler.unregister(_DUMP)
        faulthandler.disable()
        self._words.release()
        self._page.close()
        self._trace.close()
        self._words = self._page = None

    # -- inside ----------------------------------------------------------------------------------------------------

    def _name(self, job: bytes) -> None:
        assert self._page is not None
        self._page[_JOB * 8 : _JOB * 8 + _JOB_BYTES] = job[: _JOB_BYTES - 1].ljust(_JOB_BYTES, b"\0")
        self._named = job

    def _interrupted(self) -> Interrupted:
        place, self._place = self._place, None
        return Interrupted(
            f"blocked {self._soft:g} s{f' at {place}' if place else ''}: a pipeline must not block, "
            "its worker's commands may"
        )

    def _interrupt(self, _number: int, frame: FrameType | None) -> None:
        """The signal's handler."""
        words = self._words
        if words is None or words[_AIMED] != self._generation or frame is None:
            return
        inside, importing = self._look(frame)
        if not inside or (importing and words[_ELAPSED] < 1000 * self._hard * _IMPORTING):
            return
        if self._place is None:
            self._place = user_place(_interrupted_frame(frame), _CALL)
        raise Interrupted(f"blocked {self._soft:g} s")

    def _look(self, frame: FrameType) -> tuple[bool, bool]:
        """Whether a frame is inside a call, and there inside the import of another module."""
        at: FrameType | None = frame
        importing = False
        while at is not None:
            if at is self._collected or at.f_code is _CALL:
                return at is not frame and frame.f_code is not _COLLECTING, importing
            code = at.f_code
            importing = importing or (code.co_name == "_find_and_load" and code.co_filename.startswith("<frozen"))
            at = at.f_back
        return False, False

    def _collecting(self, phase: str, _info: dict[str, int]) -> None:
        """Python collects garbage, and may run an author's ``__del__`` amid anything."""
        words = self._words
        if words is None or threading.get_ident() != _MAIN:
            return
        if phase == "start":
            if not self._generation & 1:
                self._collected = sys._getframe().f_back
                if self._collected is None:  # the interpreter ends
                    return
                self._name(b"")
                words[_TASK] = 0
                self._generation += 1
                words[_GENERATION] = self._generation
        elif self._collected is not None:
            self._generation += 1
            words[_GENERATION] = self._generation
            self._collected = self._place = None

    def _forked(self) -> None:
        """The page is the parent's."""
        self._words = None


def _interrupted_frame(frame: FrameType) -> FrameType:
    """Where the call stood when it was first interrupted: a signal may come while the handler of another one runs."""
    first, at = frame, frame.f_back
    if frame.f_code is _HANDLER and at is not None:
        first = at
    while at is not None and at.f_code is not _CALL:
        if at.f_code is _HANDLER and at.f_back is not None:
            first = at.f_back
        at = at.f_back
    return first


def _apply(function: Callable[..., T], given: tuple[Any, ...]) -> T:
    """Has a frame of its own, below the guard's, also where the function is one of C."""
    return function(*given)


_CALL = Guard.call.__code__
_HANDLER = Guard._interrupt.__code__
_COLLECTING = Guard._collecting.__code__
_MAIN = threading.main_thread().ident

guard = Guard()
"""The process's."""


@dataclass(frozen=True)
class LastEnd:
    """How a process has ended amid a pipeline's code.

    :param job: whose, empty where it is not known.
    :param task: None where it was about no single task.
    :param how: what is known of it, a few words.
    :param certain: whether it was the code's doing; else the process may have been killed there by chance.
    """

    job: str
    task: int | None
    how: str
    certain: bool


def last_end(directory: Path) -> LastEnd | None:
    """How the process before has ended, if it was amid a pipeline's code.

    :param directory: as for :meth:`Guard.watch`, which was not called yet.
    """
    try:
        page = _page_file(directory).read_bytes()
        with _trace_file(directory).open("rb") as file:
            trace = file.read(_MAX_TRACE).decode("utf-8", "replace")
    except OSError:
        return None
    if len(page) < _PAGE:
        return None
    words = memoryview(page).cast("Q")
    if words[_FORMAT] != _VERSION or not words[_GENERATION] & 1:
        return None
    job = page[_JOB * 8 : _JOB * 8 + _JOB_BYTES].rstrip(b"\0").decode("ascii", "replace")
    fatal = re.match(r"Fatal Python error: (.+)", trace)
    if words[_CAUSE] == _FROZEN:
        how = "it blocked and did not yield"
    elif fatal:
        how = fatal[1]
    else:
        how = "it ended the process without a word, or was killed"
    place = _place_in(trace)
    return LastEnd(
        job,
        words[_TASK] - 1 if words[_TASK] else None,
        f"{how} at {place}" if place else how,
        words[_CAUSE] == _FROZEN or fatal is not None,
    )


def _place_in(trace: str) -> str:
    frames = _FRAME.findall(trace)
    users = [
        frame
        for frame in frames
        if "site-packages" in frame[0] or not frame[0].startswith((*_NOT_THE_AUTHORS, "<frozen"))
    ]
    if not users and not frames:
        return ""
    path, line, function = (users or frames)[0]
    return f"{Path(path).name} line {line}, in {function}"


def _page_file(directory: Path) -> Path:
    return directory / "user-code.page"


def _trace_file(directory: Path) -> Path:
    return directory / "user-code.trace"


def _new_page(path: Path) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, 0)
        os.posix_fallocate(descriptor, 0, _PAGE)  # a full disk is an error now, not a SIGBUS later
        return mmap.mmap(descriptor, _PAGE)
    finally:
        os.close(descriptor)
