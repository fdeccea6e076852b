"""Job options are what every pipeline takes; a pipeline's own options subclass these.

Switches, names and defaults are those of the original's servers (its README); what is new has a long name only.
"""

import getopt
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NoReturn, TypeAlias

from twisted.python import usage
from twisted.python.reflect import accumulateClassList

from mu_twisted.base.masking import masked
from mu_twisted.jobs import JobPolicy
from mu_twisted.pipelines._input_list import InputList

JobSettings: TypeAlias = Mapping[str, Any]
"""A job's options by their long names, as its pipeline's ``Options`` have parsed them; of what type each value is, the
pipeline's author says there."""

MAX_TASKS = 1_000_000
"""Of one job: each takes about a kilobyte in the coordinator."""
MAX_SHARDS = 256
"""Of a rendezvous."""
MAX_KEY = 1024
"""Bytes of an S3 key, by S3's documentation."""
_MOST = 1_000_000
_MOST_COST = 1_000_000_000
_SECONDS = f"a number of seconds above 0, below {_MOST}"


def coerced(convert: Callable[[str], Any], wanted: str, switch: str) -> Callable[[str], Any]:
    """A converter for ``optParameters`` whose error says what was wanted.

    :param convert: raises ValueError for text that it cannot take.
    :param wanted: completes the sentence "expected ...".
    :param switch: the option, as the error is to name it.
    """

    def conversion(text: str) -> Any:
        try:
            return convert(text)
        except ValueError:
            hint = "" if text else ": is a variable empty?"
            raise ValueError(f"{switch}: expected {wanted}, got {masked(text)!r}{hint}") from None

    return conversion


def coerced_range(low: int, high: int, switch: str, what: str = "a whole number") -> Callable[[str], int]:
    """A converter for whole numbers of a range, for ``optParameters``.

    :param low: the least, and ``high`` the greatest that it takes.
    :param switch: the option, as the error is to name it.
    :param what: what the error says that was expected, before the range.
    """

    def convert(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or not low <= int(text) <= high:
            raise ValueError
        return int(text)

    return coerced(convert, f"{what} from {low} to {high}", switch)


def at_least(low: int, switch: str) -> Callable[[str], int]:
    """A converter for whole numbers that are not below ``low``; its error names the ``switch``."""

    def convert(text: str) -> int:
        number = int(text)
        if number < low:
            raise ValueError
        return number

    return coerced(convert, f"a whole number of at least {low}", switch)


def s3_key(switch: str) -> Callable[[str], str]:
    """A converter for keys of S3 objects; its error names the ``switch``."""

    def convert(text: str) -> str:
        if not text or "\0" in text or len(text.encode("utf-8", "surrogateescape")) > MAX_KEY:
            raise ValueError
        return text

    return coerced(convert, f"an S3 key of 1 to {MAX_KEY} bytes", switch)


_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:[!-~]{1,1000}")
"""What S3 can be asked for: old buckets have names that new ones may not have."""
_FUNCTION = re.compile(
    r"(?=.{1,256}$)(arn:[a-z-]+:lambda:)?([a-z]+(-[a-z]+)+-[0-9]:)?([0-9]{12}:)?(function:)?[A-Za-z0-9_.-]+"
    r"(:(\$LATEST|[A-Za-z0-9_-]+))?"
)
"""As Lambda's API has it: a name or an ARN, with a version or an alias or without."""
_A_FUNCTION = "a function's name, of letters, digits, - and _, or its ARN"
_NAMES = [
    ("bucket", "-b", _BUCKET, "a bucket's name, of letters, digits, '.', - and _"),
    ("function", "-l", _FUNCTION, _A_FUNCTION),
    ("retry-memory", "--retry-memory", _FUNCTION, _A_FUNCTION),
]
"""Options that name what is there: the name, the switch, what they can be, and that in words."""


def _tasks(text: str) -> int:
    tasks = at_least(1, "-n")(text)
    if tasks > MAX_TASKS:
        raise ValueError(f"-n: a job has at most {MAX_TASKS} tasks, not {tasks}; submit several")
    return tasks


def _positive_seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < _MOST:
        raise ValueError
    return seconds


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise ValueError
    return port


def _shards(text: str) -> int:
    shards = int(text)
    if not 0 < shards <= MAX_SHARDS:
        raise ValueError
    return shards


def _peer(text: str) -> str:
    if text not in ("auto", "relay"):
        raise ValueError
    return text


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise ValueError
    return names


def _statuses(text: str) -> frozenset[int] | None:
    if text == "all":
        return None
    found = frozenset(int(number) for number in text.split(",")) if text not in ("", "none") else frozenset()
    if not all(-64 <= status <= 255 for status in found):
        raise ValueError
    return found


def _factor(text: str) -> float:
    factor = float(text)
    if not 1 <= factor < _MOST:
        raise ValueError
    return factor


@dataclass(frozen=True)
class Halt:
    """What ``--halt`` says.

    :param running: whether what runs is killed.
    :param failures: tasks that have failed by then, or their ``percent`` of all.
    """

    running: bool = False
    failures: int | None = None
    percent: float | None = None


def _halt(text: str) -> Halt:
    if text == "never":
        return Halt()
    found = re.fullmatch(r"(now|soon),fail=([0-9]{1,9})(\.[0-9]{1,6})?(%?)", text)
    if found is None or (found[3] and not found[4]):
        raise ValueError
    amount = float(found[2] + (found[3] or ""))
    if not amount or (found[4] and amount > 100):
        raise ValueError
    running = found[1] == "now"
    return Halt(running, percent=amount) if found[4] else Halt(running, failures=int(amount))


def _cost(text: str) -> float:
    amount = float(text)
    if not 0 < amount < _MOST_COST:
        raise ValueError
    return amount


def refuse_address(options: usage.Options, words: Sequence[str], fine: Callable[[str], bool] = lambda _: False) -> None:
    """Look for a word behind ``-h``: in the original that was the host's address, here it is the switch for the help.

    Shown the help, and the status of success, a script would believe that its job had run.

    :param words: what is to be parsed.
    :param fine: says of a word whether it may stand there.
    :raises twisted.python.usage.UsageError: there is one.
    """
    try:
        _, rest = getopt.getopt(list(words), options.shortOpt, options.longOpt)
    except getopt.GetoptError:
        return  # is an error when they are parsed
    at = len(words) - len(rest)
    if rest and at and words[at - 1] == "-h" and not fine(rest[0]):
        raise usage.UsageError(
            f"-h shows the help, it takes no {_quoted(rest[0])}: the address at which workers reach this host, the "
            "original's -h, is --host-addr"
        )


LISTS = frozenset({"with", "exclude", "regions", "retry-exit"})
"""Options whose values are lists, separated by commas."""


def refuse_words(options: usage.Options, words: Sequence[str]) -> None:
    """Look for options that have no converter and were given an empty text, which is no name, path or address.

    Of an option whose value is a list the last one would count where it is given twice.

    :param options: that parse the words.
    :raises twisted.python.usage.UsageError: there is one.
    """
    try:
        pairs, _ = getopt.getopt(list(words), options.shortOpt, options.longOpt)
    except getopt.GetoptError:
        return  # is an error when they are parsed
    plain = {row[0] for row in _parameters(options) if len(row) < 5}
    given: set[str] = set()
    for switch, value in pairs:
        name = options.synonyms[switch.lstrip("-")]
        if name in LISTS and name in given:
            raise usage.UsageError(f"{switch} was given twice: separate its values by commas")
        given.add(name)
        if not value and name in plain:
            raise usage.UsageError(f"{switch}: expected a value, got '': is a variable empty?")


def _parameters(options: usage.Options) -> list[list[Any]]:
    """All options with a value, as ``optParameters`` has them; the last of those of one name."""
    found: list[list[Any]] = []
    accumulateClassList(type(options), "optParameters", found)  # type: ignore[no-untyped-call]
    return list({each[0]: each for each in found}.values())


ORIGINAL_BUCKET = ["bucket", "b", "excamera-us-east-1", "S3 bucket of input and output"]
"""The option of the pipelines that the original had, with its default."""


class PipelineOptions(usage.Options):
    """The options that every job has. Parsed, a mapping: ``settings["tasks"]`` and so on.

    A subclass may name one of them anew, to give it another default or description.
    """

    optParameters = [
        ["tasks", "n", 1, "number of tasks, each on a worker of its own", _tasks],
        ["offset", "o", 0, "number of the first task's input: skip this many", at_least(0, "-o")],
        ["bucket", "b", None, "S3 bucket of input and output"],
        ["function", "l", None, "name of the Lambda function (default: the pipeline's name)"],
        [
            "regions",
            "r",
            "us-east-1",
            "comma-separated regions to launch in, in turn",
            coerced(_names, "region,region", "-r"),
        ],
        [
            "copies",
            None,
            1,
            "copies of the function to launch, as mu lambdaize --copies makes them",
            at_least(1, "--copies"),
        ],
        ["times", "O", None, "write each task's states and their times to this file"],
        [
            "overprovision",
            "X",
            0,
            "launch this many workers more than there are tasks",
            at_least(0, "-X"),
        ],
        [
            "start-timeout",
            None,
            "30",
            "seconds that a launched worker has to dial in",
            coerced(_positive_seconds, _SECONDS, "--start-timeout"),
        ],
        [
            "max-workers",
            None,
            None,
            "workers at once; each takes one task after the other",
            at_least(1, "--max-workers"),
        ],
        ["retries", None, 2, "attempts that a task gets after a failed one", at_least(0, "--retries")],
        [
            "retry-exit",
            None,
            "none",
            "exit statuses of commands that are worth a retry: 1,2 or all or none",
            coerced(_statuses, "numbers from -64 to 255 separated by commas, or all, or none", "--retry-exit"),
        ],
        [
            "task-timeout",
            "m",
            None,
            "seconds that an attempt at a task may take (default: as long as its function)",
            coerced(_positive_seconds, _SECONDS, "-m"),
        ],
        [
            "speculate",
            None,
            None,
            "give a task that takes longer than this many times the median a second attempt",
            coerced(_factor, f"a number of at least 1, below {_MOST}", "--speculate"),
        ],
        [
            "halt",
            None,
            "never",
            "end the job when tasks fail: now,fail=1 kills what runs, soon,fail=10% lets it end",
            coerced(_halt, "never, or now or soon with ,fail=NUMBER or ,fail=PERCENT%", "--halt"),
        ],
        ["retry-memory", None, None, "function on which tasks run again that died for want of memory"],
        [
            "max-cost",
            None,
            None,
            "end the job when it has cost this much, in USD",
            coerced(_cost, f"an amount above 0, below {_MOST_COST}", "--max-cost"),
        ],
    ]
    optFlags = [["skip-existing", None, "leave out tasks whose output is there"]]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.longOpt = list(dict.fromkeys(self.longOpt))
        # usage.Options converts what is given, but not defaults, which the help shows as one would type them.
        rows: list[Any] = []
        accumulateClassList(type(self), "optParameters", rows)  # type: ignore[no-untyped-call]
        for name, default, convert in ((row[0], row[2], row[4]) for row in rows if len(row) > 4):
            if isinstance(default, str):
                self[name] = convert(default)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse a job's options.

        :raises twisted.python.usage.UsageError: something is wrong with them.
        """
        refuse_address(self, sys.argv[1:] if options is None else options)
        super().parseOptions(options)  # type: ignore[no-untyped-call]

    def parseArgs(self, *words: str) -> None:
        """There are none, unless a subclass takes some.

        :raises twisted.python.usage.UsageError: there are.
        """
        if words:
            raise usage.UsageError(f"only options are expected here, not {words[0]!r}")

    def parameters(self) -> list[list[Any]]:
        """All options with a value, as ``optParameters`` has them; the last of those of one name."""
        return _parameters(self)

    def flags(self) -> list[list[Any]]:
        """All options without a value, as ``optFlags`` has them."""
        found: list[list[Any]] = []
        accumulateClassList(type(self), "optFlags", found)  # type: ignore[no-untyped-call]
        return found

    def take_inputs(self, inputs: InputList) -> None:
        """Take the list of what the tasks are to work on, before the options are parsed. Few pipelines have one.

        :raises twisted.python.usage.UsageError: this one has none.
        """
        raise usage.UsageError(f"{len(inputs)} inputs came with the job, and its pipeline takes no list of them")

    def check_words(self, words: Sequence[str]) -> None:
        """Look for empty values, lists that are given twice, names that AWS can have nothing of, and options behind the
        first word that is none, which would be taken for its own.

        For job options as their user typed them; parsing does not ask for it, as journals hold older ones.

        :param words: the job options; they can be parsed.
        :raises twisted.python.usage.UsageError: there are some, and no ``--`` says that they are meant so.
        """
        refuse_words(self, words)
        self._check_place(words)
        for name, switch, pattern, wanted in _NAMES:
            if self[name] and pattern.fullmatch(self[name]) is None:
                raise usage.UsageError(f"{switch}: expected {wanted}, got {self[name]!r:.80}")

    def _check_place(self, words: Sequence[str]) -> None:
        _, rest = getopt.getopt(list(words), self.shortOpt, self.longOpt)
        start = len(words) - len(rest)
        if start and words[start - 1] == "--":
            return
        late = next((word for word in rest[1:] if word.startswith("-") and word != "-"), None)
        if late is not None:
            raise usage.UsageError(
                f"{_quoted(late)} stands behind {_quoted(rest[0])}: put the job's options before it, and -- before a "
                "command that has options of its own"
            )

    def opt_version(self) -> None:
        """Show the version of mu and exit."""
        print_version()

    opt_h = usage.Options.opt_help


def print_version() -> NoReturn:
    """Print the version as ``mu --version`` does, and exit with status 0."""
    sys.stdout.write(f"mu-twisted {version('mu-twisted')}\n")
    sys.stdout.flush()
    raise SystemExit(0)


def _quoted(word: str) -> str:
    return word if word.isascii() and word.isprintable() and len(word) < 30 and " " not in word else repr(word[:60])


def job_policy(settings: JobSettings) -> JobPolicy:
    """How hard a job tries, by its options.

    :raises mu_twisted.jobs.JobError: they make no sense together.
    """
    return JobPolicy(
        retries=settings["retries"],
        retry_exit=settings["retry-exit"],
        task_timeout=settings["task-timeout"],
        max_workers=settings["max-workers"],
        overprovision=settings["overprovision"],
        start_timeout=settings["start-timeout"],
        speculate=settings["speculate"],
        halt_failures=settings["halt"].failures,
        halt_percent=settings["halt"].percent,
        halt_running=settings["halt"].running,
        retry_memory=settings["retry-memory"] is not None,
    )


class PeerOptions(PipelineOptions):
    """The options of jobs whose tasks talk to one another."""

    optParameters = [
        ["rendezvous-host", "H", "127.0.0.1", "host name or address at which workers reach the rendezvous"],
        ["rendezvous-port", "T", 13337, "port of the rendezvous", coerced(_port, "a port from 1 to 65535", "-T")],
        [
            "rendezvous-shards",
            "R",
            1,
            "shards of the rendezvous, on as many ports from -T on; groups of tasks are spread over them",
            coerced(_shards, f"a whole number from 1 to {MAX_SHARDS}", "-R"),
        ],
        [
            "peer",
            None,
            "auto",
            "how named messages travel: auto, directly where the workers' NATs allow it, or relay, by the rendezvous",
            coerced(_peer, "auto or relay", "--peer"),
        ],
    ]
