"""An event is what a worker is launched with: the original's keys, and ours where the worker is to know them.

Here too is the text for the commonest first failure, that no worker comes of it.
"""

import json

from mu_twisted.base import one_line, terminal_safe
from mu_twisted.base.json_types import JsonObject
from mu_twisted.tls import KeyPair, pem_body
from mu_twisted.wire import FAILURE_CODES
from mu_twisted.wire.byte_counts import BYTE_COUNTS

LAUNCH_ID_MARK = "##ID##"
"""Stands for the launch id in the template, as in the original's payloads."""


def job_event(
    *,
    address: str,
    port: int,
    ca: bytes,
    pair: KeyPair,
    bucket: str,
    region: str,
    job: str | None,
    s3_endpoint: str | None = None,
    orphan_timeout: float | None = None,
) -> bytes:
    """The event of a job's launches, as JSON.

    :param address: host name or address at which workers reach the coordinator, and its ``port``.
    :param ca: PEM of the CA certificate that the coordinator's is checked against.
    :param pair: key and certificate that the worker shows.
    :param bucket: S3 bucket, in ``region``.
    :param job: the job's name; None where keys are shared: then nothing is sent that the original does not know, but
        ``s3_endpoint`` where there is one.
    :param s3_endpoint: base URL of the S3 to use instead of AWS's.
    :param orphan_timeout: seconds that a worker looks for its coordinator; None: the worker's default.
    :returns: ASCII JSON; with ``job``, ``##ID##`` in it stands for the launch id.
    """
    event: JsonObject = {
        "mode": 1,
        "addr": address,
        "port": port,
        "nonblock": 0,
        "cacert": pem_body(ca),
        "srvcrt": pem_body(pair.certificate),
        "srvkey": pem_body(pair.key),
        "bucket": bucket,
        "region": region,
    }
    if s3_endpoint is not None:
        event["s3_endpoint"] = s3_endpoint
    if job is not None:
        event["job"] = job
        event["launch_id"] = LAUNCH_ID_MARK
        event["capabilities"] = [FAILURE_CODES, BYTE_COUNTS]
    if orphan_timeout is not None:
        event["orphan_timeout"] = orphan_timeout
    return json.dumps(event, separators=(",", ":")).encode("ascii")


def with_launch_id(template: bytes, name: str) -> bytes:
    """One launch's event.

    :param template: the job's, as :func:`job_event` makes it.
    :param name: the launch's, ``JOB/ID``.
    """
    return template.replace(LAUNCH_ID_MARK.encode("ascii"), name.encode("ascii"))


def diagnosis(
    *, address: str, port: int, function: str, timeout: float, error: str | None, result: str, log_tail: str
) -> str:
    """The text of a job's error when no worker has dialled in.

    :param address: that workers were to dial, with ``port``.
    :param function: the Lambda function, invoked once more to see what it says.
    :param timeout: seconds that were waited.
    :param error: what that invocation failed with, if it did.
    :param result: what it returned, JSON; a worker that could not reach us says so there.
    :param log_tail: the last of its log.
    """
    lines = [f"no worker reached {address}:{port} within {timeout:g} s of being launched"]
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
    # The function's texts are not to be trusted, and this is shown on terminals.
    return terminal_safe("\n".join(lines))


def _worker_error(result: str) -> str | None:
    try:
        reply = json.loads(result)
    except (ValueError, RecursionError):
        return None
    error = reply.get("error") if isinstance(reply, dict) else None
    return one_line(str(error), 300) if error else None
