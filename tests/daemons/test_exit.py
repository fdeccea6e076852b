"""A daemon's end."""

import subprocess
import sys

import pytest

# While all ends, which takes a moment, it is told to end once more.
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
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Traceback" not in done.stdout
    assert done.stdout.endswith("ended\n")
