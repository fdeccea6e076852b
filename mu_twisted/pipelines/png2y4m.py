"""png2y4m turns numbered PNG frames into Y4M, one chunk of frames a task.

Frames are taken from ``VIDEO-INFORMAT/%08d.png``, numbered from 1, and chunks go to ``VIDEO-y4m_FF/%08d.y4m``,
numbered from 0; FF is the number of frames in a chunk. Keys and switches are those of the original's png2y4m_server.
"""

from mu_twisted.fsm import CommandListState, ForLoopState, MachineState, TerminalState
from mu_twisted.pipelines import ORIGINAL_BUCKET, JobSettings, Pipeline, PipelineOptions, at_least


class Options(PipelineOptions):
    """What png2y4m takes besides the options of every job."""

    optParameters = [
        ORIGINAL_BUCKET,
        ["video", "v", "sintel-1k", "name of the video"],
        ["frames", "f", 6, "number of frames in a chunk", at_least(1, "-f")],
        ["in-format", "i", "png16", "input format: frames are read from VIDEO-INFORMAT/"],
    ]


def output(settings: JobSettings, task: int) -> str:
    """Key of the chunk that a task makes."""
    return f"{settings['video']}-y4m_{settings['frames']:02d}/{settings['offset'] + task:08d}.y4m"


class Configure(CommandListState):
    """Tell the worker where its command reads and writes."""

    extra = "(configuring the worker)"
    pipelined = True
    nextState = "RetrieveLoop"
    commandlist = [
        ("OK:HELLO", "set:cmdinfile:##TMPDIR##/%08d.png"),
        "set:cmdoutfile:##TMPDIR##/out.y4m",
        "seti:nonblock:0",
        None,
    ]


class RetrieveLoop(ForLoopState):
    """Go through the chunk's frames."""

    extra = "(next frame)"
    iterKey = "frame"
    loopState = "Retrieve"
    exitState = "Convert"

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.iterFin = self.settings["frames"]


class Retrieve(CommandListState):
    """Fetch one frame. In the private directory a chunk's frames are numbered from 1."""

    extra = "(retrieving a frame)"
    nextState = "RetrieveLoop"
    commandlist = [(None, "retrieve:"), None]

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        video, in_format = self.settings["video"], self.settings["in-format"]
        here = self.info["frame"] + 1
        number = (self.settings["offset"] + self.actorNum) * self.settings["frames"] + here
        self.commands[0] = f"retrieve:{video}-{in_format}/{number:08d}.png\0##TMPDIR##/{here:08d}.png"


class Convert(CommandListState):
    """Run the packaged command once on all of them, and store what it made."""

    extra = "(converting)"
    nextState = "Finished"
    commandlist = [
        (None, "run:"),
        ("OK:RETVAL(0)", "upload:"),
        ("OK:UPLOAD(", None),
    ]

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.commands[1] = f"upload:{output(self.settings, self.actorNum)}\0##TMPDIR##/out.y4m"


class Finished(TerminalState):
    """The chunk is stored."""

    extra = "(finished)"


pipeline = Pipeline(
    name="png2y4m",
    summary="turn numbered PNG frames into Y4M, a chunk of frames a task",
    first=Configure,
    options=Options,
    programs=(),
    outputs=lambda settings, task: [output(settings, task)],
)
