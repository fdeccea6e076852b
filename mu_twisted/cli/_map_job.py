"""A job of ``mu map`` is made of its command line here: inputs, settings, and the words that a coordinator takes.

What is wrong with it is found before anything is stored or launched.
"""

import argparse
import secrets
import shutil
import sys
from typing import Any

from mu_twisted.base import terminal_safe
from mu_twisted.cli._errors import UsageError
from mu_twisted.cli._map_backend import MapBackend
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
from mu_twisted.cli._wait import ProgressLine
from mu_twisted.pipelines import InputList, PipelineError, combinations, load_pipeline, pack_inputs

UPLOADED = "mu-inputs/"
RESULTS = "mu-results/"
"""Where files that were uploaded lie, and for a while what is to be printed."""


class MapJob:
    """What one command line asks for; its methods are called in the order in which they stand.

    :param options: those of ``mu map``.
    :raises UsageError: they do not go together.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        if options.shell_command is None:
            raise UsageError("put -- between the inputs and the command: mu map [options] INPUTS -- COMMAND")
        if options.unordered and options.out != "-":
            raise UsageError("--unordered goes with --out -")
        self.options = options
        self.backend = MapBackend(options)
        self.program = self._program_options()
        """What :func:`mu_twisted.daemons.program.function_for` takes."""
        self.files: list[LocalFile] = []
        """That are to be uploaded."""
        self.inputs: InputList | None = None
        """None: the words say them."""
        self.results: str | None = None
        """``s3://BUCKET/PREFIX/`` of results that are to be printed."""
        self.settings: Any = None
        """As the pipeline has parsed them."""
        self.words: list[str] = []
        """Options of the pipeline, and its command."""
        self._progress = ProgressLine()

    def find_coordinator(self) -> None:
        """Ask the coordinator what it is, if one runs.

        :raises MuError: it cannot take this job.
        """
        self.backend.find_coordinator()

    def find_inputs(self) -> None:
        """Read or list them."""
        options = self.options
        ways = [options.inputs, options.each, options.values, options.range]
        if sum(bool(way) for way in ways) != 1:
            what = "there are no inputs" if not any(ways) else "inputs are given in two ways"
            raise UsageError(f"{what}: give S3 objects or files, or --each FILE, --range FIRST:LAST, ::: VALUES")
        if options.csv and options.each is None:
            raise UsageError("--csv goes with --each")
        try:
            if options.each is not None:
                self.inputs = read_lines(options.each, table=options.csv or None)
            elif options.values:
                self.inputs = combinations(options.values)
            elif options.inputs:
                self.inputs = self._named()
        finally:
            self._progress.clear()

    def _named(self) -> InputList:
        names = self.options.inputs
        urls = [name for name in names if is_url(name)]
        if urls and len(urls) < len(names):
            raise UsageError("inputs are objects of S3, or files here, not both: map one after the other")
        if urls:
            return list_objects(self.backend.clients(), names, self._progress.show)
        self.files = find_files(names, UPLOADED, self._progress.show)
        return files_list(self.files, self._bucket("the files that are uploaded"))

    def check(self) -> None:
        """Have the pipeline look at options and inputs, as the coordinator will."""
        from twisted.python.usage import UsageError as OptionsError

        options = self.options
        out = options.out
        if out == "-":
            self.results = f"s3://{self._bucket('what is printed')}/{RESULTS}{secrets.token_hex(8)}/"
            out = f"{self.results}{{n:08d}}"
        given = {key.removeprefix("job "): value for key, value in vars(options).items() if key.startswith("job ")}
        given.update({"out": out, "range": options.range})
        self.words = [f"--{key}" if value is True else f"--{key}={value}" for key, value in given.items() if value]
        self.words += ["--", *options.shell_command]
        pipeline = load_pipeline("map")
        try:
            packed = None if self.inputs is None else pack_inputs(self.inputs)
            self.settings = pipeline.parse(self.words, packed)
            self.settings.check_place(self.words)
            for _ in pipeline.checking(self.settings):
                pass
        except (OptionsError, PipelineError) as error:
            raise UsageError(str(error).removeprefix("Parameter type enforcement failed: ")) from None

    # -- what changes something ------------------------------------------------------------------------------------

    def make_function(self) -> None:
        """Make the function of the program, or find it."""
        from mu_twisted.daemons.program import function_for

        if self.program["program"] is None:
            return
        self.backend.cloud()  # so that the stack runs
        name = function_for(self.program, self.settings["regions"], self.backend.stack(), _tell)
        self.words.insert(0, f"--function={name}")
        self.settings["function"] = name

    def upload(self) -> None:
        """Store the files that are the inputs."""
        if self.files and self.inputs is not None and self.inputs.bucket is not None:
            try:
                upload(self.backend.clients(), self.inputs.bucket, self.files, self._progress.show)
            finally:
                self._progress.clear()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _program_options(self) -> dict[str, Any]:
        """What :func:`function_for` takes.

        :raises UsageError: they are wrong.
        """
        from twisted.python.usage import UsageError as OptionsError

        from mu_twisted.daemons.program import PROGRAM_KEYS, ProgramOptions, check_program

        given = vars(self.options)
        found = {key: given[f"program {key}"] for key in PROGRAM_KEYS}
        try:
            for key, _, _, _, *convert in ProgramOptions.optParameters:
                if convert and found[key] is not None:
                    found[key] = convert[0](found[key])
            check_program(found, given["job function"])
        except (OptionsError, ValueError) as error:
            raise UsageError(str(error)) from None
        if self.backend.local and self.backend.here and found["program"] is None and given["job function"] is None:
            # The shell is there without it; a function is made of some program.
            found["program"] = shutil.which("true")
        return {
            **found,
            "local": self.backend.local,
            "endpoint-url": None,
            "s3-endpoint-url": self.options.s3_endpoint_url,
        }

    def _bucket(self, what: str) -> str:
        """The bucket that is named for outputs or inputs, by ``-b``, ``--out`` or the inputs themselves."""
        named = vars(self.options)["job bucket"]
        for url in (self.options.out or "", *self.options.inputs):
            named = named or (bucket_of(url) if is_url(url) else None)
        if not named:
            raise UsageError(f"{what} must have a bucket: say which with -b BUCKET")
        return str(named)


def _tell(line: str) -> None:
    print(terminal_safe(line), file=sys.stderr, flush=True)
