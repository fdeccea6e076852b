"""Tasks that take far longer than others get a second attempt beside the first."""

from mu_twisted.jobs._board import Board

ENOUGH = 5
"""Finished attempts from which their median says something; half of the tasks, where there are few."""
SHARE = 0.05
"""Second attempts, as a share of the tasks; one at least."""


class Stragglers:
    """The decisions about slow attempts.

    :param board: the job.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        tasks = len(board.ledger.tasks)
        self._enough = max(1, min(ENOUGH, tasks // 2))
        self._most = max(1, int(SHARE * tasks))
        submitted = board.ledger.submitted
        # The second attempt of a task that talks to others would take its mailbox from the first.
        self._allowed = not submitted.side_effects and not board.ledger.lineage

    def look(self) -> None:
        """Find attempts that are too slow; the oldest come first, so that each is looked at once."""
        board = self._board
        factor, durations = board.policy.speculate, board.ledger.durations
        if factor is None or not self._allowed or len(durations) < self._enough:
            return
        if board.backlog.first() is not None:
            return  # whatever has not begun is more worth a worker
        slow = factor * (durations.median or 0.0)
        doubles = board.backlog.doubles
        while board.first_attempts and board.ledger.speculated + len(doubles) < self._most:
            attempt = next(iter(board.first_attempts))
            if board.now - attempt.began <= slow:
                return
            del board.first_attempts[attempt]
            if len(board.attempts[attempt.task]) == 1:
                doubles[board.ledger.tasks[attempt.task]] = None
