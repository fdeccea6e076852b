"""wordcount counts the words of numbered texts: a script, a remark of each task, and a report of the whole job.

Reads ``PREFIX/0.txt`` to ``PREFIX/N-1.txt`` of the bucket and stores the number of words of each as ``PREFIX/0.count``
and so on. Any function made by ``mu lambdaize`` will do: the commands are the shell's own.

    mu run --local ./examples/wordcount.py -n 3 -l FUNCTION -b BUCKET --prefix texts
"""

from collections.abc import Mapping

from mu_twisted.fsm import Worker
from mu_twisted.pipelines import JobSettings, Pipeline, PipelineOptions, Report


class Options(PipelineOptions):
    """The options of wordcount, besides those of every job."""

    optParameters = [["prefix", None, "texts", "where the texts lie in the bucket"]]


def key(settings: JobSettings, task: int, suffix: str) -> str:
    """The key of a task's text, or of its count."""
    return f"{settings['prefix']}/{settings['offset'] + task}.{suffix}"


async def count_words(w: Worker) -> None:
    """Fetch one text, count, store the count."""
    await w.retrieve(key(w.settings, w.task, "txt"), "##TMPDIR##/text")
    counted = await w.run('wc -w < "##TMPDIR##/text" | tee "##TMPDIR##/count"')
    await w.upload(key(w.settings, w.task, "count"), "##TMPDIR##/count")
    w.info["remark"] = counted.output.strip()


def report(settings: JobSettings, remarks: Mapping[int, str]) -> Report:
    """The sum over all texts."""
    return Report(f"{sum(map(int, remarks.values()))} words in {len(remarks)} texts")


pipeline = Pipeline(
    name="wordcount",
    summary="count the words of numbered texts",
    first=count_words,
    options=Options,
    outputs=lambda settings, task: [key(settings, task, "count")],
    report=report,
)
