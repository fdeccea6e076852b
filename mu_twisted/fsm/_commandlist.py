"""CommandListState is a straight line of pairs as one list, with expected texts filled in."""

from collections.abc import Sequence
from typing import TypeAlias

from mu_twisted.fsm._errors import FSMError
from mu_twisted.fsm._expect import default_expect
from mu_twisted.fsm._states import MachineState, MultiPassState

Entry: TypeAlias = "str | tuple[str | None, str | None] | None"
Pair: TypeAlias = "tuple[str | None, str | None]"


class CommandListState(MultiPassState):
    """Works off a list of commands, then goes to ``nextState``.

    An entry is a command, expected text by default, or a pair ``(expected, command)``. Expected None: the command is
    sent together with the one before it, or at once if it is the first. Command None: the reply is waited for, and
    nothing sent; as the last entry it makes the state wait for its last reply. An entry None is such a pair with the
    expected text by default.

    ``expects`` and ``commands`` are made of the list when the state is constructed; a subclass may change them in its
    constructor, after calling the one of this class.

    :cvar commandlist: the entries.
    :cvar pipelined: send all commands when the first entry's text has come, then take the replies in order.
    """

    commandlist: Sequence[Entry] = ()
    pipelined = False

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        if self.commandlist:
            pairs = _pairs(self.commandlist)
            if self.pipelined:
                pairs = _pipelined(pairs)
            self.expects = [expected for expected, _ in pairs]
            self.commands = [command for _, command in pairs]


def _pairs(entries: Sequence[Entry]) -> list[Pair]:
    pairs: list[Pair] = []
    for entry in entries:
        if entry is not None and not isinstance(entry, str):
            if len(entry) != 2:
                raise FSMError(f"a commandlist's entry is a command or (expected, command), got {entry!r}")
            expected, command = entry
            pairs.append((expected, command))
        elif not pairs:
            pairs.append(("OK", entry))
        elif (before := pairs[-1][1]) is None:
            raise FSMError(
                f"the reply before {entry!r} cannot be guessed: nothing is sent above it; write (expected, command)"
            )
        else:
            pairs.append((default_expect(before), entry))
    return pairs


def _pipelined(pairs: list[Pair]) -> list[Pair]:
    """The same pairs, with all commands behind the first text and all other texts after them."""
    start = pairs[0][0]
    commands = [command for _, command in pairs if command is not None]
    replies = [expected for expected, _ in pairs[1:] if expected is not None]
    first = commands[0] if commands else None
    return [(start, first), *((None, command) for command in commands[1:]), *((reply, None) for reply in replies)]
