"""A pipeline of pairs of tasks joined by a pipe: one packs what it has, slowly, and the other unpacks and sorts it."""

from mu_twisted.fsm import Worker
from mu_twisted.pipelines import PeerOptions, Pipeline, at_least

PACK = '{ head -n 200 "##TMPDIR##/in"; sleep {pause}; tail -n +201 "##TMPDIR##/in"; } | gzip -c > {packed}'
SORT = 'gunzip -c < {packed} | sort > "##TMPDIR##/out"; [ $(wc -l < "##TMPDIR##/out") = {lines} ]'


class Options(PeerOptions):
    """What the pairs take beside the options of every job."""

    optParameters = [
        ["prefix", None, "piped", "begins the keys of inputs and outputs"],
        ["pause", None, "0.5", "seconds that a pair takes"],
        ["lines", None, 400, "of an input", at_least(1, "--lines")],
    ]


async def task(w: Worker) -> None:
    """Even tasks write, odd ones read."""
    pair, reads = divmod(w.task, 2)
    prefix = w.settings["prefix"]
    if not reads:
        await w.retrieve(f"{prefix}/in/{pair}", "##TMPDIR##/in")
        await w.run(PACK.replace("{pause}", w.settings["pause"]), packed=w.pipe_to(w.task + 1, "packed"))
        return
    await w.run(SORT.replace("{lines}", str(w.settings["lines"])), packed=w.pipe_from(w.task - 1, "packed"))
    await w.upload(f"{prefix}/out/{pair}", "##TMPDIR##/out")


pipeline = Pipeline(
    name="piped",
    summary="pairs of tasks joined by a pipe",
    first=task,
    options=Options,
    pipes=lambda settings: [(at, at + 1, "packed") for at in range(0, settings["tasks"], 2)],
)
