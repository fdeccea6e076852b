"""``--tee`` prints on standard error what programs print while they run, each line behind the name of its task's input.

What of it is not shown is counted; all that is kept, ``mu output`` shows afterwards.
"""

import base64
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from mu_twisted.base import MuError, terminal_safe
from mu_twisted.base.json_types import Json
from mu_twisted.client import Coordinator, ReconnectingClient, RequestRefused

STEP = 20.0
"""Seconds of one request."""
MARGIN = 30.0
"""Seconds that an answer may be late."""
MAX_LINE = 4096
"""Bytes after which a line is shown that has not ended."""
MAX_OPEN = 10_000
"""Runs whose last line has not ended; the oldest are shown as they are."""
LAST = 10.0
"""Seconds that the last lines of a job may take once it is over."""
HELP = "print on standard error what programs print while they run; with several tasks behind their inputs' names"

Say = Callable[[str], None]
RunKey = tuple[int, int, int]


class OutputLines:
    """Makes lines of the pieces in which programs' output comes.

    :param job: the job's name.
    :param say: takes a line, fit for a terminal.
    :param tagged: whether each line names its task, as GNU parallel's ``--tag``.
    """

    def __init__(self, job: str, say: Say, *, tagged: bool) -> None:
        self._job = job
        self._say = say
        self._tagged = tagged
        self._open: dict[RunKey, bytes] = {}
        self._names: dict[RunKey, str] = {}
        self._said_unable = False

    def take(self, page: Mapping[str, Json]) -> None:
        """Take a page of the coordinator's."""
        if page.get("unable") and not self._said_unable:
            self._said_unable = True
            self._say(
                "note: the function holds a worker of an earlier version, which streams nothing: make it again with "
                f"`mu lambdaize --replace`; `mu output {self._job}` shows what was printed"
            )
        if page.get("skipped"):
            self._say(f"({page['skipped']} bytes of several tasks not shown)")
        for piece in page["pieces"]:
            self._take(piece)
        if page.get("over"):
            self.end()

    def end(self) -> None:
        """Nothing more comes: show the lines that have not ended."""
        for run in list(self._open):
            self._flush(run)

    def _take(self, piece: Mapping[str, Json]) -> None:
        run = piece["task"], piece.get("attempt", 0), piece.get("run", 0)
        self._names[run] = _name(piece)
        if piece.get("skipped"):
            self._flush(run)
            self._print(run, f"({piece['skipped']} bytes not shown)")
        data = self._open.pop(run, b"") + base64.b64decode(piece.get("data", ""))
        # A line that a program writes anew each time, as progress, is one each time.
        *lines, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._print_bytes(run, line)
        while len(rest) > MAX_LINE:
            self._print_bytes(run, rest[:MAX_LINE])
            rest = rest[MAX_LINE:]
        if rest:
            self._open[run] = rest
        if piece.get("ended"):
            self._flush(run)
            self._names.pop(run, None)
        while len(self._open) > MAX_OPEN:
            self._flush(next(iter(self._open)))

    def _flush(self, run: RunKey) -> None:
        rest = self._open.pop(run, b"")
        if rest:
            self._print_bytes(run, rest)

    def _print_bytes(self, run: RunKey, line: bytes) -> None:
        self._print(run, line.decode("utf-8", "backslashreplace"))

    def _print(self, run: RunKey, line: str) -> None:
        self._say(terminal_safe(f"{self._names[run]}\t{line}" if self._tagged else line))


def follow(coordinator: Coordinator, job: Mapping[str, Json], say: Say) -> None:
    """Print what the programs of a job print until it is over. Blocks; what goes wrong is one line, and costs no more.

    :param job: as it was last seen.
    :param say: takes a line.
    """
    name = job["job"]
    lines = OutputLines(name, say, tagged=job["tasks"] > 1)
    client = ReconnectingClient(coordinator)
    after = "0.0"
    try:
        while True:
            page = client.get("jobs", name, "tee", after=after, timeout=STEP, answer_timeout=STEP + MARGIN)
            if page is None:
                break
            lines.take(page)
            if page.get("over"):
                return
            after = page["next"]
    except RequestRefused as error:
        older = "the coordinator is of an earlier version: " if error.status == 404 else ""
        say(f"note: --tee shows nothing: {older}{terminal_safe(str(error))}")
    except MuError:  # it has ended; who waits for the job says so
        pass
    lines.end()


@contextmanager
def teed(coordinator: Coordinator, job: Mapping[str, Json], say: Say, *, tee: bool) -> Iterator[None]:
    """For the body print what programs print, in a thread, and at its end what is left.

    :param tee: whether that is asked for.
    """
    if not tee:
        yield
        return
    thread = threading.Thread(target=follow, args=(coordinator, job, say), daemon=True)
    thread.start()
    yield
    thread.join(LAST)


def _name(piece: Mapping[str, Json]) -> str:
    attempt = piece.get("attempt", 0)
    name = piece.get("label") or f"task {piece['task']}"
    return f"{name}, attempt {attempt}" if attempt else name
