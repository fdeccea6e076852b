"""This module knows which reply is expected by default after a command (docs/protocol.md)."""

_BY_COMMAND = {
    "set": "OK:SET",
    "seti": "OK:SETI",
    "get": "OK:GET",
    "geti": "OK:GETI",
    "dump_vals": "OK:DUMP_VALS",
    "retrieve": "OK:RETRIEV",
    "upload": "OK:UPLOAD",
    "echo": "OK:ECHO",
    "presign": "OK:PRESIGN(",
    "run": "OK:R",
    "connect": "OK:CONNECT",
    "close_connect": "OK:CLOSE_CONNECT",
    "send": "OK:SEND(",
    "receive": "OK:RECEIVE(",
    "process": "OK:PROCESS(",
    "ask": "OK:ASK(",
    "end": "OK:END(",
}


def default_expect(command: str) -> str:
    """The text that the reply to a command must begin with, where the pipeline does not say it.

    ``OK:R`` after ``run:`` takes the reply of a background run, and also a ``RETVAL`` that is not 0: where the status
    matters, expect ``OK:RETVAL(0)``.

    :param command: the whole command, e.g. ``run:./encode``; an unknown one is expected to bring ``OK``.
    """
    return _BY_COMMAND.get(command.partition(":")[0], "OK")


def failed_run(message: str) -> bool:
    """Whether this is the reply of a run whose status is not 0."""
    return message.startswith("OK:RETVAL(") and not message.startswith("OK:RETVAL(0)")
