"""``mu map`` runs a command for each input of a list, in the manner of GNU parallel.

This module has the command line; what it describes is in the client's ``map_job``, where it runs in its
``map_backend``, what is done with it in ``_map_plan`` (``--dry-run``) and ``_map_execution``.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mu_twisted.cli import _client_options
from mu_twisted.cli._cloud import add_s3_endpoint
from mu_twisted.cli._map_execution import execute, note_own_s3
from mu_twisted.cli._map_plan import print_plan
from mu_twisted.cli._parser import CommandParsers, ListOnce, OptionGroup, ParagraphFormatter
from mu_twisted.cli._tee import HELP
from mu_twisted.cli._wait import ProgressLine, print_note
from mu_twisted.client import NotServed, UsageError
from mu_twisted.client.map_backend import MapBackend
from mu_twisted.client.map_job import MapJob, checked_job, function_options, ready_job
from mu_twisted.client.map_request import MapPlace, MapRequest
from mu_twisted.pipelines import LISTS, PipelineOptions, load_pipeline, shown_input

EPILOG = """\
examples:
  mu map --local --program /bin/gzip --out 's3://mine/{/}.gz' notes/ \\
      -- './gzip < {in} > {out}'
  mu map -l shell --out 's3://mine/sizes/{/.}.txt' 's3://mine/logs/*.txt' \\
      -- 'wc -c < {in} > {out}'
  mu map -l shell --out - ::: a b ::: 1 2 -- 'echo {1} {2}'
  mu map -l ffmpeg -b mine --out 's3://mine/small/{/.}.jpg' photos/ \\
      -- './ffmpeg -i {in} -vf scale=320:-1 {out}'

`docs/map.md` says more.
"""
_OPTION = re.compile(r"--?[A-Za-z][A-Za-z0-9-]*(=.*)?", re.DOTALL)
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


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "map",
        usage="mu map [options] INPUTS -- COMMAND",
        help="run a command for each input of a list",
        formatter_class=ParagraphFormatter,
        description="Run COMMAND in a shell of a worker once for each input, and wait until all are done. "
        "In COMMAND and in --out {} is the input, {.} the same without its suffix, {/} its last name, {/.} that "
        "without suffix, {//} its folder, {#} its number from 1, {1} its first value, {name} the column of that "
        "name, {key} its key; in COMMAND {in} is the file with the object that it is, {out} the file that is stored. "
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
    parser.add_argument("--tee", action="store_true", help=HELP)
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
    where.add_argument(
        "--local-state-dir",
        metavar="DIR",
        type=Path,
        help="state directory of the embedded ones (default: local in DIR)",
    )
    add_s3_endpoint(where)
    _client_options.add_options(parser)
    parser.set_defaults(run=run, values=[], shell_command=None)


def _add_job_options(group: OptionGroup, settings: PipelineOptions) -> None:
    """Those of the pipeline, as it describes them."""
    for long, short, _, text, *_ in settings.parameters():
        if long not in _NOT_OFFERED:
            switches = [f"-{short}"] if short else []
            action = ListOnce if long in LISTS else "store"
            text = text.replace("%", "%%")
            group.add_argument(*switches, f"--{long}", dest=f"job {long}", action=action, metavar="X", help=text)
    for long, short, text, *_ in settings.flags():
        switches = [f"-{short}"] if short else []
        group.add_argument(*switches, f"--{long}", dest=f"job {long}", action="store_true", help=text)


def _add_program_options(group: OptionGroup) -> None:
    """Those of ``mu run``."""
    from mu_twisted.daemons.program import ProgramOptions

    for long, _, _, text, *_ in ProgramOptions.optParameters:
        action = ListOnce if long in LISTS else "store"
        text = text.replace("%", "%%")
        group.add_argument(f"--{long}", dest=f"program {long}", action=action, metavar="X", help=text)
    for long, _, text, *_ in ProgramOptions.optFlags:
        group.add_argument(f"--{long}", dest=f"program {long}", action="store_true", help=text)


def run(options: argparse.Namespace) -> int:
    """Find the inputs, check all that can be checked here, upload, hand the job over or run it here, and wait."""
    if options.shell_command is None:
        raise UsageError("put -- between the inputs and the command: mu map [options] INPUTS -- COMMAND")
    if options.unordered and options.out != "-":
        raise UsageError("--unordered goes with --out -")
    line = ProgressLine()
    place = MapPlace(options.local, options.state_dir, options.local_state_dir, options.s3_endpoint_url)
    request, backend = _request(options), MapBackend(_client_options.coordinator(options), place, print_note)
    program = function_options(request.program, request.options.get("function"), backend)
    if backend.here or not options.dry_run:
        try:
            backend.find_coordinator(must_run=options.no_wait and not options.dry_run)
        except NotServed as error:
            raise NotServed(f"--no-wait leaves the job to a coordinator, and {error}") from None
        note_own_s3(backend, options)
    try:
        job = checked_job(request, backend, line.show)
        _note_odd(job, line)
        if options.dry_run:
            line.clear()
            print_plan(job, program, as_json=options.json)
            return 0
        ready = ready_job(job, program, line.show)
    finally:
        line.clear()
    return execute(ready, options)


def _note_odd(job: MapJob, line: ProgressLine) -> None:
    """Tell the user of words that are taken as they are, and may be meant otherwise."""
    options = [value for values in job.request.values for value in values if _OPTION.fullmatch(value)]
    for words, what in (
        (options, "a value, as it stands behind `:::`: options of mu map stand before that"),
        (job.settings["unknown"], "no replacement, and stays as it is: `mu map --help` lists them"),
    ):
        if words:
            line.clear()
            more = f" (and {len(words) - 1} more)" if len(words) > 1 else ""
            print_note(f"note: {shown_input(words[0])}{more} is {what}")


def _request(options: argparse.Namespace) -> MapRequest:
    given = vars(options)
    return MapRequest(
        options.shell_command,
        inputs=options.inputs,
        each=options.each,
        table=options.csv,
        values=options.values,
        range=options.range,
        out=options.out,
        name=options.name,
        options=_given(given, "job "),
        program=_given(given, "program "),
    )


def _given(options: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in options.items() if key.startswith(prefix)}
