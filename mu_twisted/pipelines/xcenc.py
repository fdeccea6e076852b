"""xcenc is ExCamera's encoder: chunks are encoded beside each other, then joined by passing encoder states on.

Each chunk is encoded by itself (pass 0). All but the first of a group are then re-encoded to begin where the chunk
before ended: on the state of its pass 0 (pass 1), and the third and later ones again on its last state (pass 2), so
that a group decodes as one stream. A re-encoder is started before its state is there: it reads its input, then waits.

Input is ``VIDEO/%08d.y4m``, output ``VIDEO/out/%08d.ivf``. Commands, keys and switches are those of the original's
xcenc_server; its one fault in them is not: a group's first chunk must be ended by xc-terminate-chunk, or strict
decoders reject the next one. Its mode of 2016 stands in :mod:`mu_twisted.pipelines._xcenc_chain`.
"""

from collections.abc import Mapping, Sequence

from twisted.python import usage

from mu_twisted.fsm import RunError, Worker
from mu_twisted.pipelines import (
    ORIGINAL_BUCKET,
    JobSettings,
    PeerOptions,
    Pipeline,
    Report,
    _xcenc_chain,
    _xcenc_groups,
    at_least,
)
from mu_twisted.pipelines._xcenc_groups import (
    ENCODE,
    KEEP_FIRST,
    REBASE,
    TERMINATE,
    fetch,
    finish,
    group_size,
    is_last,
    make_state,
)

PROGRAMS = ("vpxenc", "xc-dump", "xc-terminate-chunk", "xc-enc")
"""What the function must hold."""
OPTIONAL_PROGRAM = "comp-states"
"""What it may hold: then it is shown how far the first state that a chunk was given is from the last."""

DUMP = './xc-dump "##TMPDIR##/output.ivf" "##TMPDIR##/final.state"'
KEEP_GIVEN = 'ln "##TMPDIR##/0.state" "##TMPDIR##/given.state"'
# It exits with 1 where the states differ, too; where it fails it says nothing on its standard output.
COMPARE = (
    './comp-states "##TMPDIR##/given.state" "##TMPDIR##/{given}.state" > "##TMPDIR##/comp.txt" '
    '|| test -s "##TMPDIR##/comp.txt"'
)

_COARSEST = 63
"""Quantizer of vpxenc; that of xc-enc is 127."""


class Options(PeerOptions):
    """What xcenc takes besides the options of every job whose tasks talk to one another."""

    optParameters = [
        ORIGINAL_BUCKET,
        ["video", "v", "sintel-1k-y4m_06", "name of the video: chunks are read from VIDEO/, written to VIDEO/out/"],
        ["group", "K", None, "chunks of a group, which decodes as one stream (default: all)", at_least(1, "-K")],
        [
            "y-ac-qi",
            "Y",
            "30",
            "quantizer for Y, 0 (best) to 63; with --chain to 127",
            _xcenc_groups.quantizer(127, "-Y"),
        ],
        [
            "passes",
            "p",
            None,
            f"number of passes; implies --chain (default: {_xcenc_chain.PASSES})",
            at_least(1, "-p"),
        ],
        [
            "s-ac-qi",
            "S",
            None,
            f"quantizer for S, 0 to 127; implies --chain (default: {_xcenc_chain.S_AC_QI})",
            _xcenc_groups.quantizer(127, "-S"),
        ],
    ]
    optFlags = [
        ["upload-states", "u", "also store first encodes (VIDEO/first/) and states (VIDEO/final_state/)"],
        ["chain", None, "the mode of 2016: encode each chunk -p times, each time on its neighbour's last state"],
        ["allow-unconverged", None, "with --chain: the job is well even if states still change in the last pass"],
    ]

    def postOptions(self) -> None:
        """Which mode it is, and refuse what would be ignored in it."""
        if self["passes"] is not None or self["s-ac-qi"] is not None:
            self["chain"] = 1
        if self["chain"]:
            self["passes"] = self["passes"] or _xcenc_chain.PASSES
            self["s-ac-qi"] = _xcenc_chain.S_AC_QI if self["s-ac-qi"] is None else self["s-ac-qi"]
            for key, switch in (("group", "-K"), ("upload-states", "-u")):
                if self[key]:
                    raise usage.UsageError(f"{switch} is of no use in the chain mode (--chain, -p, -S): leave it out")
        elif self["allow-unconverged"]:
            raise usage.UsageError("--allow-unconverged is of no use without --chain: only there states are compared")
        elif self["y-ac-qi"] > _COARSEST:
            raise usage.UsageError(f"-Y: expected a number from 0 to {_COARSEST}, got '{self['y-ac-qi']}'")


async def xcenc(w: Worker) -> None:
    """One chunk."""
    await (_xcenc_chain.chain(w) if w.settings["chain"] else _joined(w))


async def _joined(w: Worker) -> None:
    settings = w.settings
    place, last = w.task % group_size(settings), is_last(settings, w.task)
    key = f"{settings['video']}/{{}}{settings['offset'] + w.task:08d}.{{}}"

    await fetch(w, key.format("", "y4m"))
    alone = place == 0 and last
    if not alone:
        await w.connect(w.task if last else w.task + 1)
    compares = False
    if place > 0:
        found = await w.run(f"test -x ./{OPTIONAL_PROGRAM}", check=False)
        if found.killed:
            raise RunError(found)
        compares = found.status == 0

    await _encode(w, place, send=not last)
    if place >= 1:
        await _rebase(w, 1, send=place == 1 and not last)
    if compares:
        await w.run(KEEP_GIVEN)  # pass 2 of the third chunk would have the worker delete it
    if place >= 2:
        await _rebase(w, place, send=not last)

    async def store() -> None:
        if compares:
            await w.run(COMPARE.format(given=place - 1))
        results = [w.upload(key.format("out/", "ivf"), "##TMPDIR##/output.ivf")]
        if settings["upload-states"]:
            results.append(w.upload(key.format("first/", "ivf"), "##TMPDIR##/first.ivf"))
            results.append(w.upload(key.format("final_state/", "state"), "##TMPDIR##/final.state"))
        if compares:
            results.append(w.upload(key.format("comp_txt/", "txt"), "##TMPDIR##/comp.txt"))
        await w.all(*results)

    await finish(w, store, talks=not alone)


async def _encode(w: Worker, place: int, *, send: bool) -> None:
    """Pass 0: the chunk by itself."""
    w.extra = "encoding"
    await w.run(ENCODE.format(quality=w.settings["y-ac-qi"], output="output.ivf" if place else "vpx.ivf"))
    w.extra = "taking its state"
    command = DUMP if place else TERMINATE.format(encoded="vpx.ivf")
    if w.settings["upload-states"]:
        command += " && " + KEEP_FIRST.format(encoded="output.ivf")
    await make_state(w, command, 0, send=send)


async def _rebase(w: Worker, run_iter: int, *, send: bool) -> None:
    """Encode again, to begin where the chunk before ended.

    :param run_iter: one more than the number of the state to wait for.
    """
    w.extra = f"re-encoding on state {run_iter - 1}"
    prediction = '-S "##TMPDIR##/0.state" ' if run_iter > 1 else ""
    command = REBASE.format(switches="-w 0.75", given=run_iter - 1, prediction=prediction)
    await make_state(w, command, run_iter, send=send)


def consumes(settings: JobSettings, task: int) -> list[int]:
    """A chunk takes the states of the one before it."""
    return _xcenc_chain.consumes(settings, task) if settings["chain"] else _xcenc_groups.consumes(settings, task)


def outputs(settings: JobSettings, task: int) -> list[str]:
    """What is stored of a chunk."""
    return _xcenc_chain.outputs(settings, task) if settings["chain"] else _xcenc_groups.outputs(settings, task)


def order(settings: JobSettings) -> Sequence[int]:
    """Producers before consumers."""
    return range(settings["tasks"]) if settings["chain"] else _xcenc_groups.order(settings)


def programs(settings: JobSettings) -> tuple[str, ...]:
    """What the function must hold, in either mode."""
    return _xcenc_chain.PROGRAMS if settings["chain"] else PROGRAMS


def report(settings: JobSettings, remarks: Mapping[int, str]) -> Report:
    """What is to be said of the whole job."""
    return _xcenc_chain.report(settings, remarks) if settings["chain"] else Report()


pipeline = Pipeline(
    name="xcenc",
    summary="encode chunks of a video to VP8 in parallel, groups of them to one stream, as ExCamera did",
    first=xcenc,
    options=Options,
    programs=programs,
    order=order,
    consumes=consumes,
    outputs=outputs,
    report=report,
)
