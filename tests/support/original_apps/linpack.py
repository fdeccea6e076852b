"""The original's linpack: the same program twice in the background."""

from mu_twisted.fsm import CommandListState, TerminalState


class LinpackRunState(CommandListState):
    extra = "(running linpack x2)"
    nextState = "FinalState"
    commandlist = [
        ("OK:HELLO", "run:time ./linpack_bench_d"),
        (None, "run:time ./linpack_bench_d"),
        ("OK:RUNNING", None),
        ("OK:RETVAL(0)", None),
        ("OK:RUNNING", None),
        ("OK:RETVAL(0)", None),
    ]


class FinalState(TerminalState):
    extra = "(finished)"
