"""What failed, in the terms of jobs and for their users: a machine by its worker's words, or we ourselves."""

from mu_twisted.coordinator._cleaning import on_one_line
from mu_twisted.fsm import Machine
from mu_twisted.jobs import Failure, explain_exit, is_hopeless, is_out_of_memory
from mu_twisted.wire import failure_code

_CHANNEL = ("FAIL(the peer channel", "FAIL(rendezvous:", "FAIL(could not connect to")
_DIFFERS = "not deterministic"


def failure_of(machine: Machine) -> tuple[Failure, int | None, str]:
    """Kind, exit status and text of a failed machine's error.

    A reply that no state expected is a mistake of the pipeline, unless it says that something has failed.
    """
    error = machine.error or "failed"
    if machine.status is not None:
        if is_out_of_memory(machine.status):
            error = f"{error}: {explain_exit(machine.status)}"
        return Failure.EXIT, machine.status, error
    reply = machine.reply or ""
    if is_hopeless(failure_code(reply)):
        return Failure.HOPELESS, None, error
    if reply.startswith(_CHANNEL):
        return Failure.CHANNEL, None, error
    if reply.startswith("FAIL"):
        return (Failure.DIFFERS if _DIFFERS in reply else Failure.REPLY), None, error
    return Failure.MACHINE, None, error


def own_fault(error: Exception) -> str:
    """What a user is told of a fault that is nobody's but ours."""
    return on_one_line(f"a fault of the coordinator itself, its log has more: {type(error).__name__}: {error}"[:500])
