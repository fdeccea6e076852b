"""A submission is what a request asks for, parsed and checked, before anything is looked at outside."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mu_twisted.base.steps import Steps
from mu_twisted.coordinator._opening import Opener
from mu_twisted.coordinator._peers import without
from mu_twisted.coordinator._status import Request
from mu_twisted.jobs import Gangs, Groups, Job, JobPolicy, grouped, union
from mu_twisted.pipelines import JobSettings, Pipeline, PipelineError, PipelineOptions

MAX_WORDS = 4096
"""Words of options: they are parsed in one turn, which takes by the square of their number (20 ms for so many)."""


@dataclass(frozen=True)
class Submission:
    """A job that can be opened.

    :param order: its tasks in order of assignment.
    :param consumes: for tasks that take messages, those that send them.
    :param messages: the same for those of which tasks may take one another's.
    :param after: groups of tasks, each with those that come after all of them.
    :param stages: the parts of the job by name, each with its tasks.
    :param gangs: its tasks that pipes join.
    """

    request: Request
    pipeline: Pipeline
    settings: JobSettings
    policy: JobPolicy
    order: Sequence[int]
    consumes: Mapping[int, Sequence[int]]
    messages: Mapping[int, Sequence[int]]
    after: Groups
    stages: Mapping[str, Sequence[int]]
    gangs: Gangs

    @property
    def edges(self) -> Mapping[int, Sequence[int]]:
        """For tasks that take messages of any kind, those that send them; and those that pipes join, both ways."""
        return union(union(self.consumes, self.messages), self.gangs.edges)

    def making(self, name: str, skipped: frozenset[int]) -> Steps[Job | None]:
        """The job's decisions; None if nothing is left to do.

        :param skipped: tasks that need not run.
        :raises mu_twisted.jobs.JobError: its tasks make no job.
        """
        order = [task for task in self.order if task not in skipped] if skipped else self.order
        if not order:
            return None
        yield
        consumes = without(self.consumes, skipped)
        yield
        messages = without(self.messages, skipped)
        yield
        after = _without_any(self.after, skipped)
        yield
        stages = _left_of(self.stages, skipped)
        yield
        making = Job.making(
            name,
            order,
            self.policy,
            consumes=consumes,
            messages=messages,
            after=after,
            stages=stages,
            pipes=[pipe for pipe in self.gangs.pipes if pipe[0] not in skipped],  # of a gang all or none are skipped
            side_effects=self.pipeline.side_effects,
        )
        return (yield from making)


def reading_submission(
    opener: Opener, request: Request, parsed: tuple[Pipeline, PipelineOptions] | None
) -> Steps[Submission]:
    """What a request asks for, each of its tasks included.

    :param parsed: its pipeline and settings, where they are known already.
    :raises mu_twisted.base.MuError: it makes no sense.
    :raises twisted.python.usage.UsageError: its options stand where they would not be taken for such.
    """
    if parsed is None and len(request.words) > MAX_WORDS:
        raise PipelineError(
            f"{len(request.words)} words of options: at most {MAX_WORDS} are taken; "
            "have the tasks read a long list, from S3 or from their function's package"
        )
    pipeline, settings = parsed or opener.parse(request)
    if parsed is None:
        settings.check_words(request.words)
    if request.name is not None and not NAME.fullmatch(request.name):
        raise PipelineError(f"a job's name has 1 to 40 letters, digits, '.', '_' and '-', not {request.name[:50]!r}")
    policy = opener.policy(settings)
    if parsed is None and settings["times"] is not None and not Path(settings["times"]).is_absolute():
        raise PipelineError("-O: give an absolute path: it is the coordinator that writes the file")
    consumes = yield from pipeline.reading_producers(settings)
    order = yield from pipeline.reading_order(settings, consumes)
    messages = yield from pipeline.reading_senders(settings)
    after = yield from grouped((yield from pipeline.reading_after(settings)))
    stages = yield from pipeline.reading_stages(settings)
    gangs = yield from pipeline.reading_gangs(settings)
    yield from pipeline.checking(settings)
    return Submission(request, pipeline, settings, policy, order, consumes, messages, after, stages, gangs)


def _left_of(stages: Mapping[str, Sequence[int]], skipped: frozenset[int]) -> list[tuple[str, Sequence[int]]]:
    """The stages that have tasks which are to run, with these."""
    if not skipped:
        return list(stages.items())
    left = [(name, [task for task in tasks if task not in skipped]) for name, tasks in stages.items()]
    return [(name, tasks) for name, tasks in left if tasks]


def _without_any(groups: Groups, skipped: frozenset[int]) -> Groups:
    """The groups of tasks that are to run; what is skipped counts as done."""
    if not skipped:
        return groups
    kept = [
        ([task for task in before if task not in skipped], [task for task in behind if task not in skipped])
        for before, behind in groups
    ]
    return [(before, behind) for before, behind in kept if before and behind]


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
"""What a user can call a job."""


def job_name(pipeline: str) -> str:
    """A new name for a job: it stands in certificates, so only some characters may.

    :param pipeline: its name, or what the user calls the job.
    """
    return f"{re.sub(r'[^A-Za-z0-9._-]', '-', pipeline)[:40]}-{secrets.token_hex(4)}"
