"""What a pipeline is: a first state or a script, its options, its programs, and the order of its tasks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mu_twisted.fsm import MachineState, Script
from mu_twisted.pipelines._options import PipelineOptions
from mu_twisted.wire import MuError


class PipelineError(MuError):
    """A pipeline cannot be found, loaded or used."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The program of a job.

    :param name: what the user calls it by.
    :param summary: one line for the list of pipelines.
    :param first: the state that every task's machine starts in, or a script, ``async def task(w)``.
    :param options: the job options; parsed, they are the ``settings`` that states and scripts see.
    :param programs: files that the Lambda function must contain, relative to its root; a job is not launched if one
        is missing.
    :param order: from the settings, the task numbers 0 .. tasks-1 in the order in which they are to be assigned
        (producers before consumers); None: low first.
    """

    name: str
    summary: str
    first: type[MachineState] | Script
    options: type[PipelineOptions] = PipelineOptions
    programs: tuple[str, ...] = ()
    order: Callable[[Mapping[str, Any]], Sequence[int]] | None = None

    def task_order(self, settings: Mapping[str, Any]) -> list[int]:
        """The task numbers in order of assignment.

        :raises PipelineError: the pipeline's own order is not an arrangement of 0 .. tasks-1.
        """
        numbers = list(range(settings["tasks"]))
        if self.order is None:
            return numbers
        ordered = list(self.order(settings))
        if sorted(ordered) != numbers:
            raise PipelineError(
                f"pipeline {self.name}: its order must name each task from 0 to {len(numbers) - 1} once"
            )
        return ordered
