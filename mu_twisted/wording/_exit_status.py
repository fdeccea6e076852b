"""Exit statuses are put into words here: what a program came to its end by."""

import signal


def shell_status(status: int) -> int:
    """The exit status as a shell reports it: a signal's number with 128 added."""
    return 128 - status if status < 0 else status


def is_out_of_memory(status: int) -> bool:
    """Whether a run that ended so was killed as the kernel kills where memory runs out.

    :param status: of a run; negative for a signal, or a shell's 128 and more.
    """
    return shell_status(status) == 128 + signal.SIGKILL


def explain_exit(status: int) -> str:
    """What an exit status means, for a user: ``exit status 3``, or the signal, or that memory ran out.

    :param status: of a run; negative for a signal, or a shell's 128 and more.
    """
    if is_out_of_memory(status):
        return "killed by SIGKILL: probably out of memory (give the function more, or the task less)"
    try:
        name = signal.Signals(shell_status(status) - 128).name
    except ValueError:
        return f"exit status {status}"
    return f"killed by {name}" if status < 0 else f"exit status {status} ({name})"
