"""Why nobody came: the words for the commonest first failure."""

import json

from mu_twisted.coordinator._cleaning import clean


def diagnosis(
    *, address: str, port: int, function: str, timeout: float, error: str | None, result: str, log_tail: str
) -> str:
    """The text of a job's error when no worker has dialled in.

    :param address: where workers were told to dial, with ``port``.
    :param function: the Lambda function, invoked once more to see what it says.
    :param timeout: seconds that were waited.
    :param error: what that invocation failed with, if it did.
    :param result: what it returned, JSON; a worker that could not reach us says so there.
    :param log_tail: the last of its log.
    """
    lines = [f"nobody reached {address}:{port} within {timeout:g} s of being launched"]
    if error:
        lines.append(f"invoked once more, function {function} failed: {error}")
    else:
        said = _worker_error(result)
        did = f"said {said!r}" if said else "ran"
        lines.append(
            f"invoked once more, function {function} {did}: is {address}:{port} open to it "
            "(security group, firewall, NAT; --host-addr says another address)?"
        )
    tail = [line for line in log_tail.strip().splitlines() if line.strip()]
    if tail:
        lines.append("the end of its log:")
        lines += [f"    {line[:500]}" for line in tail[-20:]]
    # The function may be anybody's, and this is shown on terminals.
    return clean("\n".join(lines))


def _worker_error(result: str) -> str | None:
    try:
        told = json.loads(result)
    except ValueError:
        return None
    error = told.get("error") if isinstance(told, dict) else None
    return " ".join(str(error).split())[:300] if error else None
