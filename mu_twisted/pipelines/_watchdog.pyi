"""The C extension: a thread that watches a page without the interpreter's lock (``_watchdog.c``)."""

from mmap import mmap

def start(
    page: mmap,
    main_thread: int,
    soft: float,
    hard: float,
    trace: int,
    interrupt: int,
    dump: int,
    skipped: tuple[str, ...],
    /,
) -> None:
    """Start the thread, once in a process.

    :param page: as ``_guard.py`` lays it out.
    :param main_thread: as ``threading.get_ident()`` names it; the one that calls pipelines' code.
    :param soft: seconds after which it is signalled, again at each look, ``hard`` those after which the process ends.
    :param trace: descriptor of a file into which the ``dump`` signal's handler writes where the main thread is.
    :param interrupt: number of the signal.
    :param skipped: directories whose frames tell a pipeline's author nothing, four at most.
    :raises OSError: there can be no thread.
    """

def stop() -> None:
    """Stop it, if it runs; returns when it has ended."""
