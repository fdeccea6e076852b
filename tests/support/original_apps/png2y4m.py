"""The original's png2y4m: it runs the command once for each frame, inside the loop."""

from mu_twisted.fsm import CommandListState, ForLoopState, MachineState, TerminalState

DEFAULTS = {"vid_name": "sintel-1k", "in_format": "png16", "num_frames": 6, "num_offset": 0}


class PNG2Y4MConfigState(CommandListState):
    extra = "(configuring lambda worker)"
    nextState = "PNG2Y4MRetrieveLoopState"
    commandlist = [
        ("OK:HELLO", "set:cmdinfile:##TMPDIR##/%08d.png"),
        "set:cmdoutfile:##TMPDIR##/{number:08d}.y4m",
        "set:fromfile:##TMPDIR##/{number:08d}.y4m",
        "set:outkey:{vid_name}-y4m_{num_frames:02d}/{number:08d}.y4m",
        "seti:nonblock:0",
        "run:rm -rf /tmp/*",
        "run:mkdir -p ##TMPDIR##",
        None,
    ]

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        number = actorNum + self.settings["num_offset"]
        self.commands = [c and c.format(number=number, **self.settings) for c in self.commands]


class PNG2Y4MRetrieveLoopState(ForLoopState):
    extra = "(retrieve loop)"
    iterKey = "retrieve_iter"
    loopState = "PNG2Y4MRetrieveAndRunState"
    exitState = "PNG2Y4MUploadState"

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.iterFin = self.settings["num_frames"]


class PNG2Y4MRetrieveAndRunState(CommandListState):
    extra = "(retrieving PNG and appending to Y4M)"
    nextState = PNG2Y4MRetrieveLoopState
    commandlist = [
        (None, "set:inkey:{vid_name}-{in_format}/{frame:08d}.png"),
        "set:targfile:##TMPDIR##/{frame:08d}.png",
        "retrieve:",
        "run:",
        ("OK:RETVAL(0)", None),
    ]

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        number = actorNum + self.settings["num_offset"]
        frame = number * self.settings["num_frames"] + self.info["retrieve_iter"] + 1
        self.commands = [c and c.format(frame=frame, **self.settings) for c in self.commands]


class PNG2Y4MUploadState(CommandListState):
    extra = "(uploading)"
    nextState = "FinalState"
    commandlist = [(None, "upload:"), "quit:"]


class FinalState(TerminalState):
    extra = "(finished)"
