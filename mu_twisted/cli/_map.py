"""``mu map``: a command for each input of a list, in the manner of GNU parallel."""

import argparse
import json
import secrets
import sys
from collections.abc import Callable, Sequence
from typing import Any

from mu_twisted.aws import AwsControl, Clients, price_in
from mu_twisted.base import MuError, terminal_safe
from mu_twisted.cli import _client_options, _format
from mu_twisted.cli._cloud import OperatorCloud, open_cloud
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
from mu_twisted.cli._submit import submitted
from mu_twisted.cli._wait import INTERRUPTED, ProgressLine, wait_and_report
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
    parser.add_argument("--no-wait", action="store_true", help="print the job's name once it is taken, and end")
    _add_job_options(parser.add_argument_group("job options"), load_pipeline("map").options())
    where = parser.add_argument_group("which S3", "By default AWS's, with credentials as AWS's own tools find them.")
    where.add_argument("--local", action="store_true", help="the embedded one of this machine (also: MU_LOCAL=1)")
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


def run(options: argparse.Namespace) -> int:
    """Find the inputs, check all that can be checked here, upload, submit, and wait."""
    job = _Map(options)
    job.find_inputs()
    job.check()
    if options.dry_run:
        job.tell_plan()
        return 0
    coordinator = _client_options.coordinator(options)
    coordinator.get("daemon")  # before anything is uploaded
    job.upload()
    return job.run(coordinator)


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

    # -- before anything is changed --------------------------------------------------------------------------------

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
        rows.append(
            ("tasks", f"{tasks}, on {workers} {'worker' if workers == 1 else 'workers'} of {settings['function']}")
        )
        rows.append(("at most", self._cost(tasks)))
        if self._options.json:
            print(json.dumps({key.replace(" ", "_"): value for key, value in rows}))
        else:
            print(_format.facts("would run", [(key, shown_input(value)) for key, value in rows]))

    def _cost(self, tasks: int) -> str:
        """What the job may cost at most: each attempt a launch of its own that lasts as long as it may."""
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

    def upload(self) -> None:
        """Store the files that are the inputs."""
        if self._files and self._inputs is not None and self._inputs.bucket is not None:
            try:
                upload(self._clients(), self._inputs.bucket, self._files, self._progress.show)
            finally:
                self._progress.clear()

    def run(self, coordinator: Coordinator) -> int:
        """Submit, print results, report."""
        options = self._options
        request: dict[str, Any] = {"pipeline": "map", "words": self._words}
        if self._inputs is not None:
            request["inputs"] = pack_inputs(self._inputs)
        if options.name is not None:
            request["name"] = options.name
        job = submitted(coordinator, request)
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

    def _open(self) -> OperatorCloud:
        if self._cloud is None:
            options = argparse.Namespace(**{**vars(self._options), "state_dir": None, "endpoint_url": None})
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


def _last(count: int, shown: Callable[[int], str]) -> str:
    return f" ... {shown(count - 1)}" if count > 1 else ""
