"""Checks look at a state class before it runs: hooks that it seems to misuse, and what the original has and ours not.

Knows names and code objects only, no states.
"""

import dis
import inspect
from collections.abc import Iterator, Mapping
from types import FunctionType

ABSENT = {
    **dict.fromkeys(
        ("timestamps", "stateinfo", "get_timestamps"),
        "a machine has no clock; the coordinator notes states and times (-O FILE, mu logs)",
    ),
    **dict.fromkeys(
        ("recv_queue", "dequeue", "want_handle", "update_flags", "do_handle", "do_read"),
        "a state owns no socket: the machine hands it each message by transition(), kick() goes on without one",
    ),
    **dict.fromkeys(
        ("send_queue", "send_buf", "want_write", "do_write", "format_message"),
        "a state owns no socket: enqueue() sends a command",
    ),
    **dict.fromkeys(
        ("sock", "fileno", "close", "shutdown", "do_handshake", "getpeername", "getsockname"),
        "a state owns no socket: an ErrorState or a TerminalState ends its task, the coordinator closes what is open",
    ),
}
"""Attributes of the original's states that ours have not, and what takes their place."""


def misused_hooks(state: type) -> Iterator[str]:
    """What is to be said of a state class that has just been made."""
    if state.__module__.startswith("mu_twisted.fsm."):
        return
    own = vars(state)
    after_reply = any("post_transition" in vars(base) for base in state.__mro__[1:])
    called = f"{state.__module__}.{state.__qualname__}"
    hook = own.get("post_transition")
    if hook is not None:
        entered = "what is to be done when a state is entered stands in entered()"
        if not after_reply:
            yield f"{called}: post_transition is never called, only a OnePassState has it; {entered}"
        elif isinstance(hook, FunctionType) and _is_for_entry(hook):
            yield f"{called}: post_transition is called once, after the expected reply, and not on entry; {entered}"
    if after_reply and getattr(state, "expect", None) is None and "get_expect" not in own:
        for name in ("testfn", "post_transition"):
            function = own.get(name)
            if isinstance(function, FunctionType) and _looks_at_own_messages(function) and not _sets_expect(own):
                yield (
                    f"{called}: {name} looks at self.messages, but the state has no expect and so receives none; the "
                    f"message before is self.prevState.messages[-1]"
                )


def takes_number(state: type) -> bool:
    """Whether a constructor may be given the task's number in its second place: not where its default is no number."""
    try:
        parameters = list(inspect.signature(state).parameters.values())
    except (TypeError, ValueError):
        return True
    if len(parameters) < 2 or parameters[1].kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
        return len(parameters) >= 1 and any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
    default = parameters[1].default
    return default is inspect.Parameter.empty or isinstance(default, int)


def _is_for_entry(hook: FunctionType) -> bool:
    """Whether it kicks, or stays in its state without a look at what came: neither makes sense after the reply."""
    names = hook.__code__.co_names
    return "kick" in names or ("messages" not in names and _returns_itself(hook))


def _returns_itself(function: FunctionType) -> bool:
    before = None
    for instruction in dis.get_instructions(function):
        if (
            instruction.opname == "RETURN_VALUE"
            and before is not None
            and before.opname.startswith("LOAD_FAST")
            and before.argval == function.__code__.co_varnames[0]
        ):
            return True
        before = instruction
    return False


def _looks_at_own_messages(function: FunctionType) -> bool:
    names = function.__code__.co_names
    return "messages" in names and "prevState" not in names


def _sets_expect(own: Mapping[str, object]) -> bool:
    made = own.get("__init__")
    return isinstance(made, FunctionType) and "expect" in made.__code__.co_names
