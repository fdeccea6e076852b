"""A worker that does all that it is told."""

from collections import deque
from typing import Any

from mu_twisted.fsm import Machine, Outcome


def said_by(pipeline: Any, settings: Any, task: int = 0) -> list[str]:
    """What such a worker is told for a task, whose machine ends then."""
    machine = Machine(pipeline.first, task, settings=settings)
    said: list[str] = []
    left = deque(machine.receive([b"OK:HELLO"]))
    while machine.outcome is Outcome.RUNNING:
        command = left.popleft()
        said.append(command.decode("utf-8", "surrogateescape"))
        name, _, rest = command.partition(b":")
        key = rest.partition(b"\0")[0]
        reply = {
            b"retrieve": b"OK:RETRIEVE(b/%b)" % key,
            b"upload": b"OK:UPLOAD(b/%b)" % key,
            b"run": b"OK:RETVAL(0):OUTPUT():COMMAND(%b)" % rest,
            b"set": b"OK:SET(%b)" % rest.partition(b":")[0],
        }[name]
        left += machine.receive([reply])
    return said + [command.decode() for command in left]
