"""Encoder states: what is done when a run that produces one has ended. The peer channel will send them from here."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from worker_lambda._variables import Variables

_PRODUCERS = (b"xc-enc", b"xc-dump", b"xc-terminate-chunk")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class StateRun:
    """A run that produces a state, with the values that held when it was started.

    :param run_iter: number of the run in the chunk.
    :param send: whether the neighbour wants the state.
    """

    run_iter: int
    send: bool


def state_run(command: bytes, variables: Variables, *, marked_by_text: bool) -> StateRun | None:
    """Whether a run about to start produces a state.

    :param command: as expanded.
    :param marked_by_text: for a coordinator that does not know the variable ``produces_state``.
    :raises JobError: ``run_iter`` is no number.
    """
    marked = variables.flag(b"produces_state")
    if not marked and not (marked_by_text and any(name in command for name in _PRODUCERS)):
        return None
    return StateRun(variables.integer(b"run_iter"), variables.flag(b"send_statefile"))


def finish_state(run: StateRun, directory: Path) -> str | None:
    """Make room and keep the output for the next run, after an exit with 0.

    :returns: what went wrong, None if nothing: the run's own result stands in any case.
    """
    try:
        if run.run_iter > 1:
            (directory / f"{run.run_iter - 2}.state").unlink(missing_ok=True)
        _copy(directory / "output.ivf", directory / "prev.ivf")
    except (OSError, ValueError) as error:
        return f"output.ivf could not be kept as prev.ivf: {getattr(error, 'strerror', None) or error}"
    return None


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reading, target.open("wb") as writing:
        while block := reading.read(_BLOCK):
            writing.write(block)
    with suppress(OSError):
        target.chmod(source.stat().st_mode & 0o777)
