"""A run's command gets its placeholders replaced here by what event and variables say, before the shell sees it."""

from pathlib import Path

from worker_lambda._errors import CommandFailure
from worker_lambda._event import LaunchEvent
from worker_lambda._template import Substitutions, expand_command, state_placeholders
from worker_lambda._variables import Variables


class WorkerPaths:
    """The paths that a worker uses.

    :param root: the function's files; commands run here, and relative file names are meant from here.
    :param default_command: file with the command given when the function was made.
    :param temporary: where private directories are made.
    """

    def __init__(self, root: Path, default_command: Path, temporary: Path) -> None:
        self.root = root
        self.default_command = default_command
        self.temporary = temporary


def expand_run(argument: bytes, event: LaunchEvent, variables: Variables, paths: WorkerPaths, directory: Path) -> bytes:
    """A run's command with all placeholders replaced; the one given when the function was made, if empty.

    :param directory: the worker's private one.
    :raises MuError: the text is the reason of a FAIL.
    """

    def fallback(name: bytes) -> bytes | None:
        value = variables.get(b"cmd" + name)
        return event.fallbacks.get(name) if value is None else value

    wait = switch = b""
    if variables.flag(b"expect_statefile"):
        wait, switch = state_placeholders(
            variables.integer(b"run_iter"),
            expected=True,
            minimal_recode=variables.flag(b"minimal_recode"),
        )
    values = Substitutions(
        tmpdir=bytes(directory),
        quality=fallback(b"quality"),
        infile=fallback(b"infile"),
        outfile=fallback(b"outfile"),
        variables=fallback(b"vars"),
        arguments=fallback(b"args"),
        wait=wait,
        switch=switch,
    )
    return expand_command(argument or _default_command(paths.default_command), values)


def _default_command(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandFailure(
            f"the function was made without a command: {path.name}: {error.strerror}", "BadCommand"
        ) from None
