"""The original's xcenc, as far as the vectors show it: passes of one chunk, each on the state of the one before."""

from mu_twisted.fsm import CommandListState, ForLoopState, MachineState, OnePassState, TerminalState
from original_apps.commands import connect, vpxenc

DEFAULTS = {
    "vid_name": "sintel-1k-y4m_06",
    "num_offset": 0,
    "quality_y": 30,
    "quality_str": "30_x",
    "upload_states": False,
    "state_srv_addr": "127.0.0.1",
    "state_srv_port": 13337,
    "state_srv_threads": 1,
    "run_name": "abcdefghijklmnop",
}

XCENC = (
    'run:##INSTATEWAIT## ./xc-enc ##QUALITY## -w 0.75 -i y4m -O "##TMPDIR##/final.state"'
    ' -o "##TMPDIR##/output.ivf" ##INSTATESWITCH## "##TMPDIR##/input.y4m" 2>&1'
)
KEEP_STATE = 'run:test ! -f "##TMPDIR##/final.state" || cp "##TMPDIR##/final.state" "##TMPDIR##/prev.state"'


def passes(effective: int) -> int:
    """Number of encodes of a chunk, by its place in its group."""
    return min(effective, 2) + 1


class XCEncSettingsState(CommandListState):
    extra = "(setup)"
    nextState = "XCEncLoopState"
    pipelined = True
    commandlist = [("OK:HELLO", "connect:"), "retrieve:", ("OK:RETRIEV", None)]

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.info["effActNum"] = actorNum % self.settings["keyframe_distance"]
        number = actorNum + self.settings["num_offset"]
        self.commands[0] = connect(self.settings, actorNum, self.info["group"], self.settings["run_name"])
        self.commands[1] = f"retrieve:{self.settings['vid_name']}/{number:08d}.y4m\0##TMPDIR##/input.y4m"


class XCEncLoopState(ForLoopState):
    loopState = "XCEncPreRunState"
    exitState = "XCEncFinishState"

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.iterFin = passes(self.info["effActNum"])
        self.info["converged"], self.info["need_reencode"] = True, False


class XCEncPreRunState(CommandListState):
    extra = "(pre-encode)"
    nextState = "XCEncRunState"
    pipelined = True
    commandlist = [(None, "seti:run_iter:"), "set:cmdquality:", "seti:send_statefile:", KEEP_STATE]

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        distance, effective, turn = self.settings["keyframe_distance"], self.info["effActNum"], self.info["iter_key"]
        sends = effective != distance - 1 and turn in (0, passes(effective) - 1)
        self.commands[0] = f"seti:run_iter:{(0, 1, effective)[turn]}"
        self.commands[1] = f"set:cmdquality:{self.settings['quality_y'] if turn == 0 else ''}"
        self.commands[2] = f"seti:send_statefile:{int(sends)}"


class XCEncRunState(CommandListState):
    extra = "(encode)"
    commandlist = [("OK:RETVAL(0)", XCENC), ("OK:RETVAL(0)", None)]

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.turn = self.info["iter_key"]
        if self.turn == 0:
            self.commands[0] = vpxenc("##QUALITY##", "output.ivf")

    def nextState(self) -> str:
        if self.turn > 0:
            return "XCEncLoopState"
        alone = self.settings["keyframe_distance"] == 1 and not self.settings["upload_states"]
        return "XCEncFinishState" if alone else "XCEncDumpState"

    def str_extra(self) -> str:
        return f"{super().str_extra()}/{self.turn}"


class XCEncDumpState(CommandListState):
    extra = "(xc-dump)"
    nextState = XCEncLoopState
    pipelined = True
    commandlist = [
        (None, 'run:./xc-dump "##TMPDIR##/output.ivf" "##TMPDIR##/final.state"'),
        ("OK:RETVAL(0)", 'run:cp "##TMPDIR##/output.ivf" "##TMPDIR##/first.ivf"'),
        ("OK:RETVAL(0)", None),
    ]


class XCEncFinishState(CommandListState):
    extra = "(u/l states)"
    nextState = "XCEncQuitState"
    pipelined = True
    commandlist = [
        (None, "upload:{vid_name}/out_{quality_str}/{number:08d}.ivf\0##TMPDIR##/output.ivf"),
        "upload:{vid_name}/first_{quality_str}/{number:08d}.ivf\0##TMPDIR##/first.ivf",
        "upload:{vid_name}/final_state_{quality_str}/{number:08d}.state\0##TMPDIR##/final.state",
        None,
    ]

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        number = actorNum + self.settings["num_offset"]
        self.commands = [c and c.format(number=number, **self.settings) for c in self.commands]
        if not self.settings["upload_states"]:
            self.expects, self.commands = [None, "OK:UPLOAD"], [self.commands[0], None]


class XCEncQuitState(OnePassState):
    command = "quit:"
    nextState = "FinalState"


class FinalState(TerminalState):
    extra = "(done)"
