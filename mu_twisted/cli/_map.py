"""``mu map``: a command for each input of a list, in the manner of GNU parallel."""

import argparse
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mu_twisted.aws import AwsControl, Clients, price_in
from mu_twisted.base import MuError, terminal_safe
from mu_twisted.cli import _client_options, _format
from mu_twisted.cli._cloud import OperatorCloud, ensure_stack, open_cloud
from mu_twisted.cli._control import Coordinator
from mu_twisted.cli._errors import UsageError
from mu_twisted.cli._map_results import Results
from mu_twisted.cli._map_sources import (
    LocalFile,
    bucket_of,
    files_list,
    find_files,
    is_url,
    list_objects,
    read_lines,
    upload,
)
from mu_twisted.cli._output import OutputLost
from mu_twisted.cli._run import handed_over, stack_of
from mu_twisted.cli._transport import CoordinatorError, NotServed, UnixTransport
from mu_twisted.cli._wait import INTERRUPTED, ProgressLine, wait_and_report
from mu_twisted.daemons import default_state_dir
from mu_twisted.pipelines import (
    InputList,
    PipelineError,
    combinations,
    load_pipeline,
    pack_inputs,
    shown_input,
)
from mu_twisted.pipelines.map import command_shown, output_key

EPILOG = """\
examples:
  mu map --local --program /bin/gzip --out 's3://mine/{/}.gz' notes/ -- './gzip < {in} > {out}'
  mu map -l shell --out 's3://mine/sizes/{/.}.txt' 's3://mine/logs/*.txt' -- 'wc -c < {in} > {out}'
  mu map -l shell --out - ::: a b ::: 1 2 -- 'echo {1} {2}'
  mu map -l ffmpeg -b mine --out 's3://mine/small/{/.}.jpg' photos/ -- './ffmpeg -i {in} -vf scale=320:-1 {out}'

`docs/map.md` says more.
"""
UPLOADED = "mu-inputs/"
RESULTS = "mu-results/"
"""Where files that were uploaded lie, and for a while what is to be printed."""
_NOT_OFFERED = frozenset({"tasks", "offset", "out", "range", "times"})


def split(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Take apart what argparse cannot: values behind ``:::``, and the command behind the first ``--``.

    :returns: the words that are left, and what was taken.
    """
    before, command = list(words), None
    if "--" in before:
        at = before.index("--")
        before, command = before[:at], tuple(before[at + 1 :])
    values: list[list[str]] = []
    if ":::" in before:
        at = before.index(":::")
        before, behind = before[:at], before[at:]
        for word in behind:
            if word == ":::":
                values.append([])
            else:
                values[-1].append(word)
    return before, {"values": values, "shell_command": command}


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "map",
        usage="mu map [options] INPUTS -- COMMAND",
        help="run a command for each input of a list",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Run COMMAND in a shell of a worker once for each input, and wait until all are done.\n"
        "In COMMAND and in --out {} is the input, {.} the same without its suffix, {/} its last name, {/.} that\n"
        "without suffix, {//} its folder, {#} its number from 1, {1} its first value, {name} the column of that\n"
        "name, {key} its key; in COMMAND {in} is the file with the object that it is, {out} the file that is stored.\n"
        "Each is one word of the shell, quoted; {name:raw} is its text as it is.",
        epilog=EPILOG,
    )
    inputs = parser.add_argument_group("inputs, in one of these ways")
    inputs.add_argument(
        "inputs",
        metavar="INPUTS",
        nargs="*",
        help="s3://BUCKET/PREFIX/*.png, a whole folder s3://BUCKET/PREFIX/, or files and folders here, which are "
        "uploaded; `::: A B C` gives values, and several of these all combinations",
    )
    inputs.add_argument("--each", metavar="FILE", help="each line of a file, or row of a .csv with a header; -: stdin")
    inputs.add_argument("--csv", action="store_true", help="--each is a table, whatever its name")
    inputs.add_argument("--range", metavar="FIRST:LAST", help="numbers, the last among them; FIRST:LAST:STEP")
    parser.add_argument(
        "--out", metavar="KEY", help="where outputs go, s3://BUCKET/KEY with replacements; -: they are printed"
    )
    parser.add_argument("--unordered", action="store_true", help="with --out -: as they come, not in order")
    parser.add_argument("--name", metavar="NAME", help="what the job's name begins with (map)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and what it may cost at most")
    parser.add_argument(
        "--no-wait", action="store_true", help="print the job's name once a coordinator that runs has it, and end"
    )
    _add_job_options(parser.add_argument_group("job options"), load_pipeline("map").options())
    _add_program_options(parser.add_argument_group("the function of a program"))
    where = parser.add_argument_group("which S3", "By default AWS's, with credentials as AWS's own tools find them.")
    where.add_argument(
        "--local",
        action="store_true",
        help="the embedded one of this machine, and its Lambda, started where they do not run (also: MU_LOCAL=1)",
    )
    where.add_argument("--s3-endpoint-url", metavar="URL", help="base URL of S3 (also: $AWS_ENDPOINT_URL_S3)")
    _client_options.add_options(parser)
    parser.set_defaults(run=run, values=[], shell_command=None)


def _add_job_options(group: Any, settings: Any) -> None:
    """Those of the pipeline, as it describes them."""
    for long, short, _, text, *_ in settings.parameters():
        if long not in _NOT_OFFERED:
            switches = [f"-{short}"] if short else []
            group.add_argument(*switches, f"--{long}", dest=f"job {long}", metavar="X", help=text.replace("%", "%%"))
    for long, short, text, *_ in settings.flags():
        switches = [f"-{short}"] if short else []
        group.add_argument(*switches, f"--{long}", dest=f"job {long}", action="store_true", help=text)


def _add_program_options(group: Any) -> None:
    """Those of ``mu run``."""
    from mu_twisted.daemons.program import ProgramOptions

    for long, _, _, text, *_ in ProgramOptions.optParameters:
        group.add_argument(f"--{long}", dest=f"program {long}", metavar="X", help=text.replace("%", "%%"))
    for long, _, text, *_ in ProgramOptions.optFlags:
        group.add_argument(f"--{long}", dest=f"program {long}", action="store_true", help=text)


def run(options: argparse.Namespace) -> int:
    """Find the inputs, check all that can be checked here, upload, hand the job over or run it here, and wait."""
    job = _Map(options)
    job.find_coordinator()
    job.find_inputs()
    job.check()
    if options.dry_run:
        job.tell_plan()
        return 0
    job.make_function()
    job.upload()
    return job.run()


class _Map:
    """One command line, step by step."""

    def __init__(self, options: argparse.Namespace) -> None:
        if options.shell_command is None:
            raise UsageError("put -- between the inputs and the command: mu map [options] INPUTS -- COMMAND")
        if options.unordered and options.out != "-":
            raise UsageError("--unordered goes with --out -")
        self._options = options
        self._progress = ProgressLine()
        self._cloud: OperatorCloud | None = None
        self._files: list[LocalFile] = []
        self._inputs: InputList | None = None
        self._results: str | None = None
        self._settings: Any = None
        self._words: list[str] = []
        self._coordinator = _client_options.coordinator(options)
        self._here = isinstance(self._coordinator.transport, UnixTransport)
        self._local = bool(options.local) or os.environ.get("MU_LOCAL", "0") not in ("", "0")
        self._found: Any = None
        self._program = self._program_options()

    # -- before anything is changed --------------------------------------------------------------------------------

    def find_coordinator(self) -> None:
        """Ask the coordinator what it is, if one runs.

        :raises MuError: it cannot take this job.
        """
        from mu_twisted.daemons.run import mismatch

        if self._options.dry_run and not self._here:
            return
        try:
            self._found = self._coordinator.get("daemon")
        except NotServed:
            if self._options.no_wait and not self._options.dry_run:
                raise
            return
        why = mismatch({"local": self._local}, self._found) if self._here else None
        if why is not None:
            raise CoordinatorError(why)

    def find_inputs(self) -> None:
        """Read or list them."""
        options = self._options
        ways = [options.inputs, options.each, options.values, options.range]
        if sum(bool(way) for way in ways) != 1:
            what = "there are no inputs" if not any(ways) else "inputs are given in two ways"
            raise UsageError(f"{what}: give S3 objects or files, or --each FILE, --range FIRST:LAST, ::: VALUES")
        if options.csv and options.each is None:
            raise UsageError("--csv goes with --each")
        try:
            if options.each is not None:
                self._inputs = read_lines(options.each, table=options.csv or None)
            elif options.values:
                self._inputs = combinations(options.values)
            elif options.inputs:
                self._inputs = self._named()
        finally:
            self._progress.clear()

    def _named(self) -> InputList:
        names = self._options.inputs
        urls = [name for name in names if is_url(name)]
        if urls and len(urls) < len(names):
            raise UsageError("inputs are objects of S3, or files here, not both: map one after the other")
        if urls:
            return list_objects(self._clients(), names, self._progress.show)
        self._files = find_files(names, UPLOADED, self._progress.show)
        return files_list(self._files, self._bucket("the files that are uploaded"))

    def check(self) -> None:
        """Have the pipeline look at options and inputs, as the coordinator will."""
        from twisted.python.usage import UsageError as OptionsError

        options = self._options
        out = options.out
        if out == "-":
            self._results = f"s3://{self._bucket('what is printed')}/{RESULTS}{secrets.token_hex(8)}/"
            out = f"{self._results}{{n:08d}}"
        given = {key.removeprefix("job "): value for key, value in vars(options).items() if key.startswith("job ")}
        given.update({"out": out, "range": options.range})
        self._words = [f"--{key}" if value is True else f"--{key}={value}" for key, value in given.items() if value]
        self._words += ["--", *options.shell_command]
        pipeline = load_pipeline("map")
        try:
            packed = None if self._inputs is None else pack_inputs(self._inputs)
            self._settings = pipeline.parse(self._words, packed)
            self._settings.check_place(self._words)
            for _ in pipeline.checking(self._settings):
                pass
        except (OptionsError, PipelineError) as error:
            raise UsageError(str(error).removeprefix("Parameter type enforcement failed: ")) from None

    def tell_plan(self) -> None:
        """Say what would be done."""
        settings = self._settings
        inputs, tasks = settings["inputs"], settings["tasks"]
        workers = min(tasks, settings["max-workers"] or tasks) + settings["overprovision"]
        rows = [("inputs", f"{len(inputs)}, {inputs.label(0)}{_last(len(inputs), inputs.label)}")]
        if self._files:
            size = sum(file.size for file in self._files)
            rows.append(("uploads", f"{len(self._files)} files of {size} bytes, to s3://{inputs.bucket}/{UPLOADED}"))
        if settings["target"] is not None and self._results is None:
            urls = [f"s3://{settings['bucket']}/{output_key(settings, at)}" for at in (0, len(inputs) - 1)]
            rows.append(("outputs", urls[0] + _last(len(inputs), lambda at: urls[-1 if at else 0])))
        rows.append(("first", command_shown(settings, 0)))
        if len(inputs) > 1:
            rows.append(("last", command_shown(settings, len(inputs) - 1)))
        rows.append(("tasks", f"{tasks}, on {workers} {'worker' if workers == 1 else 'workers'} of {self._function()}"))
        rows.append(("at most", self._cost(tasks)))
        if self._options.json:
            print(json.dumps({key.replace(" ", "_"): value for key, value in rows}))
        else:
            print(_format.facts("would run", [(key, shown_input(value)) for key, value in rows]))

    def _cost(self, tasks: int) -> str:
        """What the job may cost at most: each attempt a launch of its own that lasts as long as it may."""
        from mu_twisted.daemons.program import spec_of

        settings = self._settings
        region = settings["regions"][0]
        try:
            cloud = self._open()
            clients = cloud.clients(region)
            control = AwsControl(
                cloud.session,
                region,
                lambda_endpoint=clients.lambda_endpoint,
                s3_endpoint=cloud.s3_endpoint,
                stack=cloud.stack,
            )
            if self._program["program"] is not None:
                function: Any = spec_of(self._program, self._local, os.environ)
            else:
                function = control.function_settings(settings["function"])
        except MuError as error:
            return f"not known: {error}"
        price = price_in(region, function.architecture)
        if price is None:
            return f"not known: there is no price of {region}"
        longest = function.timeout.total_seconds()
        seconds = min(settings["task-timeout"] or longest, longest)
        attempts = tasks * (1 + settings["retries"])
        most = price.of(attempts, attempts * seconds, function.memory_mb, function.tmp_mb)
        return (
            f"{most:.2f} {price.currency} by AWS's price list of {price.date}: {attempts} attempts of {seconds:g} s "
            f"with {function.memory_mb} MB"
        )

    # -- what changes something ------------------------------------------------------------------------------------

    def make_function(self) -> None:
        """Make the function of the program, or find it."""
        from mu_twisted.daemons.program import function_for

        if self._program["program"] is None:
            return
        self._open()  # so that the stack runs
        name = function_for(self._program, self._settings["regions"], self._stack(), _tell)
        self._words.insert(0, f"--function={name}")
        self._settings["function"] = name

    def upload(self) -> None:
        """Store the files that are the inputs."""
        if self._files and self._inputs is not None and self._inputs.bucket is not None:
            try:
                upload(self._clients(), self._inputs.bucket, self._files, self._progress.show)
            finally:
                self._progress.clear()

    def run(self) -> int:
        """Hand the job over or run it here, print results, report."""
        job = self._handed_over() if self._found is not None else None
        return self._run_here() if job is None else self._follow(job)

    def _handed_over(self) -> Any:
        options = self._options
        request: dict[str, Any] = {"pipeline": "map", "words": self._words}
        if self._inputs is not None:
            request["inputs"] = pack_inputs(self._inputs)
        if options.name is not None:
            request["name"] = options.name
        return handed_over(self._coordinator, request)

    def _run_here(self) -> int:
        """As ``mu run`` does; the process exits with the job's status."""
        from mu_twisted.daemons._one_shot import ResultPrinter
        from mu_twisted.daemons.run import run_map

        options = self._options
        if self._local:
            self._open()  # so that the stack runs
        given = {"state-dir": options.state_dir, "s3-endpoint-url": options.s3_endpoint_url}
        words = [f"--{key}={value}" for key, value in given.items() if value is not None]
        words += [f"--{key}" for key, value in (("local", self._local), ("json", options.json)) if value]
        printer = None
        if self._results is not None:
            directory = options.state_dir or default_state_dir()
            here, prefix, clients = Coordinator(UnixTransport(directory)), self._results, self._clients()

            def print_all(job: Any) -> str | None:
                try:
                    results.begin(job)
                    results.print_all()
                except (MuError, OutputLost) as error:
                    return str(error)
                return None

            results = Results(here, None, clients, prefix, self._settings, ordered=not options.unordered)
            printer = ResultPrinter(print_all, prefix)
        run_map([*words, "map", *self._words], self._inputs, options.name, printer)
        return 0

    def _follow(self, job: Any) -> int:
        """Wait for a job that a coordinator has."""
        options, coordinator = self._options, self._coordinator
        name = terminal_safe(job["job"])
        if options.no_wait:
            print(json.dumps(job) if options.json else name)
            if self._results is not None:
                print(f"results will be in {self._results}", file=sys.stderr)
            return 0
        if self._results is None:
            if not options.json:
                print(name, flush=True)
            return wait_and_report(coordinator, job, as_json=options.json)
        results = Results(
            coordinator, job, self._clients(), self._results, self._settings, ordered=not options.unordered
        )
        try:
            results.print_all()
        except KeyboardInterrupt:
            where = f"results come to {self._results}"
            print(f"interrupted; the job goes on: `mu wait {name}`, or `mu cancel {name}`; {where}", file=sys.stderr)
            return INTERRUPTED
        return wait_and_report(coordinator, job, as_json=options.json, apart=True)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _program_options(self) -> dict[str, Any]:
        """What :func:`function_for` takes.

        :raises UsageError: they are wrong.
        """
        from twisted.python.usage import UsageError as OptionsError

        from mu_twisted.daemons.program import PROGRAM_KEYS, ProgramOptions, check_program

        given = vars(self._options)
        found = {key: given[f"program {key}"] for key in PROGRAM_KEYS}
        try:
            for key, _, _, _, *convert in ProgramOptions.optParameters:
                if convert and found[key] is not None:
                    found[key] = convert[0](found[key])
            check_program(found, given["job function"])
        except (OptionsError, ValueError) as error:
            raise UsageError(str(error)) from None
        if self._local and self._here and found["program"] is None and given["job function"] is None:
            # The shell is there without it; a function is made of some program.
            found["program"] = shutil.which("true")
        return {
            **found,
            "local": self._local,
            "endpoint-url": None,
            "s3-endpoint-url": self._options.s3_endpoint_url,
        }

    def _function(self) -> str:
        program = self._program["program"]
        return str(self._settings["function"]) if program is None else f"a function of {program}"

    def _stack(self) -> Path | None:
        """The directory of the embedded stack; None: the default one, or the job uses none."""
        return stack_of(self._options.state_dir, self._found) if self._local and self._here else None

    def _open(self) -> OperatorCloud:
        if self._cloud is None:
            stack = self._stack()
            if stack is not None:
                ensure_stack(stack)
            options = argparse.Namespace(**{**vars(self._options), "state_dir": stack, "endpoint_url": None})
            self._cloud = open_cloud(options)
        return self._cloud

    def _clients(self) -> Clients:
        regions = vars(self._options)["job regions"]
        return self._open().clients((regions or "us-east-1").split(",")[0].strip())

    def _bucket(self, what: str) -> str:
        """The bucket that is named for outputs or inputs, by ``-b``, ``--out`` or the inputs themselves."""
        named = vars(self._options)["job bucket"]
        for url in (self._options.out or "", *self._options.inputs):
            named = named or (bucket_of(url) if is_url(url) else None)
        if not named:
            raise UsageError(f"{what} must have a bucket: say which with -b BUCKET")
        return str(named)


def _tell(line: str) -> None:
    print(terminal_safe(line), file=sys.stderr, flush=True)


def _last(count: int, shown: Callable[[int], str]) -> str:
    return f" ... {shown(count - 1)}" if count > 1 else ""
