"""The event with which a worker is launched is checked here, once. Knows no sockets and no files."""

from __future__ import annotations

from collections.abc import Mapping

from mu_twisted.wire import FAILURE_CODES, CommandError, parse_integer
from worker_lambda._errors import EventError

TEXT_DEFAULTS = {"bucket": b"excamera-us-west-1", "region": b"us-east-1"}
INTEGER_DEFAULTS = {
    "nonblock": 0,
    "bg_silent": 0,
    "expect_statefile": 0,
    "send_statefile": 0,
    "minimal_recode": 0,
    "hash_s3keys": 0,
    "rm_tmpdir": 1,
}
"""Variables that the event may set, with the original's defaults."""
FALLBACKS = ("quality", "infile", "outfile", "args", "vars")
"""Keys that stand in for the variable of the same name with ``cmd`` before it."""
TLS_KEYS = ("cacert", "srvcrt", "srvkey")

RUN_ONCE, SERVE = 0, 1
ORPHAN_TIMEOUT = 60.0
_MAX_LAUNCH_ID = 256
BYTE_COUNTS = "byte-counts"
"""As in :mod:`mu_twisted.wire.byte_counts`, which only a coordinator reads."""


class LaunchEvent:
    """A checked event.

    :param mode: ``RUN_ONCE`` or ``SERVE``.
    :param host: the coordinator's name or address, without brackets; ``port`` its TCP port.
    :param job: the job's name; None for a coordinator that knows only the original's protocol.
    :param failure_codes: whether the coordinator reads failures' codes, see :func:`mu_twisted.wire.fail`.
    :param byte_counts: whether it reads how many bytes a task has moved, see :mod:`worker_lambda._traffic`.
    :param orphan_timeout: seconds for which a lost coordinator is dialled again.
    :param tls: base64 bodies by key, those that were given.
    :param variables: first values of the worker's variables.
    :param fallbacks: see :data:`FALLBACKS`; those that were given.
    """

    def __init__(
        self,
        mode: int,
        host: str,
        port: int,
        *,
        job: str | None,
        launch_id: str,
        failure_codes: bool,
        byte_counts: bool,
        s3_endpoint: str | None,
        orphan_timeout: float,
        tls: Mapping[str, str],
        variables: Mapping[bytes, bytes],
        fallbacks: Mapping[bytes, bytes],
    ) -> None:
        self.mode = mode
        self.host = host
        self.port = port
        self.job = job
        self.launch_id = launch_id
        self.failure_codes = failure_codes
        self.byte_counts = byte_counts
        self.s3_endpoint = s3_endpoint
        self.orphan_timeout = orphan_timeout
        self.tls = tls
        self.variables = variables
        self.fallbacks = fallbacks

    @property
    def address(self) -> str:
        """ADDR:PORT as a user writes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_event(event: object) -> LaunchEvent:
    """Check an event; unknown keys are ignored.

    :param event: what Lambda hands to the function, decoded from JSON.
    :raises EventError: something is missing or cannot be used.
    """
    if not isinstance(event, dict):
        raise EventError("the event is not a JSON object")
    mode = _integer(event, "mode", SERVE)
    if mode not in (RUN_ONCE, SERVE):
        raise EventError(f"the event's mode is {mode}, expected 0 (run the command once) or 1 (serve a coordinator)")
    host, port = "", 0
    if mode == SERVE:
        host = _string(event, "addr") or ""
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not host:
            raise EventError("the event has no addr: the coordinator's address is needed")
        port = _integer(event, "port", 0)
        if not 0 < port < 1 << 16:
            raise EventError(f"the event's port is {_short(event.get('port'))}, expected 1 to 65535")
    launch_id = _string(event, "launch_id") or ""
    if len(launch_id) > _MAX_LAUNCH_ID or not launch_id.isprintable():
        raise EventError(f"the event's launch_id is not one printable line of up to {_MAX_LAUNCH_ID} characters")
    tls = {key: value for key in TLS_KEYS if (value := _string(event, key))}
    if ("srvcrt" in tls) != ("srvkey" in tls):
        raise EventError("the event has only one of srvcrt and srvkey: a certificate needs its key")
    if "srvcrt" in tls and "cacert" not in tls:
        raise EventError("the event has srvcrt but no cacert: the coordinator's certificate could not be checked")
    given = event.get("capabilities")
    capabilities = given if isinstance(given, list) else []
    return LaunchEvent(
        mode,
        host,
        port,
        job=_string(event, "job"),
        failure_codes=FAILURE_CODES in capabilities,
        byte_counts=BYTE_COUNTS in capabilities,
        launch_id=launch_id,
        s3_endpoint=_string(event, "s3_endpoint") or None,
        orphan_timeout=_seconds(event, "orphan_timeout", ORPHAN_TIMEOUT),
        tls=tls,
        variables=_variables(event),
        fallbacks={key.encode(): words for key in FALLBACKS if (words := _words(event, key)) is not None},
    )


def to_bytes(text: str) -> bytes:
    """Text of the event as the wire has it; what stands for no byte becomes an escape."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # surrogates from a \\u escape in the JSON
        return text.encode("utf-8", "backslashreplace")


def _variables(event: dict[str, object]) -> dict[bytes, bytes]:
    values = {b"run_iter": b"0"}
    for key, text in TEXT_DEFAULTS.items():
        value = _string(event, key)
        values[key.encode()] = text if value is None else to_bytes(value)
    for key, number in INTEGER_DEFAULTS.items():
        values[key.encode()] = b"%d" % _integer(event, key, number)
    return values


def _string(event: dict[str, object], key: str) -> str | None:
    value = event.get(key)
    if value is not None and not isinstance(value, str):
        raise EventError(f"the event's {key} is {_short(value)}, expected text")
    return value


def _integer(event: dict[str, object], key: str, default: int) -> int:
    value = event.get(key)
    if value is None:
        return default
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str) and len(value) <= 40:
        try:
            return parse_integer(to_bytes(value))
        except CommandError:
            pass
    raise EventError(f"the event's {key} is {_short(value)}, expected an integer")


def _seconds(event: dict[str, object], key: str, default: float) -> float:
    value = event.get(key)
    if value is None:
        return default
    if isinstance(value, int | float) and 0 <= value <= 86400:
        return float(value)
    raise EventError(f"the event's {key} is {_short(value)}, expected seconds, at most 86400")


def _words(event: dict[str, object], key: str) -> bytes | None:
    value = event.get(key)
    if isinstance(value, list):
        return b" ".join(_word(key, part) for part in value) if value else None
    return None if value is None else _word(key, value)


def _word(key: str, value: object) -> bytes:
    if isinstance(value, str):
        return to_bytes(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**40:
        return b"%d" % value
    raise EventError(f"the event's {key} holds {_short(value)}, expected text, or a list of texts")


def _short(value: object) -> str:
    try:
        text = ascii(value)
    except ValueError:  # an integer of thousands of digits
        text = "a huge number"
    return text if len(text) <= 60 else text[:57] + "..."
