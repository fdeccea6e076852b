"""The fsm package holds state machines and scripts that steer one task each, without any IO.

States are the classes of the original's ``libmu/machine_state.py``; a script is a coroutine over a :class:`Worker`.
Both run on the :class:`Machine`: messages go in, commands come out.
"""

from mu_twisted.fsm._collectives import all_to_all, broadcast, gather, reduce
from mu_twisted.fsm._combinators import ForLoopState, IfElseState, InfoWatcherState, SuperpositionState
from mu_twisted.fsm._commandlist import CommandListState
from mu_twisted.fsm._errors import PROPAGATED, FSMError, Interrupted, user_place
from mu_twisted.fsm._expect import default_expect
from mu_twisted.fsm._machine import Machine, Outcome
from mu_twisted.fsm._named_messages import PipeWord
from mu_twisted.fsm._peering import Peering, Takes, TaskPipe
from mu_twisted.fsm._processes import Process
from mu_twisted.fsm._replies import RunResult, parse_run
from mu_twisted.fsm._script import Script
from mu_twisted.fsm._states import (
    ErrorState,
    MachineState,
    MultiPassState,
    OnePassState,
    StateReference,
    TerminalState,
)
from mu_twisted.fsm._worker import RunError, Worker

__all__ = [
    "PROPAGATED",
    "CommandListState",
    "ErrorState",
    "FSMError",
    "ForLoopState",
    "IfElseState",
    "InfoWatcherState",
    "Interrupted",
    "Machine",
    "MachineState",
    "MultiPassState",
    "OnePassState",
    "Outcome",
    "Peering",
    "PipeWord",
    "Process",
    "RunError",
    "RunResult",
    "Script",
    "StateReference",
    "SuperpositionState",
    "Takes",
    "TaskPipe",
    "TerminalState",
    "Worker",
    "all_to_all",
    "broadcast",
    "default_expect",
    "gather",
    "parse_run",
    "reduce",
    "user_place",
]
