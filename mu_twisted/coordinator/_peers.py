"""How the tasks of one job come to their peers: the certificate that each attempt gets, and what it says to whom."""

from collections.abc import Callable
from dataclasses import dataclass

from mu_twisted.fsm import Peering
from mu_twisted.tls import KeyPair, TaskIdentity, pem_body


@dataclass(frozen=True)
class Peers:
    """Given to the run of a job whose pipeline has ``consumes``.

    :param job: its name.
    :param address: of the rendezvous, HOST:PORT as workers are to dial it.
    :param issue: makes the keys of an attempt; None where all share one pair: then attempts greet as the original did.
    """

    job: str
    address: str
    issue: Callable[[TaskIdentity], KeyPair] | None

    def identity(self, task: int, attempt: int) -> bytes | None:
        """The ``identity:`` command that a worker is to get before the task; None if it needs none."""
        if self.issue is None:
            return None
        pair = self.issue(TaskIdentity(self.job, task, attempt))
        return f"identity:{pem_body(pair.certificate)} {pem_body(pair.key)}".encode("ascii")

    def peering(self, attempt: int, *, replay: bool) -> Peering:
        """What the task's machine is to know.

        :param replay: whether messages may have come to an earlier attempt.
        """
        return Peering(self.address, self.job, attempt, replay, legacy=self.issue is None)
