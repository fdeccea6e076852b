"""The wire package reads and writes frames, commands, replies and greetings as bytes, without any IO.

Standard library only: this package travels in the worker's zip and is the one codec of the project. What the rendezvous
carries is loaded when it is first asked for: most workers never do.
"""

from mu_twisted.wire._errors import CallerError, CommandError, FrameError, PeerError, WireError
from mu_twisted.wire._frames import (
    HEADER_SIZE,
    MAX_COMMAND,
    MAX_LEGACY_REPLY,
    MAX_PEER_MESSAGE,
    MAX_REPLY,
    Decoder,
    encode,
    malformed,
    too_long,
)
from mu_twisted.wire._messages import (
    FAILURE_CODES,
    FULL,
    INFO,
    MAX_PRESIGNED,
    MAX_PROCESS_NAME,
    MAX_PROCESS_SECONDS,
    MAX_TOKEN,
    PRESIGN,
    PROCESSES,
    TEE,
    TOKEN,
    VERSION,
    Command,
    Greeting,
    fail,
    failure_code,
    info,
    is_fail,
    parse_command,
    parse_greeting,
    parse_info,
    parse_integer,
)

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from mu_twisted.wire._peers import (
        EndNotice,
        EndTaken,
        JobNotice,
        JobTaken,
        LostNotice,
        Notice,
        PeerGreeting,
        ResentNotice,
        parse_notice,
        parse_peer_greeting,
        parse_state,
        state_message,
    )

__all__ = [
    "FAILURE_CODES",
    "FULL",
    "HEADER_SIZE",
    "INFO",
    "MAX_COMMAND",
    "MAX_LEGACY_REPLY",
    "MAX_PEER_MESSAGE",
    "MAX_PRESIGNED",
    "MAX_PROCESS_NAME",
    "MAX_PROCESS_SECONDS",
    "MAX_REPLY",
    "MAX_TOKEN",
    "PRESIGN",
    "PROCESSES",
    "TEE",
    "TOKEN",
    "VERSION",
    "CallerError",
    "Command",
    "CommandError",
    "Decoder",
    "EndNotice",
    "EndTaken",
    "FrameError",
    "Greeting",
    "JobNotice",
    "JobTaken",
    "LostNotice",
    "Notice",
    "PeerError",
    "PeerGreeting",
    "ResentNotice",
    "WireError",
    "encode",
    "fail",
    "failure_code",
    "info",
    "is_fail",
    "malformed",
    "parse_command",
    "parse_greeting",
    "parse_info",
    "parse_integer",
    "parse_notice",
    "parse_peer_greeting",
    "parse_state",
    "state_message",
    "too_long",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mu_twisted.wire import _peers

    value = getattr(_peers, name)
    globals()[name] = value
    return value
