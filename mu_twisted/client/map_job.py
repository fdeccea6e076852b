"""A job of ``mu map`` is made of its command line here: inputs, settings, and the words that a coordinator takes.

What is wrong with it is found before anything is stored or launched.
"""

import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mu_twisted.aws import Clients
from mu_twisted.client._errors import UsageError
from mu_twisted.client.map_backend import MapBackend
from mu_twisted.client.map_request import MapRequest
from mu_twisted.client.map_sources import (
    LocalFile,
    bucket_of,
    files_list,
    find_files,
    is_url,
    list_objects,
    read_lines,
    upload,
)
from mu_twisted.pipelines import InputList, PipelineError, checked_inputs, combinations, load_pipeline, pack_inputs

UPLOADED = "mu-inputs/"
RESULTS = "mu-results/"
"""Where files that were uploaded lie, and for a while what is to be printed."""


def function_options(given: Mapping[str, Any], function: str | None, backend: MapBackend) -> dict[str, Any]:
    """What :func:`mu_twisted.daemons.program.function_for` takes.

    :param given: options of the function that is to be made, as they are typed.
    :param function: the name of one that is there.
    :raises UsageError: they are wrong.
    """
    from twisted.python.usage import UsageError as OptionsError

    from mu_twisted.daemons.program import PROGRAM_KEYS, ProgramOptions, check_program

    found = {key: given.get(key) for key in PROGRAM_KEYS}
    empty = [key for key, value in found.items() if value == ""]
    if empty:
        raise UsageError(f"--{empty[0]}: expected a value, got '': is a variable empty?")
    try:
        for key, _, _, _, *convert in ProgramOptions.optParameters:
            if convert and found[key] is not None:
                found[key] = convert[0](found[key])
        check_program(found, function)
    except (OptionsError, ValueError) as error:
        raise UsageError(str(error)) from None
    if backend.local and backend.here and found["program"] is None and function is None:
        # The shell is there without it; a function is made of some program.
        found["program"] = shutil.which("true")
    return {
        **found,
        "local": backend.local,
        "endpoint-url": None,
        "s3-endpoint-url": backend.place.s3_endpoint_url,
    }


def make_function(
    program: Mapping[str, Any], regions: Sequence[str], backend: MapBackend, *, named: bool
) -> str | None:
    """Make the function of a program, or find it.

    :param program: as :func:`function_options` has it.
    :param named: whether the user has named the program: which one is there for its shell is no news.
    :returns: its name; None: there is nothing to make it of.
    """
    from mu_twisted.daemons.program import function_for

    if program["program"] is None:
        return None
    backend.cloud()  # so that the stack runs
    return function_for(program, regions, backend.stack(), backend.notify if named else _no_note)


def option_words(options: Mapping[str, Any]) -> list[str]:
    """Options by their long names, as words."""
    return [
        f"--{key}" if value is True else f"--{key}={value}"
        for key, value in options.items()
        if value not in (None, False)
    ]


class MapJob:
    """What one request asks for; its methods are called in the order in which they stand.

    :param request: what is asked for.
    :param backend: where it is to run.
    :param progress: is called with how far a listing or an upload is.
    :param regions: separated by commas; None: as the request says, else the default one.
    :raises UsageError: the options of the function do not go together.
    """

    def __init__(
        self, request: MapRequest, backend: MapBackend, progress: Callable[[str], None], regions: str | None = None
    ) -> None:
        self.request = request
        self.backend = backend
        self.program = function_options(request.program, request.options.get("function"), backend)
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
        self._progress = progress
        self._regions: str | None = regions or request.options.get("regions")

    def find_inputs(self, found: InputList | None = None) -> None:
        """Read or list them.

        :param found: these are they, if the request names none.
        :raises mu_twisted.base.MuError: there are none, or they cannot be had.
        """
        request = self.request
        ways = [found, request.inputs, request.each, request.values, request.range]
        if sum(bool(way) for way in ways) != 1:
            what = "there are no inputs" if not any(ways) else "inputs are given in two ways"
            raise UsageError(f"{what}: give S3 objects or files, or --each FILE, --range FIRST:LAST, ::: VALUES")
        if request.table and request.each is None:
            raise UsageError("--csv goes with --each")
        self.inputs = found
        if request.each is not None:
            self.inputs = read_lines(request.each, table=request.table or None)
        elif request.values:
            try:
                self.inputs = combinations(request.values)
            except PipelineError as error:
                raise UsageError(str(error)) from None
        elif request.inputs:
            self.inputs = self._named()

    def _named(self) -> InputList:
        names = self.request.inputs
        urls = [name for name in names if is_url(name)]
        if urls and len(urls) < len(names):
            raise UsageError("inputs are objects of S3, or files here, not both: map one after the other")
        if urls:
            return list_objects(self.clients(), names, self._progress)
        self.files = find_files(names, UPLOADED, self._progress)
        return files_list(self.files, self._bucket("the files that are uploaded"))

    def check(self) -> None:
        """Have the pipeline look at options and inputs, as the coordinator will."""
        from twisted.python.usage import UsageError as OptionsError

        out = self.request.out
        if out == "-":
            self.results = f"s3://{self._bucket('what is printed')}/{RESULTS}{secrets.token_hex(8)}/"
            out = f"{self.results}{{n:08d}}"
        given = {**self.request.options, "out": out, "range": self.request.range}
        self.words = [*option_words(given), "--", *self.request.command]
        pipeline = load_pipeline("map")
        try:
            packed = None if self.inputs is None else pack_inputs(self.inputs)
            self.settings = pipeline.parse(self.words, packed)
            self.settings.check_words(self.words)
            for _ in pipeline.checking(self.settings):
                pass
        except (OptionsError, PipelineError) as error:
            raise UsageError(str(error).removeprefix("Parameter type enforcement failed: ")) from None

    # -- what changes something ------------------------------------------------------------------------------------

    def make_function(self) -> None:
        """Make the function of the program, or find it."""
        named = self.request.program.get("program") is not None
        name = make_function(self.program, self.settings["regions"], self.backend, named=named)
        if name is not None:
            self.words.insert(0, f"--function={name}")
            self.settings["function"] = name

    def upload(self) -> None:
        """Store the files that are the inputs."""
        if self.files and self.inputs is not None and self.inputs.bucket is not None:
            upload(self.clients(), self.inputs.bucket, self.files, self._progress)

    @property
    def body(self) -> dict[str, Any]:
        """The request that the control API takes."""
        body: dict[str, Any] = {"pipeline": "map", "words": self.words}
        if self.inputs is not None:
            body["inputs"] = pack_inputs(self.inputs)
        if self.request.name is not None:
            body["name"] = self.request.name
        return body

    def clients(self) -> Clients:
        """Clients of S3 and Lambda in the job's first region."""
        return self.backend.clients(self._regions)

    def named(self, task: int) -> list[tuple[str, str | None]]:
        """The inputs of a task, each with the URL of its output; None: it has none."""
        from mu_twisted.pipelines.map import inputs_of, output_key

        found = []
        for number in inputs_of(self.settings, task):
            key = output_key(self.settings, number)
            url = None if key is None else f"s3://{self.settings['target'][0]}/{key}"
            found.append((self.settings["inputs"].whole(number), url))
        return found

    def outputs(self) -> InputList | None:
        """The objects that it stores, one for each input; None: it stores none."""
        from mu_twisted.pipelines.map import output_key

        if self.settings["target"] is None:
            return None
        keys = [output_key(self.settings, number) or "" for number in range(len(self.settings["inputs"]))]
        return checked_inputs(InputList((keys,), bucket=self.settings["target"][0]))

    def tasks_of(self, text: str) -> list[int]:
        """The tasks of inputs that are called so, or else of those whose key or path ends so."""
        inputs, batch = self.settings["inputs"], self.settings["batch"]
        called = [inputs.whole(number) for number in range(len(inputs))]
        found = [number for number, one in enumerate(called) if one == text]
        found = found or [number for number, one in enumerate(called) if one.endswith(f"/{text}")]
        return list(dict.fromkeys(number // batch for number in found))

    # -- inside ----------------------------------------------------------------------------------------------------

    def _bucket(self, what: str) -> str:
        """The bucket that is named for outputs or inputs, by ``-b``, ``--out`` or the inputs themselves."""
        named = self.request.options.get("bucket")
        for url in (self.request.out or "", *self.request.inputs):
            named = named or (bucket_of(url) if is_url(url) else None)
        if not named:
            raise UsageError(f"{what} must have a bucket: say which with -b BUCKET")
        return str(named)


def _no_note(_: str) -> None:
    pass
