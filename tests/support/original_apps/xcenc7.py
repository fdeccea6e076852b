"""The original's xcenc7: one encode, and one re-encode on the state of the chunk before.

The re-encode's command waits for that state; how it does so is recorded by sha256 only, and could not be found out.
"""

from mu_twisted.fsm import CommandListState, MachineState, OnePassState, TerminalState
from original_apps.commands import connect, vpxenc

DEFAULTS = {
    "vid_name": "sintel-1k-y4m_06",
    "num_offset": 0,
    "quality_y": 30,
    "quality_str": "30_x",
    "state_srv_addr": "127.0.0.1",
    "state_srv_port": 13337,
    "state_srv_threads": 1,
    "run_name": "abcdefghijklmnop",
}


def effective(state: MachineState) -> int:
    """Place of the chunk in its group."""
    return state.actorNum % int(state.settings["keyframe_distance"])


class XCEnc7StartState(CommandListState):
    extra = "(starting)"
    nextState = "XCEnc7EncodeState"
    pipelined = True
    commandlist = [("OK:HELLO", "connect:"), "seti:run_iter:0", "seti:send_statefile:", "retrieve:"]

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        number, place = actorNum + self.settings["num_offset"], effective(self)
        video = self.settings["vid_name"] if place == 0 else self.settings["vid_name"][:-2] + "07"
        self.commands[0] = connect(self.settings, actorNum, self.info["group"], self.settings["run_name"])
        self.commands[2] = f"seti:send_statefile:{int(place != self.settings['keyframe_distance'] - 1)}"
        self.commands[3] = f"retrieve:{video}/{number:08d}.y4m\0##TMPDIR##/input.y4m"


class XCEnc7EncodeState(OnePassState):
    extra = "(d/l)"
    expect = "OK:RETRIEV"

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        alone = self.settings["keyframe_distance"] == 1
        self.command = vpxenc(self.settings["quality_y"], "output.ivf" if alone else "prev.ivf")

    def nextState(self) -> str:
        if self.settings["keyframe_distance"] == 1:
            return "XCEnc7PreFinishState"
        return "XCEnc7DumpState" if effective(self) == 0 else "XCEnc7RecodeState"


class XCEnc7DumpState(OnePassState):
    extra = "(vpxenc)"
    expect = "OK:RETVAL(0)"
    command = 'run:./xc-terminate-chunk "##TMPDIR##/prev.ivf" "##TMPDIR##/output.ivf" "##TMPDIR##/final.state"'
    nextState = "XCEnc7PreFinishState"


class XCEnc7RecodeState(CommandListState):
    extra = "(encode/wait)"
    nextState = "XCEnc7PreFinishState"
    pipelined = True
    commandlist = [("OK:RETVAL(0)", "seti:run_iter:"), "seti:send_statefile:", "run:"]

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        place = effective(self)
        last = place == self.settings["keyframe_distance"] - 1 or actorNum == self.settings["num_parts"] - 1
        before = f"##TMPDIR##/{place - 1}.state"
        self.commands[0] = f"seti:run_iter:{place}"
        self.commands[1] = f"seti:send_statefile:{int(not last)}"
        self.commands[2] = (
            f"run:while [ ! -e {before} ]; do sleep 0.1; done; ./xc-enc -w 0.75 -i y4m -O ##TMPDIR##/final.state"
            f" -o ##TMPDIR##/output.ivf -r -I {before} -p ##TMPDIR##/prev.ivf ##TMPDIR##/input.y4m"
        )


class XCEnc7PreFinishState(OnePassState):
    extra = "(working)"
    expect = "OK:RETVAL(0)"
    nextState = "XCEnc7FinishState"


class XCEnc7FinishState(CommandListState):
    extra = "(u/l states)"
    nextState = "XCEnc7QuitState"
    commandlist = [
        (None, "upload:{vid_name}/out_{quality_str}/{number:08d}.ivf\0##TMPDIR##/output.ivf"),
        None,
    ]

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        number = actorNum + self.settings["num_offset"]
        self.commands = [c and c.format(number=number, **self.settings) for c in self.commands]


class XCEnc7QuitState(OnePassState):
    command = "quit:"
    nextState = "FinalState"


class FinalState(TerminalState):
    extra = "(done)"
