"""This module gives tasks that take far longer than others a second attempt beside the first."""

from mu_twisted.jobs._job_data import JobData

ENOUGH = 5
"""Finished attempts from which their median says something; half of the tasks, where there are few."""
SHARE = 0.05
"""Second attempts, as a share of the tasks; one at least."""


class Stragglers:
    """The decisions about slow attempts.

    :param data: the job.
    """

    def __init__(self, data: JobData) -> None:
        self._data = data
        tasks = len(data.ledger.tasks)
        self._enough = max(1, min(ENOUGH, tasks // 2))
        self._limit = max(1, int(SHARE * tasks))
        submitted = data.ledger.submitted
        # The second attempt of a task that talks to others would take its mailbox from the first.
        self._allowed = not (submitted.side_effects or data.ledger.lineage or data.ledger.gangs)

    def look(self) -> None:
        """Find attempts that are too slow; the oldest come first, so that each is looked at once."""
        data = self._data
        factor, durations = data.policy.speculate, data.ledger.durations
        if factor is None or not self._allowed or len(durations) < self._enough:
            return
        if data.backlog.first() is not None:
            return  # a task that has not begun is worth a worker more
        slow = factor * (durations.median or 0.0)
        while data.ledger.speculated + len(data.backlog.doubles) < self._limit:
            attempt = data.take_straggler(slow)
            if attempt is None:
                return
            if len(data.attempts[attempt.task]) == 1:
                data.backlog.add_double(data.ledger.tasks[attempt.task])
