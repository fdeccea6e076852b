"""shuffle sorts records on N workers, each of which sends a part of its own to every other.

Worker I makes the I-th share of the records, splits it by ranges of keys, gives range J to worker J, and sorts what it
gets for itself. So the objects ``OUT/00000000`` to the last hold all records in order; at the end the job says whether
they do. With ``--by s3`` the parts go through S3 instead: one job stores them (``--stage split``), and when it is done
a second one fetches and sorts (``--stage merge``), as frameworks do whose functions cannot talk to one another. The
program ``records`` (``mu demo-shuffle`` makes one) has to be in the function.
"""

from collections.abc import Mapping

from twisted.python import usage

from mu_twisted.base import counted
from mu_twisted.fsm import Worker, all_to_all
from mu_twisted.pipelines import JobSettings, PeerOptions, Pipeline, Report, at_least, s3_key

RECORD = 100
"""Bytes."""


class Options(PeerOptions):
    """What shuffle takes besides the options of every job with messages."""

    optParameters = [
        ["tasks", "n", 16, "number of workers", at_least(1, "-n")],
        ["records", "r", 1_000_000, f"records of {RECORD} bytes, all together", at_least(1, "-r")],
        ["out", None, "shuffle", "the sorted records are stored in this folder of the bucket", s3_key("--out")],
        ["by", None, "links", "how parts travel: links (from worker to worker) or s3"],
        ["stage", None, "all", "with --by s3: split or merge"],
    ]

    def postOptions(self) -> None:
        """Whether the ways of exchanging parts go together."""
        if self["by"] not in ("links", "s3"):
            raise usage.UsageError(f"--by: expected links or s3, got {self['by']}")
        stages = ("split", "merge") if self["by"] == "s3" else ("all",)
        if self["stage"] not in stages:
            raise usage.UsageError(f"--stage: with --by {self['by']} expected {' or '.join(stages)}")


def senders(settings: JobSettings, task: int) -> list[tuple[int, str]]:
    """Who sends a part to this task: all others, where parts travel by links."""
    if settings["by"] == "s3":
        return []
    return [(other, "part") for other in range(settings["tasks"]) if other != task]


def outputs(settings: JobSettings, task: int) -> list[str]:
    """Keys of what a task stores."""
    if settings["stage"] == "split":
        return [part_key(settings, task, to) for to in range(settings["tasks"])]
    return [f"{settings['out']}/{task:08d}"]


def part_key(settings: JobSettings, frm: int, to: int) -> str:
    """Key of a part that goes through S3."""
    return f"{settings['out']}/parts/{to:08d}/{frm:08d}"


async def shuffle(w: Worker) -> None:
    """One worker."""
    settings = w.settings
    tasks = range(settings["tasks"])
    parts = [f"##TMPDIR##/part.{task}" for task in tasks]
    if settings["stage"] != "merge":
        first = settings["records"] * w.task // len(tasks)
        count = settings["records"] * (w.task + 1) // len(tasks) - first
        w.extra = "making records"
        await w.run(f'./records make {first} {count} > "##TMPDIR##/mine"')
        await w.run(f'./records split {len(tasks)} "##TMPDIR##/part" "##TMPDIR##/mine" && rm "##TMPDIR##/mine"')
    w.extra = "exchanging parts"
    if settings["stage"] == "split":
        await w.all(*(w.upload(part_key(settings, w.task, to), part) for to, part in enumerate(parts)))
        return
    if settings["stage"] == "merge":
        await w.all(*(w.retrieve(part_key(settings, frm, w.task), part) for frm, part in enumerate(parts)))
    else:
        parts = await all_to_all(w, tasks, "part", parts)
    w.extra = "sorting"
    files = " ".join(f'"{part}"' for part in parts)
    checked = await w.run(f'./records merge {files} > "##TMPDIR##/sorted" && ./records check "##TMPDIR##/sorted"')
    w.extra = "storing"
    await w.upload(outputs(settings, w.task)[0], "##TMPDIR##/sorted")
    w.info["remark"] = checked.output.strip()


def report(settings: JobSettings, remarks: Mapping[int, str]) -> Report:
    """Whether the objects together are all records, in order."""
    if settings["stage"] == "split" or len(remarks) < settings["tasks"]:
        return Report()
    count, total, last = 0, 0, ""
    for task in sorted(remarks):
        words = remarks[task].split()
        count += int(words[0])
        total = (total + int(words[1], 16)) % 2**64
        if len(words) == 4:
            if words[2] < last:
                return Report(error=f"task {task} begins with a key before the last one of the task before it")
            last = words[3]
    if count != settings["records"]:
        return Report(error=f"{counted(count, 'record')} came out of {settings['records']}")
    return Report(f"{counted(count, 'record')} of {RECORD} bytes in order, sum {total:016x}")


pipeline = Pipeline(
    name="shuffle",
    summary="sort records on workers that exchange parts with one another",
    first=shuffle,
    options=Options,
    programs=("records",),
    outputs=outputs,
    messages=senders,
    report=report,
)
