"""xcenc: ExCamera's encoder. Chunks are encoded beside each other, then joined by passing encoder states down the line.

Each chunk is encoded by itself (pass 0). All but the first of a group are then re-encoded to begin where the chunk
before ended: on the state of its pass 0 (pass 1), and the third and later ones again on its last state (pass 2), so
that a group decodes as one stream. A re-encoder is started before its state is there: it reads its input, then waits.

Input is ``VIDEO/%08d.y4m``, output ``VIDEO/out/%08d.ivf``. Commands, keys and switches are those of the original's
xcenc_server; its one fault in them is not: a group's first chunk must be ended by xc-terminate-chunk, or strict
decoders reject the next one.
"""

from collections.abc import Mapping
from typing import Any

from twisted.python import usage

from mu_twisted.fsm import Worker
from mu_twisted.pipelines import PeerOptions, Pipeline, at_least, coerced

PROGRAMS = ("vpxenc", "xc-dump", "xc-terminate-chunk", "xc-enc")
"""What the function must hold."""
OPTIONAL_PROGRAM = "comp-states"
"""What it may hold: then it is shown how far the first state that a chunk was given is from the last."""

ENCODE = (
    "./vpxenc --ivf -q --codec=vp8 --good --cpu-used=0 --end-usage=cq --min-q=0 --max-q=63 --cq-level={quality} "
    "--buf-initial-sz=10000 --buf-optimal-sz=20000 --buf-sz=40000 --undershoot-pct=100 --passes=2 --auto-alt-ref=1 "
    "--threads=1 --token-parts=0 --tune=ssim --target-bitrate=4294967295 "
    '-o "##TMPDIR##/{output}" "##TMPDIR##/input.y4m"'
)
DUMP = './xc-dump "##TMPDIR##/output.ivf" "##TMPDIR##/final.state"'
TERMINATE = './xc-terminate-chunk "##TMPDIR##/vpx.ivf" "##TMPDIR##/output.ivf" "##TMPDIR##/final.state"'
REBASE = (
    '##INSTATEWAIT## ./xc-enc -w 0.75 -i y4m -O "##TMPDIR##/final.state" -o "##TMPDIR##/output.ivf" '
    '-r -I "##TMPDIR##/{given}.state" -p "##TMPDIR##/prev.ivf" {prediction}"##TMPDIR##/input.y4m"'
)
KEEP_FIRST = 'cp "##TMPDIR##/output.ivf" "##TMPDIR##/first.ivf"'
KEEP_GIVEN = 'ln "##TMPDIR##/0.state" "##TMPDIR##/given.state"'
# It exits with 1 where the states differ, too; where it fails it says nothing on its standard output.
COMPARE = (
    './comp-states "##TMPDIR##/given.state" "##TMPDIR##/{given}.state" > "##TMPDIR##/comp.txt" '
    '|| test -s "##TMPDIR##/comp.txt"'
)


def _quantizer(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 63:
        raise ValueError
    return number


class Options(PeerOptions):
    """What xcenc takes besides the options of every job whose tasks talk to one another."""

    optParameters = [
        ["video", "v", "sintel-1k-y4m_06", "name of the video: chunks are read from VIDEO/, written to VIDEO/out/"],
        ["group", "K", None, "chunks of a group, which decodes as one stream (default: all)", at_least(1, "-K")],
        ["y-ac-qi", "Y", "30", "quantizer, 0 (best) to 63", coerced(_quantizer, "a number from 0 to 63", "-Y")],
        ["passes", "p", None, "number of passes in the chain mode of 2016, which is not there yet"],
        ["s-ac-qi", "S", None, "quantizer for S in the chain mode of 2016, which is not there yet"],
    ]
    optFlags = [["upload-states", "u", "also store first encodes (VIDEO/first/) and states (VIDEO/final_state/)"]]

    def postOptions(self) -> None:
        """Refuse what would otherwise be ignored."""
        for key, switch in (("passes", "-p"), ("s-ac-qi", "-S")):
            if self[key] is not None:
                raise usage.UsageError(
                    f"{switch} belongs to the chain mode of 2016, which is not there yet: leave it out to re-encode "
                    "each chunk at most twice"
                )


def group_size(settings: Mapping[str, Any]) -> int:
    """How many chunks make a group; the last group may have fewer."""
    return int(settings["group"] or settings["tasks"])


def order(settings: Mapping[str, Any]) -> list[int]:
    """The first chunks of all groups, then the second ones, and so on: producers before consumers."""
    size = group_size(settings)
    return sorted(range(settings["tasks"]), key=lambda task: (task % size, task))


def consumes(settings: Mapping[str, Any], task: int) -> list[int]:
    """A chunk takes the states of the one before it in its group."""
    return [task - 1] if task % group_size(settings) else []


def outputs(settings: Mapping[str, Any], task: int) -> list[str]:
    """The chunk, and with ``-u`` what is stored beside it."""
    keys = ["{}/out/{:08d}.ivf"]
    if settings["upload-states"]:
        keys += ["{}/first/{:08d}.ivf", "{}/final_state/{:08d}.state"]
    return [key.format(settings["video"], settings["offset"] + task) for key in keys]


async def xcenc(w: Worker) -> None:
    """One chunk."""
    settings, size = w.settings, group_size(w.settings)
    place = w.task % size
    last = place == size - 1 or w.task == settings["tasks"] - 1
    key = f"{settings['video']}/{{}}{settings['offset'] + w.task:08d}.{{}}"

    w.extra = "fetching"
    await w.retrieve(key.format("", "y4m"), "##TMPDIR##/input.y4m")
    alone = place == 0 and last
    if not alone:
        await w.connect(w.task if last else w.task + 1)
    compares = place > 0 and (await w.run(f"test -x ./{OPTIONAL_PROGRAM}", check=False)).status == 0

    await _encode(w, place, send=not last)
    if place >= 1:
        await _rebase(w, 1, send=place == 1 and not last)
    if compares:
        await w.run(KEEP_GIVEN)  # pass 2 of the third chunk would have the worker delete it
    if place >= 2:
        await _rebase(w, place, send=not last)
    if not alone:
        w.extra = "handing over"
        await w.close_connect()

    w.extra = "storing"
    results = [w.upload(key.format("out/", "ivf"), "##TMPDIR##/output.ivf")]
    if settings["upload-states"]:
        results.append(w.upload(key.format("first/", "ivf"), "##TMPDIR##/first.ivf"))
        results.append(w.upload(key.format("final_state/", "state"), "##TMPDIR##/final.state"))
    if compares:
        await w.run(COMPARE.format(given=place - 1))
        results.append(w.upload(key.format("comp_txt/", "txt"), "##TMPDIR##/comp.txt"))
    await w.all(*results)


async def _encode(w: Worker, place: int, *, send: bool) -> None:
    """Pass 0: the chunk by itself."""
    w.extra = "encoding"
    await w.run(ENCODE.format(quality=w.settings["y-ac-qi"], output="output.ivf" if place else "vpx.ivf"))
    w.extra = "taking its state"
    command = DUMP if place else TERMINATE
    if w.settings["upload-states"]:
        command += " && " + KEEP_FIRST
    await _make_state(w, command, 0, send=send)


async def _rebase(w: Worker, run_iter: int, *, send: bool) -> None:
    """Encode again, to begin where the chunk before ended.

    :param run_iter: one more than the number of the state to wait for.
    """
    w.extra = f"re-encoding on state {run_iter - 1}"
    prediction = '-S "##TMPDIR##/0.state" ' if run_iter > 1 else ""
    await _make_state(w, REBASE.format(given=run_iter - 1, prediction=prediction), run_iter, send=send)


async def _make_state(w: Worker, command: str, run_iter: int, *, send: bool) -> None:
    """Run what makes a state.

    All is sent at once: the worker takes commands one by one, and what the variables are when a run starts counts for
    it. After it no run makes a state until the next that says so.

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


pipeline = Pipeline(
    name="xcenc",
    summary="encode chunks of a video to VP8 in parallel, groups of them to one stream, as ExCamera did",
    first=xcenc,
    options=Options,
    programs=PROGRAMS,
    order=order,
    consumes=consumes,
    outputs=outputs,
)
