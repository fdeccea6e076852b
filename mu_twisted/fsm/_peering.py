"""This module knows what a task says to the rendezvous to find its peers; it knows the words, not the connection."""

from dataclasses import dataclass

from mu_twisted.wire import PeerGreeting


@dataclass(frozen=True, slots=True)
class Peering:
    """Given to a machine whose task exchanges messages with others.

    :param address: of the rendezvous, HOST:PORT; an IPv6 address in brackets.
    :param run: the job's name.
    :param attempt: which try at the task this is.
    :param replay: whether messages may have come to an earlier attempt, which are wanted again.
    :param legacy: greet as the original does, without attempt; for keys that are shared by all.
    """

    address: str
    run: str
    attempt: int = 0
    replay: bool = False
    legacy: bool = False

    def connect(self, me: int, to: int) -> str:
        """The ``connect:`` command of a worker.

        :param me: the task's number, whose messages it reads.
        :param to: the task that all its messages go to; may be itself where nothing is sent.
        """
        run = self.run.encode("utf-8", "surrogateescape")
        attempt = None if self.legacy else self.attempt
        greeting = PeerGreeting(run, me, to, attempt, self.replay).encode()
        return f"connect:{self.address}:{greeting.decode('utf-8', 'surrogateescape')}"
