"""A job of ``mu map`` is made of its command line here: inputs, settings, and the words that a coordinator takes.

What is wrong with it is found before anything is stored or launched.
"""

import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mu_twisted.aws import Clients
from mu_twisted.client._errors import UsageError
from mu_twisted.client.map_backend import MapBackend
from mu_twisted.client.map_request import MapRequest
from mu_twisted.client.map_sources import (
    LocalFile,
    ReportProgress,
    bucket_of,
    files_list,
    find_files,
    is_url,
    list_objects,
    read_lines,
    upload,
)
from mu_twisted.pipelines import (
    InputList,
    PipelineError,
    PipelineOptions,
    checked_inputs,
    combinations,
    load_pipeline,
    pack_inputs,
)

UPLOADED = "mu-inputs/"
RESULTS = "mu-results/"
"""Where files that were uploaded lie, and for a while what is to be printed."""


def _unreported(_: str) -> None:
    """Take a note, or how far something is, where there is no user to tell."""


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
    return function_for(program, regions, backend.stack(), backend.notify if named else _unreported)


def option_words(options: Mapping[str, Any]) -> list[str]:
    """Options by their long names, as words."""
    return [
        f"--{key}" if value is True else f"--{key}={value}"
        for key, value in options.items()
        if value not in (None, False)
    ]


@dataclass(frozen=True)
class MapJob:
    """What one request comes to: its inputs are found, and the pipeline has checked it. Nothing is stored or launched.

    :ivar request: what was asked for.
    :ivar backend: where it is to run.
    :ivar inputs: what is given to the job beside its words; None: the words say them.
    :ivar files: inputs that are to be uploaded.
    :ivar settings: as the pipeline has parsed them.
    :ivar words: options of the pipeline, and its command.
    :ivar results: ``s3://BUCKET/PREFIX/`` of results that are to be printed.
    :ivar regions: separated by commas; None: the default one.
    """

    request: MapRequest
    backend: MapBackend
    inputs: InputList | None
    files: Sequence[LocalFile]
    settings: PipelineOptions
    words: Sequence[str]
    results: str | None
    regions: str | None

    def clients(self) -> Clients:
        """Clients of S3 and Lambda in the job's first region."""
        return self.backend.clients(self.regions)

    def upload(self, progress: ReportProgress = _unreported) -> None:
        """Store the files that are the inputs.

        :param progress: is called with how far that is.
        :raises mu_twisted.base.MuError: one cannot be read any more, or S3 does not take it.
        """
        if self.files and self.inputs is not None and self.inputs.bucket is not None:
            upload(self.clients(), self.inputs.bucket, self.files, progress)

    def named(self, task: int) -> list[tuple[str, str | None]]:
        """The inputs of a task, each with the URL of its output; None: it has none. Those that are taken together are
        one."""
        from mu_twisted.pipelines.map import label, output_key, results_of

        found = []
        for number in results_of(self.settings, task):
            key = output_key(self.settings, number)
            url = None if key is None else f"s3://{self.settings['target'][0]}/{key}"
            named = label(self.settings, task) if self.settings["together"] else self.settings["inputs"].whole(number)
            found.append((named, url))
        return found

    def outputs(self) -> InputList | None:
        """The objects that it stores, one for each result; None: it stores none."""
        from mu_twisted.pipelines.map import output_key, results

        if self.settings["target"] is None:
            return None
        keys = [output_key(self.settings, number) or "" for number in range(results(self.settings))]
        return checked_inputs(InputList((keys,), bucket=self.settings["target"][0]))

    def tasks_of(self, text: str) -> list[int]:
        """The tasks of inputs that are called so, or else of those whose key or path ends so."""
        inputs, batch = self.settings["inputs"], self.settings["batch"]
        called = [inputs.whole(number) for number in range(len(inputs))]
        found = [number for number, one in enumerate(called) if one == text]
        found = found or [number for number, one in enumerate(called) if one.endswith(f"/{text}")]
        return list(dict.fromkeys(number // batch for number in found))


@dataclass(frozen=True)
class ReadyMapJob:
    """A job whose function is there, and whose inputs are stored: a coordinator can take it.

    :ivar job: that was asked for.
    :ivar words: those of the job, and the function that was made for it.
    """

    job: MapJob
    words: Sequence[str]

    @property
    def body(self) -> dict[str, Any]:
        """The request that the control API takes."""
        body: dict[str, Any] = {"pipeline": "map", "words": [*self.words]}
        if self.job.inputs is not None:
            body["inputs"] = pack_inputs(self.job.inputs)
        if self.job.request.name is not None:
            body["name"] = self.job.request.name
        return body


def checked_job(
    request: MapRequest,
    backend: MapBackend,
    progress: ReportProgress = _unreported,
    *,
    found: InputList | None = None,
    regions: str | None = None,
) -> MapJob:
    """Find the inputs of a request, and have the pipeline look at it as the coordinator will.

    :param progress: is called with how far a listing is.
    :param found: these are the inputs, if the request names none.
    :param regions: separated by commas; None: as the request says, else the default one.
    :raises UsageError: what is asked for makes no sense.
    :raises mu_twisted.base.MuError: there are no inputs, or they cannot be had.
    """
    regions = regions or request.options.get("regions")
    inputs, files = _find_inputs(request, lambda: backend.clients(regions), progress, found)
    out, results = request.out, None
    if out == "-":
        results = f"s3://{_bucket(request, 'what is printed')}/{RESULTS}{secrets.token_hex(8)}/"
        out = f"{results}{{n:08d}}"
    words = [*option_words({**request.options, "out": out, "range": request.range}), "--", *request.command]
    settings = _checked_settings(words, inputs)
    return MapJob(request, backend, inputs, files, settings, words, results, regions)


def ready_job(job: MapJob, program: Mapping[str, Any], progress: ReportProgress = _unreported) -> ReadyMapJob:
    """Make the function of a job, or find it, and store the files that are its inputs.

    :param program: as :func:`function_options` has it.
    :param progress: is called with how far an upload is.
    :raises mu_twisted.base.MuError: the function cannot be made, or a file cannot be stored.
    """
    named = job.request.program.get("program") is not None
    function = make_function(program, job.settings["regions"], job.backend, named=named)
    job.upload(progress)
    return ReadyMapJob(job, job.words if function is None else [f"--function={function}", *job.words])


def _find_inputs(
    request: MapRequest, clients: Callable[[], Clients], progress: ReportProgress, found: InputList | None
) -> tuple[InputList | None, Sequence[LocalFile]]:
    """The inputs, read or listed, and the files among them that are to be uploaded."""
    ways = [found, request.inputs, request.each, request.values, request.range]
    if sum(bool(way) for way in ways) != 1:
        what = "there are no inputs" if not any(ways) else "inputs are given in two ways"
        raise UsageError(f"{what}: give S3 objects or files, or --each FILE, --range FIRST:LAST, ::: VALUES")
    if request.table and request.each is None:
        raise UsageError("--csv goes with --each")
    if request.each is not None:
        return read_lines(request.each, table=request.table or None), ()
    if request.values:
        try:
            return combinations(request.values), ()
        except PipelineError as error:
            raise UsageError(str(error)) from None
    if not request.inputs:
        return found, ()
    urls = [name for name in request.inputs if is_url(name)]
    if urls and len(urls) < len(request.inputs):
        raise UsageError("inputs are objects of S3, or files here, not both: map one after the other")
    if urls:
        return list_objects(clients(), urls, progress), ()
    files = find_files(request.inputs, UPLOADED, progress)
    return files_list(files, _bucket(request, "the files that are uploaded")), files


def _checked_settings(words: Sequence[str], inputs: InputList | None) -> PipelineOptions:
    """What the pipeline makes of a job's words and inputs, once it has looked at all that it can look at here."""
    from twisted.python.usage import UsageError as OptionsError

    pipeline = load_pipeline("map")
    try:
        settings = pipeline.parse(words, None if inputs is None else pack_inputs(inputs))
        settings.check_words(words)
        for _ in pipeline.checking(settings):
            pass
    except (OptionsError, PipelineError) as error:
        raise UsageError(str(error).removeprefix("Parameter type enforcement failed: ")) from None
    return settings


def _bucket(request: MapRequest, what: str) -> str:
    """The bucket that is named for outputs or inputs, by ``-b``, ``--out`` or the inputs themselves."""
    named = request.options.get("bucket")
    for url in (request.out or "", *request.inputs):
        named = named or (bucket_of(url) if is_url(url) else None)
    if not named:
        raise UsageError(f"{what} must have a bucket: say which with -b BUCKET; `mu mb` makes one")
    return str(named)
