"""A client does jobs for a program in Python, by the control API: no reactor runs in the program's process.

What it is asked for goes through the same code as ``mu map`` and ``mu run``.
"""

import logging
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mu_twisted.client._address import coordinator_at
from mu_twisted.client._arguments import checked
from mu_twisted.client._control import Coordinator
from mu_twisted.client._errors import UsageError
from mu_twisted.client._graph import GraphHandle, graph_under_way
from mu_twisted.client._handover import handed_over, pipeline_source
from mu_twisted.client._job_handle import JobHandle, Named
from mu_twisted.client._own_coordinator import END_TIME, OwnCoordinator
from mu_twisted.client._settings import UserSettings
from mu_twisted.client._transport import CoordinatorError, Unreachable
from mu_twisted.config import resolve

if TYPE_CHECKING:
    from mu_twisted.client.asyncio import AsyncClient
    from mu_twisted.client.executor import CallExecutor
    from mu_twisted.client.map_backend import MapBackend
    from mu_twisted.client.map_request import MapPlace, MapRequest

_log = logging.getLogger("mu_twisted")

Option = str | int | float | bool | None
"""The value of an option: as on the command line, True for a flag."""
Inputs = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@checked
def connect(
    *,
    local: bool | None = None,
    profile: str | None = None,
    control: str | None = None,
    state_dir: str | os.PathLike[str] | None = None,
    local_state_dir: str | os.PathLike[str] | None = None,
    ca_cert: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
) -> "Client":
    """A client of this user's coordinator, or of one elsewhere. A coordinator is started where none runs, when it is
    first needed, and ends with the client, once no job runs.

    What is left out is as the user's settings have it (``mu config``).

    :param local: whether Lambda and S3 are the embedded ones of this machine, which are started where they do not run.
    :param profile: that of the configuration file; None: ``$MU_PROFILE``, if it is set.
    :param control: HOST:PORT of a coordinator's ``--control``; with it ``ca_cert``, ``cert`` and ``key`` of an
        operator, PEM, as ``mu genkeys DIR --operator NAME`` makes them.
    :param state_dir: the coordinator's state directory, on this machine.
    :param local_state_dir: that of the embedded Lambda and S3.
    :raises UsageError: these do not go together.
    :raises mu_twisted.config.ConfigError: a setting is wrong.
    """
    from mu_twisted.client.map_request import MapPlace

    given = {
        "local": local,
        "server": control,
        "state-dir": state_dir,
        "local-state-dir": local_state_dir,
        "ca-cert": ca_cert,
        "cert": cert,
        "key": key,
    }
    typed = {name for name, value in given.items() if value is not None}
    values = _settings("map", profile).chosen(typed)
    found: dict[str, Any] = {
        name: given.get(name) if name in typed else _plain(values.get(name)) for name in (*given, "s3-endpoint-url")
    }
    paths = {name: None if found[name] is None else Path(os.fspath(found[name])) for name in _PATHS}
    parameters = {"server": "control", "state-dir": "state_dir", "ca": "ca_cert", "certificate": "cert", "key": "key"}
    coordinator = coordinator_at(
        found["server"], paths["state-dir"], paths["ca-cert"], paths["cert"], paths["key"], called=parameters
    )
    place = MapPlace(bool(found["local"]), paths["state-dir"], paths["local-state-dir"], found["s3-endpoint-url"])
    return Client(coordinator, place, profile)


_PATHS = ("state-dir", "local-state-dir", "ca-cert", "cert", "key")


class Client:
    """Does jobs on one coordinator; a context manager. :func:`connect` makes one. Methods block, and may be called from
    any thread.

    :param coordinator: that is asked.
    :param place: where its jobs run.
    :param profile: of the user's settings.
    """

    def __init__(self, coordinator: Coordinator, place: "MapPlace", profile: str | None = None) -> None:
        self.coordinator = coordinator
        self._place = place
        self._profile = profile
        self._starting = threading.Lock()
        self._own: OwnCoordinator | None = None
        self._executors: list[CallExecutor] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for its executors, and let a coordinator that was started for this client end, once no job runs."""
        executors, self._executors = self._executors, []
        for executor in executors:
            executor.shutdown()
        own, self._own = self._own, None
        if own is not None:
            idle = self._is_idle()
            own.close(END_TIME if idle else 0.0)

    @checked
    def map(
        self,
        command: str | Sequence[str],
        inputs: Inputs | None = None,
        *,
        each: str | os.PathLike[str] | Iterable[str] | bool | None = None,
        range: "range | str | None" = None,  # noqa: A002 - the option's name
        out: str | None = None,
        name: str | None = None,
        program: str | os.PathLike[str] | None = None,
        function: str | None = None,
        bucket: str | None = None,
        memory: int | None = None,
        retries: int | None = None,
        timeout: float | None = None,
        workers: int | None = None,
        after: JobHandle | Sequence[JobHandle] | None = None,
        together: bool = False,
        **options: Option,
    ) -> JobHandle:
        """Run a command in a shell of a worker for each input, as ``mu map`` does. Returns once the job is taken.

        :param command: one text for the shell, or a program and its arguments, with the replacements of ``mu map``.
        :param inputs: objects ``s3://BUCKET/PREFIX/*.png``, or files and folders here, which are uploaded.
        :param each: texts that are the inputs; or a file with one a line, or a table (``.csv``) with a header. True: in
            :meth:`graph`, each input comes after the one of the same number.
        :param range: numbers that are the inputs; as text FIRST:LAST, with the last among them.
        :param out: where outputs go, ``s3://BUCKET/KEY`` with replacements, or a key in ``bucket``.
        :param name: what the job's name begins with.
        :param program: the function is made of it, where it has not been; ``function`` is one that is there.
        :param memory: MB of the function that is made.
        :param retries: attempts that a task gets after a failed one.
        :param timeout: seconds that an attempt may take.
        :param workers: at once, at most.
        :param after: a job, or several, to be done first: they are waited for here. In :meth:`graph` stages: nothing
            is waited for, and the outputs of one are the inputs where no others are given.
        :param together: whether one command takes all inputs of a task: those of ``batch=``, else all.
        :param options: all others of ``mu map``, such as ``max_cost=5``, ``batch=10``, ``requirements="file"``.
        :raises UsageError: what is asked for makes no sense; one line that says why.
        :raises mu_twisted.base.MuError: inputs cannot be had, or the job cannot be taken.
        """
        from mu_twisted.client.map_job import checked_job, function_options, ready_job

        known = {"program": program, "function": function, "bucket": bucket, "memory": memory, "retries": retries}
        given = {**known, "task-timeout": timeout, "max-workers": workers, "together": together or None, **options}
        graph, before = graph_under_way(self.coordinator), _jobs(after)
        one_by_one, each = each is True, None if isinstance(each, bool) else each
        stages = [] if graph is None else graph.check_stage(given, before)
        if graph is None and one_by_one:
            raise UsageError(
                "each=True: it takes after=STAGE, a stage of the same job: map both in `with mu.graph(...):`"
            )
        request = self._map_request(command, inputs, each, range, out, name, given)
        if graph is not None:
            return graph.add(request, stages, one_by_one=one_by_one)
        _all_done(before)
        backend = self._backend()
        made_of = function_options(request.program, request.options.get("function"), backend)
        job = checked_job(request, backend)
        return self._submit(ready_job(job, made_of).body, job.named)

    @checked
    def graph(
        self,
        name: str | None = None,
        *,
        program: str | os.PathLike[str] | None = None,
        function: str | None = None,
        memory: int | None = None,
        retries: int | None = None,
        timeout: float | None = None,
        workers: int | None = None,
        **options: Option,
    ) -> GraphHandle:
        """One job of several maps: ``with mu.graph("film") as job:``, and each :meth:`map` of this client in the block
        is a stage of it. What they have in common is said here.

        The job is submitted at the end of the block, unless that is left by an exception. Behind it ``job`` and the
        stages have :meth:`~JobHandle.results`, :meth:`~JobHandle.wait` and so on.

        :param name: what the job's name begins with.
        :param program: the function is made of it, where it has not been; ``function`` is one that is there.
        :param memory: MB of the function that is made.
        :param retries: attempts that a task of any stage gets after a failed one.
        :param timeout: seconds that an attempt may take.
        :param workers: at once, at most.
        :param options: all others of a job, such as ``max_cost=5``.
        :raises UsageError: they make no sense.
        """
        known = {"program": program, "function": function, "memory": memory, "retries": retries}
        given = {**known, "task-timeout": timeout, "max-workers": workers, **options}
        job_options, program_options = self._options(given, "mu.graph")
        return GraphHandle(
            self.coordinator, name, job_options, program_options, self._backend, lambda body: self._submit(body, None)
        )

    @checked
    def run(
        self,
        pipeline: str,
        *words: str,
        name: str | None = None,
        program: str | os.PathLike[str] | None = None,
        after: JobHandle | Sequence[JobHandle] | None = None,
        **options: Option,
    ) -> JobHandle:
        """Do a job of a pipeline, as ``mu run`` does. Returns once the job is taken.

        :param pipeline: its name, or the path of a module (``./mine.py``), which is run in the coordinator.
        :param words: its options, as on a command line: ``"-n", "8", "--", "date"``.
        :param name: what the job's name begins with; None: the pipeline's.
        :param program: the function is made of it, where it has not been.
        :param after: a job, or several, to be done first: they are waited for here.
        :param options: how that function is made, such as ``memory=3008``, as ``mu run --help`` says.
        :raises UsageError: the options are wrong.
        :raises mu_twisted.base.MuError: the job cannot be taken.
        """
        path = Path(pipeline) if "/" in pipeline or pipeline.endswith(".py") else None
        body: dict[str, Any] = {"pipeline": pipeline, "source": None if path is None else pipeline_source(path)}
        _all_done(_jobs(after))
        backend = self._backend()
        body["words"] = [*self._function_words({"program": program, **options}, backend)]
        body["words"] += [*self._pipeline_words(pipeline), *words]
        return self._submit(body if name is None else {**body, "name": name}, None)

    @checked
    def executor(
        self,
        workers: int = 100,
        *,
        bucket: str | None = None,
        name: str | None = None,
        memory: int | None = None,
        retries: int | None = None,
        timeout: float | None = None,
        **options: Option,
    ) -> "CallExecutor":
        """An executor that runs Python functions on workers: ``concurrent.futures``, as a thread or process pool is.

        Its function is made with cloudpickle in it, and this Python's version. What the calls of one executor need of
        workers is one job, which ends with :meth:`~mu_twisted.client.executor.CallExecutor.shutdown`.

        :param workers: at once, at most.
        :param bucket: of S3, for arguments above 11 KiB and results above 60 KiB; the embedded S3 has one.
        :param name: what the job's name begins with.
        :param memory: MB of the function.
        :param retries: attempts that a call gets after one whose worker died; what a function raises is no failure.
        :param timeout: seconds that an attempt may take.
        :param options: how the function is made, such as ``requirements="file"``, as ``mu run --help`` says.
        :raises UsageError: what was given makes no sense.
        :raises mu_twisted.base.MuError: the function cannot be made.
        """
        from mu_twisted.client._call_backend import ClientCalls, call_function
        from mu_twisted.client.executor import CallExecutor

        if workers < 1:
            raise UsageError(f"workers: expected a number of at least 1, got {workers!r}")
        hint = "it makes a function of its own, and takes those of it that `mu run --help` lists"
        given, regions = self._made_by({"memory": memory, **options}, "mu.executor", hint)
        settled = {name: each.value for name, each in _settings("map", self._profile).chosen(()).items()}
        backend = self._backend()
        limits = {"retries": retries, "task-timeout": timeout, "max-workers": workers, "regions": ",".join(regions)}
        words = [f"--{name}={value}" for name, value in limits.items() if value is not None]
        words.append(f"--function={call_function(given, regions, backend)}")
        bucket = bucket or (str(settled["bucket"]) if settled.get("bucket") else None)
        calls = ClientCalls(backend, lambda body: self._submit(body, None).name, words, bucket, regions[0], name)
        executor = CallExecutor(calls, workers)
        self._executors.append(executor)
        return executor

    def jobs(self) -> list[JobHandle]:
        """All jobs on record, the oldest first."""
        return [JobHandle(self.coordinator, job["job"]) for job in self.coordinator.get("jobs")["jobs"]]

    @checked
    def job(self, name: str) -> JobHandle:
        """One job on record.

        :raises CoordinatorError: there is none of this name.
        """
        return JobHandle(self.coordinator, self.coordinator.get("jobs", name)["job"])

    @property
    def asyncio(self) -> "AsyncClient":
        """This client for a program on asyncio: the same methods, to be awaited."""
        from mu_twisted.client.asyncio import AsyncClient

        return AsyncClient(self)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _backend(self) -> "MapBackend":
        """Where a job is to run: a coordinator runs there by now."""
        from mu_twisted.client.map_backend import MapBackend

        backend = MapBackend(self.coordinator, self._place, _log.info)
        with self._starting:
            backend.find_coordinator()
            if backend.found is None:
                self._start(backend)
                backend.find_coordinator(must_run=True)
        return backend

    def _start(self, backend: "MapBackend") -> None:
        place = self._place
        words = [f"--state-dir={place.state_dir}"] if place.state_dir is not None else []
        typed = {"local", "state-dir", "local-state-dir", "s3-endpoint-url"}
        stack = backend.stack()
        if stack is not None:
            backend.cloud()  # so that the stack runs, and goes on for the next one
            words = ["--local", f"--local-state-dir={stack}"]
        if place.s3_endpoint_url is not None:
            words.append(f"--s3-endpoint-url={place.s3_endpoint_url}")
        configured = _settings("coordinator", self._profile).chosen(typed)
        if stack is not None and "port" not in configured:
            words.append("--port=tcp:0:interface=127.0.0.1")
        words += [
            f"--{name}" if value.value is True else f"--{name}={value.value}"
            for name, value in configured.items()
            if name in _DAEMON and value.value is not False
        ]
        self._own = OwnCoordinator(place.state_dir, words, self._answers)

    def _answers(self) -> bool:
        try:
            self.coordinator.get("daemon", served=True)
        except Unreachable:
            return False
        return True

    def _is_idle(self) -> bool:
        try:
            return not self.coordinator.get("daemon", served=True)["jobs"]
        except CoordinatorError:
            return True

    def _submit(self, body: dict[str, Any], named: Named | None) -> JobHandle:
        while True:
            taken = handed_over(self.coordinator, body)
            if taken is not None:
                return JobHandle(self.coordinator, taken["job"], named)
            self._backend()

    def _map_request(
        self,
        command: str | Sequence[str],
        inputs: Inputs | None,
        each: str | os.PathLike[str] | Iterable[str] | None,
        numbers: "range | str | None",
        out: str | None,
        name: str | None,
        given: dict[str, Any],
    ) -> "MapRequest":
        """What is asked for by the arguments of :meth:`map`.

        :param given: options, by their names in Python or on a command line.
        :raises UsageError: it makes no sense.
        """
        from mu_twisted.client.map_request import MapRequest

        if out == "-":
            raise UsageError("out: '-' prints results in a shell; leave it out, and each result has its output")
        file, texts = (each, None) if each is None or isinstance(each, str | os.PathLike) else (None, list(each))
        job_options, program_options = self._options(given, "mu.map")
        return MapRequest(
            (command,) if isinstance(command, str) else tuple(command),
            inputs=_texts(inputs),
            each=None if file is None else os.fspath(file),
            table=bool(given.get("csv", False)),
            values=[] if texts is None else [_all_texts("each", texts)],
            range=_range(numbers),
            out=out,
            name=name,
            options={key: value for key, value in job_options.items() if key != "csv"},
            program=program_options,
        )

    def _options(
        self, given: dict[str, Option | os.PathLike[str]], method: str
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Options of the job, and of the function that is made, with the user's settings for those that are not given.

        :param method: that was given them.
        :raises UsageError: there is no such option.
        """
        from mu_twisted.daemons.program import PROGRAM_KEYS
        from mu_twisted.pipelines import load_pipeline

        rows = load_pipeline("map").options()
        known = {row[0] for row in (*rows.parameters(), *rows.flags())} | {"csv"}
        wanted = {name.replace("_", "-"): value for name, value in given.items() if value is not None}
        wrong = sorted(wanted.keys() - known - set(PROGRAM_KEYS))
        if wrong:
            raise UsageError(f"{method} has no option {wrong[0].replace('-', '_')!r}: `mu map --help` lists them")
        chosen = _settings("map", self._profile).chosen(wanted.keys())
        settled = {name: each.value for name, each in chosen.items()}
        both = {**settled, **{name: value if value is True else str(value) for name, value in wanted.items()}}
        return (
            {name: value for name, value in both.items() if name in known and value not in (False, "False")},
            {name: value for name, value in both.items() if name in PROGRAM_KEYS and value not in (False, "False")},
        )

    def _function_words(self, given: dict[str, Option | os.PathLike[str]], backend: "MapBackend") -> list[str]:
        """The option that names the function which is made for a job, if one is to be.

        :raises UsageError: there is no such option.
        """
        from mu_twisted.client.map_job import function_options, make_function

        hint = "those of a pipeline are words, as on a command line"
        made, regions = self._made_by(given, "mu.run", hint)
        if not any(value is not None for value in given.values()):
            return []
        name = make_function(function_options(made, None, backend), regions, backend, named=True)
        return [] if name is None else [f"--function={name}"]

    def _made_by(
        self, given: dict[str, Option | os.PathLike[str]], method: str, hint: str
    ) -> tuple[dict[str, Any], list[str]]:
        """The options of a function that is made, with the user's settings, and the regions.

        :param method: whose they are.
        :param hint: what is said where it has no such option.
        :raises UsageError: there is no such option.
        """
        from mu_twisted.daemons.program import PROGRAM_KEYS

        wanted = {name.replace("_", "-"): value for name, value in given.items() if value is not None}
        wrong = sorted(wanted.keys() - set(PROGRAM_KEYS))
        if wrong:
            raise UsageError(f"{method} has no option {wrong[0].replace('-', '_')!r}: {hint}")
        settled = _settings("run", self._profile).chosen(wanted.keys())
        made = {name: each.value for name, each in settled.items() if name in PROGRAM_KEYS}
        made.update({name: value if value is True else str(value) for name, value in wanted.items()})
        regions = settled["regions"].value if "regions" in settled else "us-east-1"
        return made, str(regions).split(",")

    def _pipeline_words(self, pipeline: str) -> list[str]:
        """The user's settings for a job of an installed pipeline, as options before its own."""
        from mu_twisted.pipelines import PipelineOptions, load_pipeline, pipeline_names

        rows = load_pipeline(pipeline).options() if pipeline in pipeline_names() else PipelineOptions()
        takes = {row[0] for row in rows.parameters()}
        chosen = _settings("submit", self._profile).chosen(())
        return [f"--{name}={each.value}" for name, each in chosen.items() if name in takes]


_DAEMON = frozenset(
    ("port", "host-addr", "control-group", "keep", "worker-limit", "launch-rate", "endpoint-url", "s3-endpoint-url")
)


def _jobs(after: JobHandle | Sequence[JobHandle] | None) -> list[JobHandle]:
    return [] if after is None else [after] if isinstance(after, JobHandle) else list(after)


def _all_done(jobs: Sequence[JobHandle]) -> None:
    for job in jobs:
        status = job.wait()
        if status.state != "done":
            raise CoordinatorError(f"job {job.name}, after which this one was to come, is {status.state}")


def _settings(command: str, profile: str | None) -> UserSettings:
    return UserSettings(command, resolve(os.environ, profile, command).values())


def _plain(value: Any) -> Any:
    return None if value is None else value.value


def _texts(inputs: Inputs | None) -> list[str]:
    if inputs is None:
        return []
    some = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    return _all_texts("inputs", [os.fspath(one) if isinstance(one, os.PathLike) else one for one in some])


def _all_texts(what: str, values: Sequence[Any]) -> list[str]:
    for value in values:
        if not isinstance(value, str):
            raise UsageError(f"{what}: expected texts, got {value!r:.100}, {type(value).__name__}")
    if not values:
        raise UsageError(f"{what}: there are no inputs")
    return list(values)


def _range(numbers: "range | str | None") -> str | None:
    if numbers is None or isinstance(numbers, str):
        return numbers
    if not numbers:
        raise UsageError(f"range: there are no numbers in {numbers}")
    return f"{numbers[0]}:{numbers[-1]}:{numbers.step}"
