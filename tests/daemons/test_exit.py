"""A daemon's end."""

import subprocess
import sys

import pytest

# While all ends, which takes a moment, it is asked to end once more.
TOLD_TWICE = """
import os, signal, sys
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.python import log
from mu_twisted.daemons._exit import ignore_repeat_signals

def again():
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    return deferLater(reactor, 0.01)

log.startLogging(sys.stdout)
ignore_repeat_signals(reactor)
reactor.addSystemEventTrigger("before", "shutdown", again)
reactor.callWhenRunning(reactor.callLater, 0, {first})
reactor.run()
print("ended")
"""


@pytest.mark.parametrize("first", ["os.kill, os.getpid(), signal.SIGINT", "reactor.stop"])
def test_being_told_to_end_while_all_ends_is_no_fault(first: str) -> None:
    script = TOLD_TWICE.format(first=first)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Traceback" not in done.stdout
    assert done.stdout.endswith("ended\n")


# Its time stands still, however long that takes here, but between the first two signals and the third.
NEVER_ENDS = """
import os, signal
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from mu_twisted.daemons import _exit

class time:
    now = 0.0
    @staticmethod
    def monotonic():
        return time.now

def again():
    tell(signal.SIGINT)  # the same one, by another way
    time.now = 2 * _exit.AGAIN
    tell(signal.{second})
    reactor.callLater(0, os._exit, 3)
    return Deferred()

def tell(number):
    signal.raise_signal(number)  # whose handler runs in it

_exit.time = time
_exit.ignore_repeat_signals(reactor, at_once={at_once})
reactor.addSystemEventTrigger("before", "shutdown", again)
reactor.callWhenRunning(reactor.callLater, 0, tell, signal.SIGINT)
reactor.run()
"""


@pytest.mark.parametrize(
    ("second", "at_once", "status"), [("SIGINT", True, 1), ("SIGTERM", True, 3), ("SIGINT", False, 3)]
)
def test_an_interrupt_that_is_repeated_ends_a_command_at_once(second: str, at_once: bool, status: int) -> None:
    script = NEVER_ENDS.format(second=second, at_once=at_once)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == status
    told = "error: interrupted again, ended at once; `mu jobs` lists what is on record\n"
    assert done.stderr == (told if status == 1 else "")
