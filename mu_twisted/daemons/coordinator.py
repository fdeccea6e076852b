"""``twistd mu-coordinator`` runs one job, with a pipeline's name, or waits for jobs as a daemon, without one.

Options and makeService; what they start stands in the modules beside.
"""

import getopt
from collections.abc import Sequence
from typing import Any

from twisted.application.service import IService
from twisted.logger import LogLevel
from twisted.python import usage

from mu_twisted.coordinator import Request
from mu_twisted.daemons._exit import Options as OneLineOptions
from mu_twisted.daemons._exit import ignore_repeat_signals, report_to_parent
from mu_twisted.daemons._log import observe
from mu_twisted.daemons._options import DaemonOptions, apply_environment, daemon_keys, listen_description
from mu_twisted.daemons._state_dir import StateDirectory
from mu_twisted.daemons.foreground import PROFILE
from mu_twisted.daemons.one_shot import ResultPrinter, TeePrinter
from mu_twisted.pipelines import (
    LISTS,
    InputList,
    Pipeline,
    PipelineError,
    PipelineOptions,
    load_pipeline,
    pack_inputs,
    pipeline_names,
    source_of,
)


class Options(OneLineOptions, DaemonOptions):
    """The command line of ``twistd mu-coordinator``."""

    pipeline: Pipeline | None = None
    settings: PipelineOptions | None = None
    request: Request | None = None
    command = "twistd [twistd's options] mu-coordinator"
    kind: type[DaemonOptions] = DaemonOptions
    """What may stand behind the pipeline's name, too."""
    recorded = False
    """Whether a job on the command line has its record in the state directory, as jobs that are handed over have."""
    as_json = False
    """Whether its end is printed as JSON."""
    inputs: InputList | None = None
    """What the job's tasks are to work on, where that is no part of the command line."""
    job_name: str | None = None
    """What the job's name begins with; None: the pipeline's."""
    printer: ResultPrinter | None = None
    """Prints what the job's tasks have stored while it runs."""
    tee: TeePrinter | None = None
    """Prints what the job's programs print while they run."""
    state: StateDirectory | None = None
    """The state directory, where this process holds it already."""
    stop_on_eof = False
    """Whether it ends when standard input does, once no job runs: the program that has started it is gone."""
    _shows_profile = False
    retried: tuple[str, ...] = ()
    """Jobs on record whose failed tasks are to be run again, in place of a job on the command line."""

    def getSynopsis(self) -> str:
        """The first line of the help."""
        return f"Usage: {self.command} [options] [PIPELINE [options of the pipeline]]"

    @property
    def longdesc(self) -> str:
        """What stands below the options."""
        names = ", ".join(pipeline_names())
        return (
            f"PIPELINE is one of {names}, or the path of a module (./mine.py); PIPELINE --help shows its options. "
            "Without a pipeline the coordinator listens and waits. Credentials are found as AWS's own tools find "
            "them (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, profiles, roles); --local needs none."
        )

    def parseArgs(self, *words: str) -> None:
        """The pipeline and its options."""
        if not words:
            return
        try:
            self.pipeline = load_pipeline(words[0])
        except PipelineError as error:
            raise usage.UsageError(str(error)) from None
        settings = self._new_settings(self.pipeline)
        job_words = list(words[1:])
        if self.configured is not None:
            job_words = self.configured.behind_pipeline(settings, job_words)
        self.settings = self._parse_settings(self.pipeline, settings, job_words)
        packed = None if self.inputs is None else pack_inputs(self.inputs)
        self.request = Request(
            words[0], self._job_words(self.settings, job_words), source_of(words[0]), inputs=packed, name=self.job_name
        )

    def _new_settings(self, pipeline: Pipeline) -> PipelineOptions:
        """The pipeline's options, among which the daemon's may stand as well; not parsed yet."""
        own = {row[0] for row in pipeline.options().parameters()}
        # It is taken from the whole command line before it is parsed, and stands here for the help.
        self._shows_profile = "profile=" in self.longOpt and "profile" not in own
        more = {"__doc__": pipeline.summary, "optParameters": [PROFILE] if self._shows_profile else []}
        kind = type("OneShotOptions", (pipeline.options, self.kind), more)
        settings: Any = kind()  # Twisted's options look for these two, and declare neither
        settings.synopsis = f"Usage: {self.command} [options] {pipeline.name} [options]"
        settings.longdesc = pipeline.description
        return settings  # type: ignore[no-any-return]

    def _parse_settings(self, pipeline: Pipeline, settings: PipelineOptions, words: list[str]) -> PipelineOptions:
        keys = daemon_keys(self.kind)
        settings.update({key: self[key] for key in keys})
        if self.inputs is not None:
            settings.take_inputs(self.inputs)
        settings.parseOptions(words)
        settings.check_words(words)
        for key in LISTS.intersection(keys):
            if self[key] is not None and settings[key] is not self[key]:  # before the pipeline, and behind it
                raise usage.UsageError(f"--{key} was given twice: separate its values by commas")
        for key in keys:
            self[key] = settings.pop(key)
        if self._shows_profile:
            del settings["profile"]
        settings["function"] = settings["function"] or pipeline.name
        settings["bucket"] = settings["bucket"] or ""
        return settings

    def _job_words(self, settings: PipelineOptions, words: Sequence[str]) -> tuple[str, ...]:
        """The options of the job alone, as they were typed."""
        daemons = daemon_keys(self.kind)
        pairs, rest = getopt.getopt(list(words), settings.shortOpt, settings.longOpt)
        kept = []
        for option, value in pairs:
            name = settings.synonyms[option.lstrip("-")]
            if name not in daemons:
                kept += [f"--{name}={value}"] if value or f"{name}=" in settings.longOpt else [f"--{name}"]
        return (*kept, "--", *rest) if rest else tuple(kept)

    def postOptions(self) -> None:
        """What can be checked without touching anything."""
        apply_environment(self)
        if self["freeze-limit"] <= self["user-code-limit"]:
            raise usage.UsageError("--freeze-limit: expected more than the --user-code-limit, which comes first")
        if self["control"] is not None and self["share-key"]:
            raise usage.UsageError(
                "--control needs a certificate that says who the coordinator is, which --share-key has not: "
                "give --ca-key in its place"
            )
        self["listen"] = listen_description(self["port"])
        if self["control"] is not None:
            listen_description(self["control"], "--control")
        if self.parent is not None:
            one_shot = self.pipeline is not None or bool(self.retried)
            if one_shot and not (self.parent["nodaemon"] or self.parent["debug"]):
                raise usage.UsageError(
                    f"a job on the command line runs in the foreground, and its status is the command's: twistd -n "
                    f"--pidfile= mu-coordinator {self.request.pipeline if self.request else 'PIPELINE'} ...; or start "
                    "a coordinator without a pipeline, and hand it the job with `mu submit`"
                )
            level = LogLevel.debug if self["debug"] else LogLevel.info
            observe(self.parent, level, LogLevel.warn if one_shot and not self["debug"] else level, self["log-format"])


def makeService(options: Options) -> IService:
    """The service that the options ask for. Opens nothing: twistd may fork after it."""
    from twisted.internet import reactor  # the composition root is where the reactor comes in

    from mu_twisted.daemons._coordinator_service import CoordinatorService

    ignore_repeat_signals(reactor, at_once=options.recorded)
    report_to_parent(options.parent)
    service: Any = CoordinatorService(
        reactor,
        options,
        pipeline=options.pipeline,
        settings=options.settings,
        request=options.request,
        retried=options.retried,
        recorded=options.recorded,
        as_json=options.as_json,
        printer=options.printer,
        tee=options.tee,
        state=options.state,
        stop_on_eof=options.stop_on_eof,
    )
    return service  # type: ignore[no-any-return]
