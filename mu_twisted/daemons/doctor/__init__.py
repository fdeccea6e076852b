"""``mu doctor`` examines whether a coordinator with these options would find all that its jobs need.

It takes the coordinator's own command line. What is looked at stands in the module beside.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from mu_twisted.aws.findings import Finding
from mu_twisted.daemons._threads import abandonable
from mu_twisted.daemons.coordinator import Options as CoordinatorOptions
from mu_twisted.daemons.doctor._examination import Examination


class Options(CoordinatorOptions):
    """The coordinator's command line, and what the doctor adds."""

    optFlags = [
        ["json", None, "print the findings as JSON, on one line"],
        ["no-invoke", None, "do not invoke a worker to have it dial back"],
        ["punch", None, "have two workers of the function try to reach each other directly, by the job's rendezvous"],
        ["real", None, "print a script that checks a real account, in the region $REGION, and what it costs at most"],
    ]

    def getSynopsis(self) -> str:
        """The first line of the help."""
        return "Usage: mu doctor [options] [PIPELINE [options of the pipeline]]"

    @property
    def longdesc(self) -> str:
        """What stands below the options."""
        return (
            "Looks at all that a job needs, given the coordinator's command line: account, functions, limits, bucket, "
            "what the pipeline looks at before a launch, keys, clock, and whether a worker reaches this machine, for "
            "which it invokes one. With --punch two more show what the NATs before them allow, in place of what "
            "PIPELINE's programs and inputs need. Without PIPELINE only at what concerns no function. Exits 1 if "
            "something is broken."
        )


def examine(options: Options, report: Callable[[Finding], None]) -> None:
    """Look at everything, and report each thing as it is found. Runs the reactor: once in a process.

    :raises MuError: looking itself failed.
    :raises KeyboardInterrupt: the user has interrupted it.
    """
    from twisted.internet import reactor as the_reactor  # a composition root

    reactor: Any = the_reactor
    abandonable(reactor.getThreadPool())
    ended: list[Any] = []

    def end(result: Any) -> None:
        ended.append(result)
        if reactor.running:
            reactor.stop()

    def begin() -> None:
        Deferred.fromCoroutine(Examination(reactor, options, report).run()).addBoth(end)

    reactor.callWhenRunning(begin)
    reactor.run()
    if not ended:
        raise KeyboardInterrupt
    if ended[0] is not None:
        ended[0].raiseException()
