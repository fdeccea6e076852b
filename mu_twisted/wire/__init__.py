"""The wire: frames, commands, replies and greetings as bytes, without any IO.

Standard library only: this package travels in the worker's zip and is the one codec of the project.
"""

from mu_twisted.wire._errors import CommandError, FrameError, MuError, WireError
from mu_twisted.wire._frames import (
    HEADER_SIZE,
    MAX_COMMAND,
    MAX_LEGACY_REPLY,
    MAX_PEER_MESSAGE,
    MAX_REPLY,
    Decoder,
    encode,
)
from mu_twisted.wire._messages import (
    INFO,
    VERSION,
    Command,
    Greeting,
    fail,
    info,
    is_fail,
    parse_command,
    parse_greeting,
    parse_info,
    parse_integer,
)
from mu_twisted.wire._peers import (
    FULL,
    EndNotice,
    EndTaken,
    JobNotice,
    JobTaken,
    LostNotice,
    Notice,
    PeerGreeting,
    parse_notice,
    parse_peer_greeting,
    parse_state,
    state_message,
)

__all__ = [
    "FULL",
    "HEADER_SIZE",
    "INFO",
    "MAX_COMMAND",
    "MAX_LEGACY_REPLY",
    "MAX_PEER_MESSAGE",
    "MAX_REPLY",
    "VERSION",
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
    "MuError",
    "Notice",
    "PeerGreeting",
    "WireError",
    "encode",
    "fail",
    "info",
    "is_fail",
    "parse_command",
    "parse_greeting",
    "parse_info",
    "parse_integer",
    "parse_notice",
    "parse_peer_greeting",
    "parse_state",
    "state_message",
]
