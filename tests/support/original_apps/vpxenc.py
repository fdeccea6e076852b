"""The original's vpxenc: one straight line of pairs."""

from mu_twisted.fsm import MachineState, MultiPassState, TerminalState

DEFAULTS = {"vid_name": "sintel-1k-y4m_06", "num_offset": 0}


class VPXEncStateMachine(MultiPassState):
    extra = "(multi-pass state)"
    nextState = "FinalState"
    expects = [
        "OK:HELLO",
        "OK:SET",
        "OK:SET",
        "OK:SET",
        "OK:SET",
        "OK:SET",
        "OK:SET",
        "OK:RETRIEV",
        "OK:RETVAL(0)",
        "OK:SETI",
        "OK:UPLOADING",
        "OK:UPLOAD(",
    ]
    commands = [
        "set:inkey:{vid_name}/{number:08d}.y4m",
        "set:targfile:##TMPDIR##/{number:08d}.y4m",
        "set:cmdinfile:##TMPDIR##/{number:08d}.y4m",
        "set:cmdoutfile:##TMPDIR##/{number:08d}.ivf",
        "set:fromfile:##TMPDIR##/{number:08d}.ivf",
        "set:outkey:{vid_name}/out/{number:08d}.ivf",
        "retrieve:",
        "run:",
        "seti:nonblock:1",
        "upload:",
        None,
        "quit:",
    ]

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        number = actorNum + self.settings["num_offset"]
        self.commands = [c and c.format(number=number, **self.settings) for c in self.commands]


class FinalState(TerminalState):
    extra = "(finished)"
