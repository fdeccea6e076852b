"""search looks for a line in numbered texts, piece by piece: a state machine with a loop that ends early.

Each task fetches ``PREFIX/N.txt`` and asks about a piece of 1000 lines at a time whether it holds the pattern. The
first piece that does ends the loop, and what was found is stored as ``PREFIX/N.found``; a text without it stores an
empty object. Any function made by ``mu lambdaize`` will do.

    mu run --local ./examples/search.py -n 3 -l FUNCTION -b BUCKET --pattern needle
"""

import shlex

from mu_twisted.fsm import CommandListState, ErrorState, ForLoopState, MachineState, OnePassState, TerminalState
from mu_twisted.pipelines import JobSettings, Pipeline, PipelineOptions, at_least

LINES = 1000
"""Lines of a piece."""


class Options(PipelineOptions):
    """The options of search, besides those of every job."""

    optParameters = [
        ["prefix", None, "texts", "where the texts lie in the bucket"],
        ["pattern", None, "", "what to look for, as grep takes it"],
        ["pieces", None, 10, "pieces of a text that are searched, of 1000 lines each", at_least(1, "--pieces")],
    ]


def key(settings: JobSettings, task: int, suffix: str) -> str:
    """The key of a task's text, or of what was found in it."""
    return f"{settings['prefix']}/{settings['offset'] + task}.{suffix}"


class Fetch(CommandListState):
    """Fetch the text."""

    extra = "(fetching)"
    nextState = "Pieces"
    commandlist = [("OK:HELLO", "retrieve:"), None]

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.commands[0] = f"retrieve:{key(self.settings, self.actorNum, 'txt')}\0##TMPDIR##/text"


class Pieces(ForLoopState):
    """Go through the pieces until one holds the pattern."""

    extra = "(next piece)"
    iterKey = "piece"
    breakKey = "found"
    loopState = "Look"
    exitState = "Store"

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.iterFin = self.settings["pieces"]


class Look(CommandListState):
    """Ask about one piece."""

    extra = "(looking)"
    nextState = "Judge"
    commandlist = [(None, "run:")]

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        first = self.info["piece"] * LINES + 1
        pattern = shlex.quote(self.settings["pattern"])
        self.commands[0] = (
            f'run:sed -n {first},{first + LINES - 1}p "##TMPDIR##/text" | grep -m 1 -e {pattern} > "##TMPDIR##/found"'
        )


class Judge(OnePassState):
    """End the loop if the piece holds the pattern; grep's status is 1 where it does not, and more where it failed."""

    extra = "(judging)"
    expect = "OK:RETVAL("
    nextState = "Pieces"

    def post_transition(self) -> MachineState:
        reply = self.messages[-1]
        if not reply.startswith(("OK:RETVAL(0)", "OK:RETVAL(1)")):
            return ErrorState(self, f"grep failed: {reply}")
        self.info["found"] = reply.startswith("OK:RETVAL(0)")
        return super().post_transition()


class Store(CommandListState):
    """Store what the last piece showed."""

    extra = "(storing)"
    nextState = TerminalState
    commandlist = [(None, "upload:"), None]

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.commands[0] = f"upload:{key(self.settings, self.actorNum, 'found')}\0##TMPDIR##/found"


pipeline = Pipeline(
    name="search",
    summary="look for a line in numbered texts, piece by piece",
    first=Fetch,
    options=Options,
    outputs=lambda settings, task: [key(settings, task, "found")],
)
