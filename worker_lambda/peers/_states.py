"""Encoder states are kept as files: written when a run that produces one has ended, and when one arrives.

Everything here may take its time: it is done in a thread beside the loop.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from mu_twisted.wire import MAX_PEER_MESSAGE
from worker_lambda._errors import CommandFailure
from worker_lambda._variables import Variables

MAX_STATE = 256 << 20
"""Bytes of a state, not compressed: three frames of 8K video and more."""
MAX_STATES = 4096
"""States that one task may be sent."""
_PRODUCERS = (b"xc-enc", b"xc-dump", b"xc-terminate-chunk")
_BLOCK = 1 << 20


class StateRun:
    """A run that produces a state, with the values that held when it was started.

    :param run_iter: number of the run in the chunk.
    :param send: whether the next worker in the chain is to get the state.
    """

    def __init__(self, run_iter: int, send: bool) -> None:
        self.run_iter = run_iter
        self.send = send


def state_run(command: bytes, variables: Variables, *, marked_by_text: bool) -> StateRun | None:
    """Whether a run about to start produces a state.

    The variable ``produces_state`` says it. Where the task has never set it, the command's text does, as in the
    original: it names one of the encoder's programs.

    :param command: as expanded.
    :param marked_by_text: whether the text may say it, too; for a coordinator of the original it does in any case.
    :raises CommandFailure: ``run_iter`` is no number.
    """
    marked = variables.flag(b"produces_state")
    if not marked and not (marked_by_text and any(name in command for name in _PRODUCERS)):
        return None
    return StateRun(variables.integer(b"run_iter"), variables.flag(b"send_statefile"))


def keep_output(run: StateRun, directory: Path, cancelled: Callable[[], bool]) -> None:
    """After an exit with 0: make room, and keep the output for the next run.

    :param cancelled: says whether it is no longer wanted.
    :raises CommandFailure: it cannot be kept.
    """
    try:
        if run.run_iter > 1:
            (directory / f"{run.run_iter - 2}.state").unlink(missing_ok=True)
        with (directory / "output.ivf").open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            _write(directory, "prev.ivf", iter(lambda: file.read(_BLOCK), b""), cancelled, mode)
    except (OSError, ValueError) as error:
        raise CommandFailure(f"output.ivf could not be kept as prev.ivf: {_reason(error)}") from None


def message_of(run: StateRun, directory: Path) -> bytes:
    """The message that takes a run's state to the next worker.

    :raises CommandFailure: there is no state, or it is too large.
    """
    from mu_twisted.wire import state_message  # costs, and few workers have peers

    try:
        found = os.open(
            directory / "final.state", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        )  # a FIFO does not stop us
        with os.fdopen(found, "rb") as file:
            status = os.fstat(found)
            if not S_ISREG(status.st_mode):
                raise CommandFailure("final.state is no file that could be sent")
            if status.st_size > MAX_STATE:
                raise CommandFailure(f"final.state has {status.st_size} bytes, the limit is {MAX_STATE}")
            message = state_message(run.run_iter, file.read(MAX_STATE))
    except OSError as error:
        raise CommandFailure(f"final.state could not be sent: {_reason(error)}") from None
    if len(message) > MAX_PEER_MESSAGE:
        raise CommandFailure(f"final.state has {len(message)} bytes compressed, a message {MAX_PEER_MESSAGE} at most")
    return message


class Arrivals:
    """The states that have come in for one task.

    :param directory: where they go.
    :param keep_first: whether a state that is there is kept when one of its number comes again with other bytes, as
        from another attempt of the producer; else the last one counts, as in the original.
    :param limit: bytes that a state may have; ``max_states``: how many there may be.
    """

    def __init__(
        self, directory: Path, *, keep_first: bool, limit: int = MAX_STATE, max_states: int = MAX_STATES
    ) -> None:
        self._directory = directory
        self._keep_first = keep_first
        self._limit = limit
        self._max_states = max_states
        self._digests: dict[int, bytes] = {}  # the file itself may have been deleted: it was used

    def take(self, message: bytes, cancelled: Callable[[], bool]) -> None:
        """Write one ``STATE(N):`` message to its file, which is whole as soon as it is there.

        :param cancelled: says whether it is no longer wanted.
        :raises PeerError: it is none.
        :raises CommandFailure: it cannot be kept; or it is another one than the first of its number.
        """
        import hashlib  # costs, and few workers have peers

        from mu_twisted.wire import parse_state

        number, state = parse_state(message, self._limit)
        digest = hashlib.sha256(state).digest()
        kept = self._digests.get(number)
        if kept is not None and self._keep_first:
            if kept != digest:
                raise CommandFailure(
                    f"STATE({number}) came again with other bytes: another attempt of its producer made another state, "
                    f"its program is not deterministic; the first is kept"
                )
            return
        if kept is None and len(self._digests) >= self._max_states:
            raise CommandFailure(
                f"STATE({number}) is one more than the {self._max_states} states that a task may be sent"
            )
        view = memoryview(state)
        blocks = (view[at : at + _BLOCK] for at in range(0, len(view), _BLOCK))
        try:
            _write(self._directory, f"{number}.state", blocks, cancelled, 0o644)
        except OSError as error:
            raise CommandFailure(f"STATE({number}) could not be written: {_reason(error)}") from None
        self._digests[number] = digest


def _write(
    directory: Path,
    name: str,
    blocks: Iterable[bytes | memoryview],
    cancelled: Callable[[], bool],
    mode: int,
) -> None:
    """A file that is whole once it has its name; nothing is left of one that could not be."""
    temporary = directory / f".{name}.{os.urandom(8).hex()}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb", buffering=0) as out:
            for block in blocks:
                if cancelled():
                    return
                rest = memoryview(block)
                while rest:
                    rest = rest[out.write(rest) :]
        if not cancelled():
            temporary.rename(directory / name)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
