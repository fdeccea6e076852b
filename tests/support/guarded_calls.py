"""A process whose main thread calls pipelines' code through the guard: ``DIRECTORY SOFT HARD CASE ...``, JSON lines.

Each case is said in ``blocking_code.py``; what it ended with is printed, and then whether the guard goes on.
"""

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blocking_code import CASES

from mu_twisted.base.steps import exhaust
from mu_twisted.fsm import Outcome
from mu_twisted.pipelines import GuardedMachine, InputList, Looking, Pipeline, PipelineError, guard, load_source

SETTINGS = {"tasks": 2}
Call = Callable[[], None]


def drive(pipeline: Pipeline, *messages: bytes, end: str | None = None) -> Call:
    told: list[str] = []
    machine = GuardedMachine(pipeline.first, 3, job=b"job-1", blocked=told.append, settings=SETTINGS)

    def call() -> None:
        machine.start()
        for message in (b"OK:HELLO", *messages):
            machine.receive([message])
        if end is not None:
            machine.fail(end)
        if told:
            assert machine.outcome is Outcome.FAILED
            raise PipelineError(told[0])

    return call


def prepared(place: str, source: str) -> Call:
    """A call into such code, whose module is loaded before the guard watches unless that is the case."""
    if place == "module":
        return lambda: print_nothing(load_source(source, "mine.py"))
    pipeline = load_source(source, "mine.py")
    calls: dict[str, Call] = {
        "options": lambda: print_nothing(pipeline.parse(["-n", "2"])),
        "programs": lambda: print_nothing(pipeline.needs(SETTINGS)),
        "order": lambda: print_nothing(exhaust(pipeline.reading_order(SETTINGS, {}))),
        "consumes": lambda: print_nothing(exhaust(pipeline.reading_producers(SETTINGS))),
        "outputs": lambda: print_nothing(exhaust(pipeline.reading_outputs(SETTINGS))),
        "report": lambda: print_nothing(pipeline.last_word(SETTINGS, {})),
        "messages": lambda: print_nothing(exhaust(pipeline.reading_senders(SETTINGS))),
        "pipes": lambda: print_nothing(exhaust(pipeline.reading_gangs(SETTINGS))),
        "after": lambda: print_nothing(exhaust(pipeline.reading_after(SETTINGS))),
        "stage": lambda: print_nothing(exhaust(pipeline.reading_stages(SETTINGS))),
        "names": lambda: print_nothing(exhaust(pipeline.finding(SETTINGS, "x"))),
        "check": lambda: print_nothing(exhaust(pipeline.checking(SETTINGS))),
        "extends": lambda: print_nothing(pipeline.extend({**SETTINGS}, InputList((["x"],)))),
        "examine": lambda: print_nothing(pipeline.next_part(begun(pipeline), None)),
        "label": lambda: label_twice(pipeline),
        "left": lambda: leave(pipeline),
        "collection": lambda: print_nothing(gc.collect()),
    }
    if place == "collection":
        drive(pipeline)()
        return calls[place]
    if place in calls:
        return calls[place]
    if place == "fail":
        return drive(pipeline, end="its worker was lost")
    return drive(pipeline, *([b"OK:ECHO(x)"] if place == "receive" else []))


def begun(pipeline: Pipeline) -> Looking:
    looking = pipeline.examination(SETTINGS)
    assert looking is not None
    return looking


def label_twice(pipeline: Pipeline) -> None:
    """It is asked for once."""
    settings: dict[str, Any] = {**SETTINGS, "asked": []}
    known_by = pipeline.labels(settings)
    assert [known_by(0), known_by(1)] == [None, None]
    assert len(settings["asked"]) == 1


def leave(pipeline: Pipeline) -> None:
    looking = begun(pipeline)
    assert pipeline.next_part(looking, None) is not None
    pipeline.leave(looking)


def print_nothing(_: Any) -> None:
    pass


def main(directory: str, soft: str, hard: str, *names: str) -> None:
    gc.disable()
    calls = {name: prepared(*CASES[name][:2]) for name in names}
    guard.watch(Path(directory), float(soft), float(hard))
    for name, call in calls.items():
        try:
            call()
            said = ""
        except PipelineError as error:
            said = str(error)
        sys.stdout.write(json.dumps([name, said]) + "\n")
        sys.stdout.flush()
    guard.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
