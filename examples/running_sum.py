"""running_sum adds numbers up along a chain of workers: each sends its sum to the next one through the rendezvous.

Task N stores, as ``OUT/N``, the sum of 1 to N + 1. It takes the sum of task N - 1, adds its own number, and sends the
result on to task N + 1. What travels is a file, ``final.state``, of a run that ``produces_state``; the next worker
finds it as ``N.state`` in its directory. Needs a rendezvous; on one host it is found without being named:

    mu rendezvous
    mu run --local ./examples/running_sum.py -n 4 -l FUNCTION -b BUCKET
"""

from mu_twisted.fsm import Worker
from mu_twisted.pipelines import JobSettings, PeerOptions, Pipeline


class Options(PeerOptions):
    """The options of running_sum, besides those of every job and those of jobs with messages."""

    optParameters = [["out", None, "sums", "where the sums are stored in the bucket"]]


def key(settings: JobSettings, task: int) -> str:
    """The key of a task's sum."""
    return f"{settings['out']}/{settings['offset'] + task}"


async def add(w: Worker) -> None:
    """Take the sum so far, add this task's number, send it on and store it."""
    last = w.task == w.settings["tasks"] - 1
    await w.connect(w.task if last else w.task + 1)
    sum_so_far = "0"
    if w.task:
        w.extra = "waiting for the sum so far"
        await w.run('while [ ! -e "##TMPDIR##/0.state" ]; do sleep 0.05; done')
        sum_so_far = '$(cat "##TMPDIR##/0.state")'
    w.extra = "adding"
    await w.all(
        w.seti("run_iter", 0),
        w.seti("send_statefile", int(not last)),
        w.seti("produces_state", 1),
        w.run(f'echo $(({sum_so_far} + {w.task + 1})) | tee "##TMPDIR##/output.ivf" > "##TMPDIR##/final.state"'),
        w.seti("produces_state", 0),
    )
    await w.close_connect()
    await w.upload(key(w.settings, w.task), "##TMPDIR##/final.state")


pipeline = Pipeline(
    name="running_sum",
    summary="add numbers up along a chain of workers",
    first=add,
    options=Options,
    outputs=lambda settings, task: [key(settings, task)],
    consumes=lambda settings, task: [task - 1] if task else [],
)
