"""A group of chunks decodes as one stream; the commands of both encoders that make it stand here.

Knows how chunks stand in their groups, how each program is called and how a run's state is handed on; the order of
things in a task is its pipeline's.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from mu_twisted.fsm import Worker
from mu_twisted.pipelines._options import JobSettings, coerced

ENCODE = (
    "./vpxenc --ivf -q --codec=vp8 --good --cpu-used=0 --end-usage=cq --min-q=0 --max-q=63 --cq-level={quality} "
    "--buf-initial-sz=10000 --buf-optimal-sz=20000 --buf-sz=40000 --undershoot-pct=100 --passes=2 --auto-alt-ref=1 "
    "--threads=1 --token-parts=0 --tune=ssim --target-bitrate=4294967295 "
    '-o "##TMPDIR##/{output}" "##TMPDIR##/input.y4m"'
)
TERMINATE = './xc-terminate-chunk "##TMPDIR##/{encoded}" "##TMPDIR##/output.ivf" "##TMPDIR##/final.state"'
RE_ENCODE = (
    './xc-enc {switches} -i y4m -O "##TMPDIR##/final.state" -o "##TMPDIR##/output.ivf" '
    '-r -I "##TMPDIR##/{given}.state" -p "##TMPDIR##/prev.ivf" {prediction}"##TMPDIR##/input.y4m"'
)
REBASE = "##INSTATEWAIT## " + RE_ENCODE
"""Starts the encoder, which reads its input and then waits for the end of standard input, when its state is there."""
KEEP_FIRST = 'cp "##TMPDIR##/{encoded}" "##TMPDIR##/first.ivf"'


def quantizer(most: int, switch: str) -> Any:
    """A converter for quantizers from 0, the best, to ``most``."""

    def convert(text: str) -> int:
        number = int(text)
        if not 0 <= number <= most:
            raise ValueError
        return number

    return coerced(convert, f"a number from 0 to {most}", switch)


def group_size(settings: JobSettings) -> int:
    """How many chunks make a group; the last group may have fewer."""
    return int(settings["group"] or settings["tasks"])


def order(settings: JobSettings) -> list[int]:
    """The first chunks of all groups, then the second ones, and so on: producers before consumers."""
    size = group_size(settings)
    return sorted(range(settings["tasks"]), key=lambda task: (task % size, task))


def consumes(settings: JobSettings, task: int) -> list[int]:
    """A chunk takes the states of the one before it in its group."""
    return [task - 1] if task % group_size(settings) else []


def is_last(settings: JobSettings, task: int) -> bool:
    """Whether no chunk of its group comes after it."""
    return task % group_size(settings) == group_size(settings) - 1 or task == settings["tasks"] - 1


def outputs(settings: JobSettings, task: int) -> list[str]:
    """The chunk, and with ``-u`` what is stored beside it."""
    keys = ["{}/out/{:08d}.ivf"]
    if settings["upload-states"]:
        keys += ["{}/first/{:08d}.ivf", "{}/final_state/{:08d}.state"]
    return [key.format(settings["video"], settings["offset"] + task) for key in keys]


async def fetch(w: Worker, key: str) -> None:
    """Fetch the chunk. All that follows runs in the background, with one reply each.

    That changes nothing for a worker of ours; an original one hands on the states of runs in the background only.
    """
    w.extra = "fetching"
    await w.all(
        w.seti("nonblock", 1),
        w.seti("bg_silent", 1),
        w.retrieve(key, "##TMPDIR##/input.y4m"),
    )


async def finish(w: Worker, store: Callable[[], Awaitable[None]], *, talks: bool) -> None:
    """Close the channel to the peers, and store what the task has made.

    Where all share one key the worker may be an original one, which drops what it has not sent yet when it closes the
    channel. There the channel is closed last: states leave while the chunk is being stored.

    :param talks: whether there is a channel.
    """
    if talks and not w.peering.legacy:
        await _hand_over(w)
    w.extra = "storing"
    await store()
    if talks and w.peering.legacy:
        await _hand_over(w)


async def _hand_over(w: Worker) -> None:
    w.extra = "handing over"
    await w.close_connect()


async def make_state(w: Worker, command: str, run_iter: int, *, send: bool) -> None:
    """Run what makes a state.

    All is sent at once: the worker takes commands one by one, and what the variables are when a run starts counts for
    it. After it no run makes a state until the next that says so.

    :param run_iter: number of the state; where it is above 0, the command waits for the one before.
    :param send: whether the next chunk waits for the state.
    """
    await w.all(
        w.seti("run_iter", run_iter),
        w.seti("expect_statefile", int(run_iter > 0)),
        w.seti("send_statefile", int(send)),
        w.seti("produces_state", 1),
        w.run(command),
        w.seti("produces_state", 0),
    )
