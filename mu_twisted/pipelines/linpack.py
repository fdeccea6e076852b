"""linpack measures how much work many workers do, by two runs of a benchmark at once in each.

The benchmark is the packaged command; ``mu linpack`` compiles one where no other is at hand. What each run printed is
stored as ``OUT/%08d-0.txt`` and ``OUT/%08d-1.txt``; at the end the job says the sum of the rates found in there, and
how they are distributed. Two at once, as the original's linpack_server: a worker may have two processors.
"""

from collections.abc import Mapping

from mu_twisted.fsm import RunError, RunResult, Worker
from mu_twisted.pipelines import ORIGINAL_BUCKET, JobSettings, Pipeline, PipelineOptions, Report, at_least, s3_key
from mu_twisted.pipelines._rates import find_rate, summary

RUNS = 2
"""At once in each worker."""
_READ = 60_000
"""Bytes from the end of a run's output in which its rate is looked for."""


class Options(PipelineOptions):
    """What linpack takes besides the options of every job."""

    optParameters = [
        ORIGINAL_BUCKET,
        ["tasks", "n", 16, "number of workers, each with two runs", at_least(1, "-n")],
        ["out", None, "linpack", "what the runs print is stored in this folder of the bucket", s3_key("--out")],
    ]


def outputs(settings: JobSettings, task: int) -> list[str]:
    """Keys of what the runs have printed."""
    return [f"{settings['out']}/{settings['offset'] + task:08d}-{run}.txt" for run in range(RUNS)]


async def linpack(w: Worker) -> None:
    """One worker."""
    w.extra = f"running {RUNS} at once"
    files = [f"##TMPDIR##/{run}.txt" for run in range(RUNS)]
    # All is sent at once; a run in the background takes what is set when it starts.
    started = [w.seti("nonblock", 1), w.set("cmdvars", "{")]
    for file in files:
        started += [w.set("cmdargs", f'\n}} > "{file}" 2>&1'), w.run(check=False)]  # type: ignore[list-item]
    results = [result for result in await w.all(*started) if isinstance(result, RunResult)]
    w.extra = "storing"
    await w.all(w.seti("nonblock", 0), w.set("cmdvars", ""), w.set("cmdargs", ""))
    printed = await w.all(*(w.run(f'tail -c {_READ} "{file}"') for file in files))
    for result, shown in zip(results, printed, strict=True):
        if result.status:
            raise RunError(RunResult(result.status, shown.output or result.output))
    await w.all(*(w.upload(key, file) for key, file in zip(outputs(w.settings, w.task), files, strict=True)))
    rates = [find_rate(shown.output) for shown in printed]
    w.info["remark"] = " ".join("-" if rate is None else f"{rate:.6g}" for rate in rates)


def report(_: JobSettings, remarks: Mapping[int, str]) -> Report:
    """Sum and distribution of the rates."""
    said = [word for remark in remarks.values() for word in remark.split()]
    return Report(summary([float(word) for word in said if word != "-"], len(said)) if said else "")


pipeline = Pipeline(
    name="linpack",
    summary="run a benchmark twice at once in each worker, and sum up the rates",
    first=linpack,
    options=Options,
    outputs=outputs,
    report=report,
)
