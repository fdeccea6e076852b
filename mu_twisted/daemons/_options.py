"""Daemon options are what a daemon takes itself, before a pipeline's name, and in the one-shot form also after it."""

import os
import re
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.python import usage
from twisted.python.reflect import accumulateClassList

from mu_twisted.config import is_host
from mu_twisted.pipelines import HARD_LIMIT, SOFT_LIMIT, coerced, coerced_range, pipeline_names, refuse_address

SHARE_HINT = (
    "give --ca-key (or put ca_key.pem beside the CA certificate) so that each job gets keys of its own, "
    "or --share-key to hand the given key to every worker as the original did"
)


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate <= 100_000:
        raise ValueError
    return rate


def coerced_number(low: float, high: float, what: str, switch: str) -> Callable[[str], float]:
    """A converter for numbers of a range; its error names the ``switch``."""

    def convert(text: str) -> float:
        number = float(text)
        if not low <= number <= high:
            raise ValueError
        return number

    return coerced(convert, f"{what} from {low:g} to {high:.0f}", switch)


DASHBOARD_OFF = "off"
LISTEN_ADDRESS = "a port of this machine, or HOST:PORT"
"""What :func:`mu_twisted.web.parse_address` takes, in an error."""
DASHBOARD_HELP = (
    "serve the dashboard on this port of loopback, or by TLS on HOST:PORT (HOST as browsers name it; an IP address "
    "alone is listened on, with a name all are), or off (default: off; of `mu run` any port)"
)


def _dashboard(text: str) -> str:
    from mu_twisted.web import parse_address  # most commands need none

    if text != DASHBOARD_OFF:
        parse_address(text)
    return text


def _otlp(text: str) -> str:
    from mu_twisted.daemons._otlp import check_url  # few need it, and an HTTP client with it

    return check_url(text)


def _log_format(text: str) -> str:
    if text not in ("text", "json"):
        raise ValueError
    return text


LOG_FORMAT = [
    "log-format",
    None,
    "text",
    "lines of the log: text, or json for an object on each; what a command prints of its job stays text",
    coerced(_log_format, "text or json", "--log-format"),
]
"""The option of every daemon."""


class DaemonOptions(usage.Options):
    """Listener, keys, state directory, and where Lambda and S3 are."""

    optParameters: list[list[Any]] = [
        ["port", "t", "13579", "port to listen on, or a Twisted endpoint string"],
        ["ca-cert", "c", None, "CA certificate file, PEM (default: $CA_CERT, else one of our own)"],
        ["srv-cert", "s", None, "server certificate file, PEM (default: $SRV_CERT)"],
        ["srv-key", "k", None, "server key file, PEM (default: $SRV_KEY)"],
        ["ca-key", None, None, "the CA's key file; with it every job gets keys of its own"],
        ["state-dir", None, None, "directory for keys and records, locked while in use"],
        ["local-state-dir", None, None, "with --local: that of the embedded ones (default: local in the other)"],
        [
            "keep",
            None,
            None,
            "days that records of jobs that are over are kept (default: until `mu rm`)",
            coerced_number(0, 36_500, "a number of days", "--keep"),
        ],
        ["control", None, None, "serve operators on this port or Twisted endpoint too, by TLS"],
        [
            "dashboard",
            None,
            None,
            DASHBOARD_HELP,
            coerced(_dashboard, f"{LISTEN_ADDRESS}, or {DASHBOARD_OFF}", "--dashboard"),
        ],
        [
            "otlp",
            None,
            None,
            "send a trace of each job to this collector, by OTLP over HTTP (http://localhost:4318)",
            coerced(_otlp, "http://HOST:PORT or https://HOST, perhaps with a path", "--otlp"),
        ],
        ["control-group", None, None, "group that may use the control socket in the state directory"],
        ["cpu-profile", "P", None, "write profiling data (cProfile) to this file"],
        ["host-addr", None, None, "address at which workers reach this host (on EC2 its public one, else the route's)"],
        ["endpoint-url", None, None, "base URL of Lambda (default: $AWS_ENDPOINT_URL_LAMBDA, else AWS's)"],
        [
            "worker-limit",
            None,
            None,
            "workers at once over all jobs (default: open files allowed, less 128)",
            coerced_range(1, 1_000_000, "--worker-limit"),
        ],
        [
            "launch-rate",
            None,
            None,
            "launches a second in each region (default: 1000)",
            coerced(_rate, "a number above 0, at most 100000", "--launch-rate"),
        ],
        [
            "io-threads",
            None,
            None,
            "threads for the TLS handshakes of workers (default: one for each core)",
            coerced_range(1, 256, "--io-threads"),
        ],
        [
            "user-code-limit",
            None,
            SOFT_LIMIT,
            "seconds after which a call of a pipeline's code is interrupted",
            coerced_number(0.05, 3600, "seconds", "--user-code-limit"),
        ],
        [
            "freeze-limit",
            None,
            HARD_LIMIT,
            "seconds after which a call of a pipeline's code that cannot be interrupted ends the process",
            coerced_number(0.05, 3600, "seconds", "--freeze-limit"),
        ],
        ["s3-endpoint-url", None, None, "base URL of S3 (default: $AWS_ENDPOINT_URL_S3, else AWS's)"],
        LOG_FORMAT,
    ]
    optFlags: list[list[Any]] = [
        ["debug", "D", "log everything"],
        ["share-key", None, "put the given certificate and key into every worker's event, as the original did"],
        ["hold-all", None, "hold all jobs on record until `mu retry`, or the next start without it"],
        ["local", None, "use the embedded Lambda and S3 on this machine, no AWS account (also: MU_LOCAL=1)"],
    ]

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse them.

        :raises twisted.python.usage.UsageError: something is wrong with them.
        """
        words = sys.argv[1:] if options is None else options
        refuse_address(self, words, lambda word: "/" in word or word.endswith(".py") or word in pipeline_names())
        super().parseOptions(options)  # type: ignore[no-untyped-call]


def daemon_keys(kind: type[DaemonOptions] = DaemonOptions) -> list[str]:
    """The names of the daemon options, with what a kind of them has more."""
    rows: list[list[Any]] = []
    accumulateClassList(kind, "optParameters", rows)  # type: ignore[no-untyped-call]
    accumulateClassList(kind, "optFlags", rows)  # type: ignore[no-untyped-call]
    return [str(row[0]) for row in rows]


def typed_options(options: Mapping[str, Any], leave_out: Container[str] = ()) -> tuple[str, ...]:
    """The daemon options that differ from their defaults, as words; paths as any working directory takes them.

    :param leave_out: options that are of no interest.
    """
    words = []
    for name, _, default, *_ in DaemonOptions.optParameters:
        value = options[name]
        if name not in leave_out and value is not None and str(value) != str(default):
            words.append(f"--{name}={Path(value).absolute() if name in _PATHS else value}")
    words += [f"--{row[0]}" for row in DaemonOptions.optFlags if row[0] not in leave_out and options[row[0]]]
    return tuple(words)


_PATHS = ("ca-cert", "srv-cert", "srv-key", "ca-key", "state-dir", "local-state-dir", "cpu-profile")


def local_stack(options: Mapping[str, Any]) -> Path | None:
    """The state directory of the embedded Lambda and S3 that the daemon options name; None: this user's own.

    It is that of ``--local-state-dir``, or ``local`` in that of ``--state-dir``.
    """
    if options["local-state-dir"]:
        return Path(options["local-state-dir"]).absolute()
    return Path(options["state-dir"]).absolute() / "local" if options["state-dir"] else None


def apply_environment(options: dict[str, Any], environ: Mapping[str, str] = os.environ) -> None:
    """Fill in from the environment what the command line did not say, as the original's servers did.

    :raises twisted.python.usage.UsageError: the keys given do not go together.
    """
    find_keys(options, environ)
    if environ.get("MU_LOCAL", "0") not in ("", "0"):
        options["local"] = 1
    _check_addresses(options)
    # Of a file that is not there the start says so, as of every other.
    exists = options["ca-cert"] is not None and Path(options["ca-cert"]).exists()
    if exists and options["ca-key"] is None and not options["share-key"]:
        raise usage.UsageError(f"{options['ca-cert']} comes without its CA key: {SHARE_HINT}")


def _check_addresses(options: Mapping[str, Any]) -> None:
    for key in ("endpoint-url", "s3-endpoint-url"):
        if options[key]:
            from mu_twisted.aws import AWSError, check_endpoint  # half a second that few need

            try:
                check_endpoint(options[key])
            except AWSError as error:
                raise usage.UsageError(f"--{key}: {error}") from None
    host = options["host-addr"]
    if host and not is_host(host):
        raise usage.UsageError(f"--host-addr: expected a host name or an address without a port, got {host!r}")


def find_keys(options: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Fill in the files of keys from the environment, and the CA's key from beside its certificate.

    :raises twisted.python.usage.UsageError: those given do not go together.
    """
    for key, variable in (("ca-cert", "CA_CERT"), ("srv-cert", "SRV_CERT"), ("srv-key", "SRV_KEY")):
        options[key] = options[key] or environ.get(variable) or None
    if options["ca-cert"] is None:
        useless = [f"--{key}" for key in ("srv-cert", "srv-key", "ca-key") if options[key]]
        if useless:
            raise usage.UsageError(f"{useless[0]} is of no use without the CA certificate, -c")
        if options["share-key"]:
            raise usage.UsageError("--share-key needs a key to share: give -c, -s and -k")
        return
    beside = Path(options["ca-cert"]).parent / "ca_key.pem"
    if options["ca-key"] is None and not options["share-key"] and beside.is_file():
        options["ca-key"] = str(beside)
    if options["share-key"] and options["ca-key"] is None:
        for key, switch in (("srv-cert", "-s"), ("srv-key", "-k")):
            if options[key] is None:
                raise usage.UsageError(f"--share-key needs {switch} too")


def listen_description(text: str, switch: str = "-t") -> str:
    """The endpoint string that ``-t`` stands for, or another option that names one.

    :param text: a port number, or an endpoint string as it is.
    :param switch: the option, for the error.
    :raises twisted.python.usage.UsageError: it is a number that is no port, or no endpoint string.
    """
    if re.fullmatch("-?[0-9]{1,9}", text) is None:
        expected = f"{switch}: expected a port number or an endpoint string, got {text!r}"
        if ":" not in text:
            raise usage.UsageError(expected)
        # Which sockets systemd passes is known at the start only.
        if not text.startswith("systemd:"):
            try:
                serverFromString(None, text)  # type: ignore[no-untyped-call]
            except OSError as error:  # a file that it names
                raise usage.UsageError(f"{expected} ({error.filename}: {error.strerror})") from None
            except (ValueError, TypeError, LookupError):
                raise usage.UsageError(expected) from None
        return text
    if not 0 <= int(text) <= 65535:
        raise usage.UsageError(f"{switch}: expected a port from 0 to 65535, got {text}")
    return f"tcp:{text}:backlog={BACKLOG}"


BACKLOG = 4096
"""Connections that may wait to be accepted; a burst of thousands dials within a second."""
