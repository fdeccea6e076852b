"""This module starts a worker by hand: ``python -m worker_lambda EVENT.json [COMMANDFILE]``."""

import json
import signal
import sys
from pathlib import Path

from worker_lambda.lambda_function import log, serve_event

_USAGE = "usage: python -m worker_lambda EVENT.json [COMMANDFILE]"


def main(arguments: list[str]) -> int:
    """Serve one event; print the result as JSON.

    :param arguments: file with the event, and one with "the command given when the function was made".
    :returns: exit status.
    """
    if len(arguments) not in (1, 2):
        sys.stderr.write(_USAGE + "\n")
        return 2
    try:
        event = json.loads(Path(arguments[0]).read_bytes())
    except OSError as error:
        log(f"error: could not read {arguments[0]}: {error.strerror}")
        return 2
    except ValueError as error:
        log(f"error: {arguments[0]} is not JSON: {error}")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that programs are ended and the directory removed
    try:
        result = serve_event(event, command_file=Path(arguments[1]) if len(arguments) > 1 else None)
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if "error" in result else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
