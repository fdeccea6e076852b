"""A job is halted when so many of its tasks have failed that the others are not worth their cost."""

from mu_twisted.jobs._ledger import HALTED
from mu_twisted.jobs._policy import JobPolicy


def halt_reason(policy: JobPolicy, failed: int, tasks: int) -> str | None:
    """Why a job is halted; None: it goes on.

    As GNU parallel's ``--halt``: a share is of all tasks.

    :param failed: tasks that have failed for good.
    :param tasks: of the job.
    """
    enough = policy.halt_failures is not None and failed >= policy.halt_failures
    share = policy.halt_percent is not None and failed * 100 >= policy.halt_percent * tasks
    if not failed or not (enough or share):
        return None
    limit = f"{policy.halt_failures}" if policy.halt_failures is not None else f"{policy.halt_percent:g}%"
    return f"{HALTED}{failed} of {tasks} tasks failed, and --halt allows less than {limit}"
