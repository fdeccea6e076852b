"""xcenc's chain mode is that of September 2016: chunk a is encoded min(N, a + 1) times.

Pass p of a chunk begins with the state that pass p - 1 of the chunk before ended with, and takes its modes from its own
pass p - 1. A state need not be exact for the next one to begin: with enough passes they stop changing, and whether they
have is compared at the end.

The encoders that know this mode's switches never wait: neither for standard input nor for a file. So the command waits
for the state and starts the encoder then. Their comp-states may exit with 0 whatever it finds, so its output counts.
"""

import re
from collections.abc import Mapping

from mu_twisted.base import counted
from mu_twisted.fsm import FSMError, Worker
from mu_twisted.pipelines._options import JobSettings
from mu_twisted.pipelines._pipeline import Report
from mu_twisted.pipelines._xcenc_groups import RE_ENCODE, fetch, finish, make_state

PROGRAMS = ("xc-enc", "comp-states")
PASSES = 7
S_AC_QI = 127

ENCODE = (
    './xc-enc --y-ac-qi {quality} -i y4m -O "##TMPDIR##/final.state" -o "##TMPDIR##/output.ivf" "##TMPDIR##/input.y4m"'
)
KEEP_STATE = 'test ! -e "##TMPDIR##/final.state" || cp "##TMPDIR##/final.state" "##TMPDIR##/prev.state"'
RE_ENCODE_THEN = "##INSTATEWAIT## cat > /dev/null && " + RE_ENCODE
COMPARE = (
    './comp-states "##TMPDIR##/prev.state" "##TMPDIR##/final.state" > "##TMPDIR##/comp.txt"; status=$?; '
    'test -s "##TMPDIR##/comp.txt" && cat "##TMPDIR##/comp.txt" || exit $status'
)
NOT_CONVERGED = "not converged"
_DIFFERENCE = re.compile(r"[0-9]+(?![^\s])")
"""How comp-states' output begins: the number of bits in which two states differ."""
_SHOWN = 200


def passes(settings: JobSettings, task: int) -> int:
    """How often a chunk is encoded."""
    return int(min(settings["passes"], task + 1))


def consumes(settings: JobSettings, task: int) -> list[int]:
    """A chunk that is encoded more than once takes the states of the one before it."""
    return [task - 1] if passes(settings, task) > 1 else []


def outputs(settings: JobSettings, task: int) -> list[str]:
    """The chunk, and how far its last two states are from each other."""
    keys = ["{}/out/{:08d}.ivf"]
    if passes(settings, task) > 1:
        keys.append("{}/comp_txt/{:08d}.txt")
    return [key.format(settings["video"], settings["offset"] + task) for key in keys]


def report(settings: JobSettings, remarks: Mapping[int, str]) -> Report:
    """Which tasks have not converged; that fails the job, unless it was allowed."""
    late = sorted(task for task, remark in remarks.items() if remark == NOT_CONVERGED)
    if not late:
        return Report()
    shown = ", ".join(map(str, late[:20])) + (f" and {len(late) - 20} more" if len(late) > 20 else "")
    passes = counted(settings["passes"], "pass", "passes")
    of = f"{len(late)} of {settings['tasks']} tasks have not converged after {passes}"
    if settings["allow-unconverged"]:
        return Report(f"{of}: {shown}")
    return Report(
        f"not converged: {shown}", error=f"{of}: give more passes with -p, or take them with --allow-unconverged"
    )


async def chain(w: Worker) -> None:
    """One chunk."""
    settings = w.settings
    last = w.task == settings["tasks"] - 1
    talks = settings["passes"] > 1 and settings["tasks"] > 1
    key = f"{settings['video']}/{{}}{settings['offset'] + w.task:08d}.{{}}"

    await fetch(w, key.format("", "y4m"))
    if talks:
        await w.connect(w.task if last else w.task + 1)
    for number in range(passes(settings, w.task)):
        await _encode(w, number, send=talks and not last)

    async def store() -> None:
        await w.all(
            w.upload(key.format("out/", "ivf"), "##TMPDIR##/output.ivf"),
            _compare(w, key.format("comp_txt/", "txt")),
        )

    await finish(w, store, talks=talks)


async def _encode(w: Worker, number: int, *, send: bool) -> None:
    """One pass."""
    if number == 0:
        w.extra = "encoding"
        command = ENCODE.format(quality=w.settings["y-ac-qi"])
    else:
        w.extra = f"re-encoding on state {number - 1}"
        prediction = f'-S "##TMPDIR##/{number - 2}.state" ' if number > 1 else ""
        switches = f"--s-ac-qi {w.settings['s-ac-qi']}"
        command = RE_ENCODE_THEN.format(switches=switches, given=number - 1, prediction=prediction)
    await w.run(KEEP_STATE)
    await make_state(w, command, number, send=send)


async def _compare(w: Worker, key: str) -> None:
    """Say how far the states of the last two passes are from each other, where there have been two."""
    if passes(w.settings, w.task) < 2:
        return
    result = await w.run(COMPARE)
    said = result.output.strip()
    found = _DIFFERENCE.match(said.rpartition("\n")[2])
    if found is None:
        raise FSMError(f"comp-states did not say in how many bits the states differ, but {said[-_SHOWN:]!r}")
    if int(found[0]) and w.task >= w.settings["passes"] - 1:
        w.info["remark"] = NOT_CONVERGED
    await w.upload(key, "##TMPDIR##/comp.txt")
