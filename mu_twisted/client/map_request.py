"""A map request is what a caller asks of ``mu map``, by the command line or from Python, before it is looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class MapRequest:
    """What is asked for.

    :param command: one text for the shell, or a program and its arguments.
    :param inputs: objects of S3, or files and folders here.
    :param each: the file with the inputs, one a line; ``-``: standard input. It is a ``table`` where its name says so,
        or this does.
    :param values: lists of texts, of which all combinations are inputs.
    :param range: ``FIRST:LAST`` or ``FIRST:LAST:STEP``.
    :param out: the key of outputs; ``-``: what is printed is stored, to be printed here.
    :param name: what the job's name begins with; None: the pipeline's.
    :param options: those of every job, by their long names, as they are typed; True for a flag.
    :param program: those of :class:`mu_twisted.daemons.program.ProgramOptions`, in the same way.
    """

    command: tuple[str, ...]
    inputs: Sequence[str] = ()
    each: str | None = None
    table: bool = False
    values: Sequence[Sequence[str]] = ()
    range: str | None = None
    out: str | None = None
    name: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    program: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MapPlace:
    """Where a job of ``mu map`` is to run.

    :param local: whether Lambda and S3 are the embedded ones.
    :param state_dir: the coordinator's state directory, where it is named.
    :param local_state_dir: that of the embedded Lambda and S3, where it is named.
    :param s3_endpoint_url: base URL of S3; None: AWS's, or what the environment names.
    """

    local: bool = False
    state_dir: Path | None = None
    local_state_dir: Path | None = None
    s3_endpoint_url: str | None = None
