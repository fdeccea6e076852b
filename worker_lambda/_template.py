"""The template replaces a command's placeholders, in their order and within their limits. No IO.

Order and meaning are the original's; the limit is the kernel's: one argument of a program, as the shell's ``-c`` is,
may have 128 KiB (``MAX_ARG_STRLEN``).
"""

from worker_lambda._errors import CommandFailure

MAX_COMMAND_TEXT = (128 << 10) - 1
"""Bytes of an expanded command."""
MAX_FILE_NAME = 16 << 10
"""Bytes of an expanded file name, far above what the system takes."""
MAX_QUESTION = 4 << 20
"""Bytes of an expanded line that a program is asked."""


class Substitutions:
    """Values of the placeholders; None is an unset one, which stays as it is.

    :param variables: goes in front of the command, with a blank; ``arguments`` behind it.
    :param wait: for ``##INSTATEWAIT##``, and ``switch`` for ``##INSTATESWITCH##``; see :func:`state_placeholders`.
    :param tmpdir: the worker's private directory.
    """

    def __init__(
        self,
        tmpdir: bytes,
        quality: bytes | None = None,
        infile: bytes | None = None,
        outfile: bytes | None = None,
        variables: bytes | None = None,
        arguments: bytes | None = None,
        wait: bytes = b"",
        switch: bytes = b"",
    ) -> None:
        self.tmpdir = tmpdir
        self.quality = quality
        self.infile = infile
        self.outfile = outfile
        self.variables = variables
        self.arguments = arguments
        self.wait = wait
        self.switch = switch


def expand_command(command: bytes, values: Substitutions) -> bytes:
    """The command as the shell gets it.

    Placeholders are replaced one after the other, so that a value may hold those which come after it.

    :raises CommandFailure: it would be longer than a command can be.
    """
    if values.variables is not None:
        command = values.variables + b" " + command
    if values.arguments is not None:
        command = command + b" " + values.arguments
    for mark, value in (
        (b"##QUALITY##", values.quality),
        (b"##INFILE##", values.infile),
        (b"##OUTFILE##", values.outfile),
        (b"##INSTATEWAIT##", values.wait),
        (b"##INSTATESWITCH##", values.switch),
        (b"##TMPDIR##", values.tmpdir),
    ):
        if value is not None:
            command = _replace(command, mark, value, MAX_COMMAND_TEXT)
    if len(command) > MAX_COMMAND_TEXT:
        raise CommandFailure(f"the command has {len(command)} bytes, a shell takes {MAX_COMMAND_TEXT}", "BadCommand")
    return command


def expand_file(name: bytes, tmpdir: bytes) -> bytes:
    """The file name of a retrieve or an upload.

    :raises CommandFailure: it would be longer than a file name can be.
    """
    return _replace(name, b"##TMPDIR##", tmpdir, MAX_FILE_NAME)


def expand_question(line: bytes, tmpdir: bytes) -> bytes:
    """The line that a program is asked.

    :raises CommandFailure: it would be longer than one can be.
    """
    return _replace(line, b"##TMPDIR##", tmpdir, MAX_QUESTION)


def state_placeholders(run_iter: int, *, expected: bool, minimal_recode: bool) -> tuple[bytes, bytes]:
    """``##INSTATEWAIT##`` and ``##INSTATESWITCH##``; ``##TMPDIR##`` in them is replaced later.

    The first is a program of its own, not a shell construct, so that assignments may stand in front of it.

    :param run_iter: number of this run in the chunk.
    :param expected: whether a state file comes from another worker.
    :param minimal_recode: whether the frame before is taken from the first state.
    """
    if run_iter <= 0 or not expected:
        return b"", b""
    state = b'"##TMPDIR##/%d.state"' % (run_iter - 1)
    wait = b"sh -c 'until [ -f \"$0\" ]; do sleep 0.1; done; echo hi' " + state + b" | "
    switch = b'-r -I %s -p "##TMPDIR##/prev.ivf"' % state
    if run_iter > 1:
        switch += b' -S "##TMPDIR##/%d.state"' % (0 if minimal_recode else run_iter - 2)
    return wait, switch


def _replace(text: bytes, mark: bytes, value: bytes, limit: int) -> bytes:
    count = text.count(mark)
    if not count:
        return text
    size = len(text) + count * (len(value) - len(mark))
    if size > limit:  # checked first: a few placeholders and a large value would take all memory
        raise CommandFailure(
            f"with {mark.decode()} replaced it would have {size} bytes, the limit is {limit}", "BadCommand"
        )
    return text.replace(mark, value)
