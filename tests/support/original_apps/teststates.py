"""The machine of the original's test: a superposition with a loop, one with a watcher.

The value of ``cmdinfile`` is recorded by its sha256 only, and could not be found out.
"""

from mu_twisted.fsm import (
    ForLoopState,
    InfoWatcherState,
    MultiPassState,
    OnePassState,
    SuperpositionState,
    TerminalState,
)


class StartState(MultiPassState):
    extra = "(multi-pass state)"
    nextState = "TestSuperpositionState"
    expects = ["OK:HELLO", "OK:SET", "OK:SET", "OK:SET", "OK:SET", "OK:SET", "OK:SETI"]
    commands = [
        "set:inkey:testkey",
        "set:targfile:##TMPDIR##/test2.txt",
        "set:cmdinfile:seq 1 1000 > ##TMPDIR##/test.txt",
        "set:fromfile:##TMPDIR##/test.txt",
        "set:outkey:testkey",
        "seti:nonblock:1",
        "run:",
    ]


class TestSuperpositionState(SuperpositionState):
    __test__ = False
    nextState = "InfoWatchTestState"
    state_constructors = ["UploadDownloadState", "LoopSetBState"]


class UploadDownloadState(MultiPassState):
    extra = "(multi-pass state)"
    expects = ["OK:RUNNING", "OK:RETVAL(0)"]
    commands = [None, "upload:"]


class LoopSetBState(ForLoopState):
    iterFin = 3
    loopState = "ImmediateSetBState"
    exitState = TerminalState


class ImmediateSetBState(OnePassState):
    command = "seti:nonblock:0"
    nextState = "BlockSetState"


class BlockSetState(OnePassState):
    extra = "(setting blocking-run)"
    expect = "OK:SETI"
    nextState = LoopSetBState


class InfoWatchTestState(SuperpositionState):
    nextState = "FinishState"
    state_constructors = ["RetrieveIWState", "IWKicker"]


class RetrieveIWState(InfoWatcherState):
    extra = "(waiting to kick off retrieve)"
    command = "retrieve:"


class IWKicker(MultiPassState):
    extra = "(multi-pass state)"
    expects = ["OK:UPLOAD(", "OK:GETI"]
    commands = ["geti:nonblock", None]


class FinishState(MultiPassState):
    extra = "(multi-pass state)"
    nextState = "FinalState"
    expects = ["OK:RETRIEVE", "OK:RETVAL(0)", "OK:RETVAL(0)"]
    commands = [
        "run:diff ##TMPDIR##/test.txt ##TMPDIR##/test2.txt",
        "run:rm ##TMPDIR##/test.txt ##TMPDIR##/test2.txt",
        "quit:",
    ]


class FinalState(TerminalState):
    extra = "(finished)"
