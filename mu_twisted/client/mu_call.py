#!/usr/bin/env python3
"""This program does one call of a Python function on a worker: it unpickles the call, and pickles the answer.

It lies in the function's package beside cloudpickle. What the function prints is the program's output. Usage: DIRECTORY
STORES [SHA256]: the call is on standard input, as base64, or in DIRECTORY/call with this digest; the answer goes to
DIRECTORY/answer, or if it is long and STORES is 1 to DIRECTORY/result, with its digest in DIRECTORY/answer.
"""

import base64
import hashlib
import os
import pickle
import sys
import traceback

MAX_INLINE = 60 << 10
"""Bytes of an answer that is not stored."""


def main() -> None:
    """Do the call."""
    directory, stores, *digest = sys.argv[1:]
    if digest:
        with open(f"{directory}/call", "rb") as file:  # noqa: PTH123 - pathlib takes time to import
            call = file.read()
        if hashlib.sha256(call).hexdigest() != digest[0]:
            sys.exit("the call is not the one that was sent: its digest is another")
    else:
        call = base64.b64decode(sys.stdin.buffer.read())
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
    answer = pickled(done(call))
    if len(answer) > MAX_INLINE and stores != "1":
        answer = pickled(("refused", f"its result has {len(answer)} bytes, and there is no bucket for it", ""))
    if len(answer) > MAX_INLINE:
        with open(f"{directory}/result", "wb") as file:  # noqa: PTH123
            file.write(answer)
        answer = f"stored {hashlib.sha256(answer).hexdigest()} {len(answer)}".encode()
    else:
        answer = b"inline " + answer
    sys.stdout.flush()
    with open(f"{directory}/answer", "wb") as file:  # noqa: PTH123
        file.write(answer)


def done(call: bytes) -> tuple[str, object, str]:
    """The kind of the answer, ``value``, ``error`` or ``refused``, and what it is; of an error with its traceback."""
    version, *calls = split(call)
    here = "{}.{}".format(*sys.version_info)
    if version.decode() != here:
        return "refused", f"it was pickled by Python {version.decode()}, and the function runs Python {here}", ""
    try:
        function, arguments, keywords = pickle.loads(calls[0])
    except BaseException as error:  # noqa: BLE001 - it is code of the user's
        return "refused", f"it cannot be unpickled on the worker: {line(error)}", traceback.format_exc()
    try:
        return "value", function(*arguments, **keywords), ""
    except BaseException as error:  # noqa: BLE001
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        error.__traceback__ = None
        return "error", error, text


def split(call: bytes) -> list[bytes]:
    """The Python that has pickled it, and the pickle."""
    return call.split(b"\n", 1)


def pickled(answer: tuple[str, object, str]) -> bytes:
    """The answer as bytes; one that cannot be pickled is refused, with the reason."""
    import cloudpickle

    kind, what, text = answer
    try:
        if isinstance(what, BaseException) and kind == "error":
            # By itself, so that it is known what was raised where its class cannot be made anew.
            answer = kind, (line(what), cloudpickle.dumps(what)), text
        content: bytes = cloudpickle.dumps(answer)
    except BaseException as error:  # noqa: BLE001
        which = f"exception ({line(what)})" if isinstance(what, BaseException) else "result"
        content = cloudpickle.dumps(("refused", f"its {which} cannot be pickled: {line(error)}", text))
    return content


def line(error: BaseException) -> str:
    """An error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


if __name__ == "__main__":
    main()
