from typing import Any, Final, Self

# Kinds of events, each with its connection, or None.
FRAMES: Final[int]
"""A list of payloads."""
BUNDLE: Final[int]
"""A bundle."""
PASSED: Final[int]
"""A bundle, and the connection that it was sent to already. These come first, since they have gone before all else."""
NOTES: Final[int]
"""A number, see below."""
ESTABLISHED: Final[int]
"""The address, and the leaf of the certificate that the peer has shown, in DER; or None."""
LOST: Final[int]
"""The failure, and whether it came in the middle of a frame. The core knows the connection no more."""
DROPPED: Final[int]
"""A peer that never became a connection: its address, and the failure."""
COUNTED: Final[int]
"""How many such peers are not told of one by one, and how many new connections want the room of old ones."""

# Notes: what a connection's user is to know beside frames, several in one number.
PARTIAL: Final[int]
"""A frame is incomplete, or not any more."""
COMPLETED: Final[int]
"""With it: another frame has been completed since."""
BLOCKED: Final[int]
"""The peer takes no more for now."""
DRAINED: Final[int]
"""The peer has taken all."""

# Failures: the first of (kind, code, text).
CLOSED: Final[int]
BROKE: Final[int]
"""The code is the errno, or 0."""
TLS: Final[int]
"""The text is OpenSSL's reason."""
CERTIFICATE: Final[int]
"""The code is what verification has found."""
MALFORMED: Final[int]
"""The text is what has come of a header."""
TOO_LONG: Final[int]
"""The code is the number of bytes announced, the text the limit."""
KEY_UPDATES: Final[int]
MEMORY: Final[int]
TIMEOUT: Final[int]
STALLED: Final[int]
"""The code is how many handshakes were in progress."""
FULL: Final[int]
"""The code is how many connections there may be."""
ACCEPT: Final[int]
"""The code is the errno."""
ENDED: Final[int]

MOST_THREADS: Final[int]
OPENSSL: Final[str]

Failure = tuple[int, int, bytes]
Address = tuple[str, int]
Event = tuple[int, Any, Any]
"""What a turn brings: a kind, a connection or None, and what goes with it."""

class Core:
    connections: int
    handshakes: int

    def __new__(
        cls,
        certificate: bytes,
        key: bytes,
        authorities: bytes,
        connection_type: type[Connection],
        *,
        threads: int,
        max_handshakes: int,
        max_connections: int,
        room: int,
        handshake_timeout: float,
        stall_timeout: float,
        max_frame: int,
        max_unsent: int,
        manual_clock: bool = False,
    ) -> Self: ...
    def listen(self, descriptor: int, /) -> None: ...
    def stop_listening(self) -> None: ...
    def turn(self) -> list[Event]: ...
    def flush(self) -> None: ...
    def close(self) -> list[Event]: ...
    def fileno(self) -> int: ...
    def set_time(self, seconds: float, /) -> None: ...
    def idle(self) -> bool: ...

class Connection:
    max_frame: int
    open: bool
    @property
    def pending(self) -> int: ...
    @property
    def announced(self) -> int: ...
    @property
    def unsent(self) -> int: ...
    @property
    def blocked(self) -> bool: ...
    def send(self, *payloads: bytes) -> None: ...
    def write(self, data: bytes | memoryview | Bundle, /) -> None: ...
    def bundle(self) -> None: ...
    def finish(self) -> None: ...
    def cut(self) -> None: ...
    def read(self, wanted: bool, /) -> None: ...
    def read_at_once(self, size: int, /) -> None: ...
    def pass_on(self, to: Any, /) -> None: ...
    def watch(self, wanted: bool, /) -> None: ...

class Bundle:
    @property
    def frames(self) -> int: ...
    @property
    def longest(self) -> int: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class LinkStreams:
    def __new__(cls) -> Self: ...
    def end(self, connection: Connection, task: int, /) -> LinkEnd: ...
    def open(self, sender: LinkEnd, receiver: LinkEnd, name: bytes, first: int, /) -> LinkStream | None: ...

class LinkEnd:
    @property
    def streams(self) -> LinkStreams: ...
    @property
    def waited(self) -> int: ...
    def read(
        self, bundle: Bundle, at: int, size: int, messages: int, order: int, /
    ) -> tuple[bytes | None, int, int, int, int, int, int]: ...
    def resume(self) -> int: ...

class LinkStream:
    @property
    def messages(self) -> int: ...
    @property
    def unfinished(self) -> bool: ...
    def want(self, number: int, /) -> bool: ...
    def close(self) -> None: ...
    def take(self, all: bool, /) -> list[tuple[int, int, bytes, bytes, bool, bool, bool]]: ...
    def missing(self) -> list[int]: ...
