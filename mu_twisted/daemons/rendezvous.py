"""``twistd mu-rendezvous`` carries messages between workers, which can only dial out.

Options and makeService; what they start stands in the module beside.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.logger import LogLevel
from twisted.python import usage

from mu_twisted.daemons._exit import Options as OneLineOptions
from mu_twisted.daemons._exit import ignore_repeat_signals, report_to_parent
from mu_twisted.daemons._log import observe
from mu_twisted.daemons._options import LISTEN_ADDRESS, LOG_FORMAT, find_keys, listen_description
from mu_twisted.daemons.shards.ports import MAX_PORT, check_ports
from mu_twisted.pipelines import MAX_SHARDS, coerced, coerced_range
from mu_twisted.rendezvous import RelayLimits

_DEFAULT = RelayLimits()
_METRICS = (
    "serve /metrics for Prometheus, without TLS: a port of loopback, or HOST:PORT of this machine; each shard takes "
    "the next port"
)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def _bytes(text: str) -> int:
    number, unit = text[:-1], text[-1:].lower()
    if text.isdecimal():
        number, unit = text, ""
    if not (number.isascii() and number.isdecimal()) or unit not in _UNITS or len(number) > 12:
        raise ValueError
    return int(number) * _UNITS[unit]


def _size(switch: str) -> Callable[[str], int]:
    return coerced(_bytes, "bytes, or a number with K, M or G, as 64M", switch)


def _number(switch: str) -> Callable[[str], int]:
    return coerced_range(1, 10**7, switch)


def _punch(text: str) -> bool:
    if text not in ("auto", "off"):
        raise ValueError
    return text == "auto"


def _address(text: str) -> str:
    from mu_twisted.web import parse_address  # costs, and few want it

    parse_address(text)
    return text


def _show(size: int) -> str:
    return next(f"{size // unit}{name.upper()}" for name, unit in reversed(_UNITS.items()) if not size % unit)


class Options(OneLineOptions):
    """The command line of ``twistd mu-rendezvous``."""

    optParameters: list[list[Any]] = [
        ["port", "t", "13337", "port to listen on, or a Twisted endpoint string"],
        ["ca-cert", "c", None, "CA certificate file, PEM (default: $CA_CERT, else that in the state directory)"],
        ["srv-cert", "s", None, "certificate file of the rendezvous, PEM (default: $SRV_CERT)"],
        ["srv-key", "k", None, "its key file, PEM (default: $SRV_KEY)"],
        ["ca-key", None, None, "the CA's key file; with it the rendezvous makes its certificate itself"],
        [
            "shards",
            None,
            "1",
            "processes, on as many consecutive ports; limits are for each of them",
            coerced_range(1, MAX_SHARDS, "--shards"),
        ],
        [
            "punch",
            None,
            "auto",
            "direct paths between workers: auto, where their NATs allow it, or off",
            coerced(_punch, "auto or off", "--punch"),
        ],
        [
            "probe-port",
            None,
            "0",
            "TCP port that shows what workers' NATs do; 0: any that is free",
            coerced_range(0, MAX_PORT, "--probe-port", "a port"),
        ],
        ["metrics", None, None, _METRICS, coerced(_address, LISTEN_ADDRESS, "--metrics")],
        [
            "io-threads",
            None,
            None,
            "threads for the TLS handshakes of workers (default: one for each core, divided among shards)",
            coerced_range(1, 256, "--io-threads"),
        ],
        ["state-dir", None, None, "directory for keys and spilled messages; may be the coordinator's too"],
        ["cpu-profile", "P", None, "write profiling data (cProfile) to this file"],
        ["parts", "n", None, "has no effect: any number of workers may come (for the original's command lines)"],
        [
            "memory",
            None,
            _show(_DEFAULT.memory),
            "most memory for messages, those that are coming in included",
            _size("--memory"),
        ],
        [
            "retain",
            None,
            _show(_DEFAULT.retain),
            "most that a job keeps of delivered messages; the oldest go",
            _size("--retain"),
        ],
        [
            "spill",
            None,
            _show(_DEFAULT.spill),
            "most that a job or run has of undelivered messages, on disk",
            _size("--spill"),
        ],
        ["links", None, _show(_DEFAULT.links), "most that a job has of named messages, on disk", _size("--links")],
        ["disk", None, _show(_DEFAULT.disk), "most messages of all jobs and runs together, on disk", _size("--disk")],
        ["max-message", None, _show(_DEFAULT.message), "largest message", _size("--max-message")],
        ["connections", None, "10000", "most connections", _number("--connections")],
        ["jobs", None, str(_DEFAULT.runs), "most jobs, and as many runs of original workers", _number("--jobs")],
        ["mailboxes", None, str(_DEFAULT.mailboxes), "most mailboxes of all jobs and runs", _number("--mailboxes")],
        LOG_FORMAT,
        [
            "messages",
            None,
            str(_DEFAULT.named),
            "most named messages that are kept or remembered",
            _number("--messages"),
        ],
    ]
    optFlags: list[list[Any]] = [
        ["debug", "D", "log everything"],
        ["share-key", None, "all share one key, as in the original: certificates that name no job speak for any"],
    ]
    longdesc = (
        "Messages that no worker has taken are kept for 600 s (those of a job for as long as a coordinator mentions "
        "it), in memory and then in the state directory. Beyond --spill or --disk a job's sender gets an error and an "
        "original worker is not read. Named messages beyond --links or --disk are refused once those that were taken "
        "are gone. Memory: 55 MB, --memory, at most 250 kB for each connection and 1 kB for each named message; "
        "messages of more than half of --memory come in beside it, as much as --max-message at a time, and need twice "
        "that."
    )

    command = "twistd [twistd's options] mu-rendezvous"

    def getSynopsis(self) -> str:
        """The first line of the help."""
        return f"Usage: {self.command} [options]"

    def parseArgs(self, *words: str) -> None:
        """There are none."""
        if words:
            raise usage.UsageError(f"a rendezvous takes options only, not {words[0]!r}")

    def postOptions(self) -> None:
        """What can be checked without touching anything."""
        for row in Options.optParameters:
            if len(row) == 5 and isinstance(self[row[0]], str):
                self[row[0]] = row[4](self[row[0]])  # defaults are shown as users write them
        find_keys(self, os.environ)
        exists = self["ca-cert"] is not None and Path(self["ca-cert"]).exists()
        if exists and self["ca-key"] is None and not (self["srv-cert"] and self["srv-key"]):
            raise usage.UsageError(
                f"{self['ca-cert']} comes without a certificate of the rendezvous: give -s and -k (rendezvous_cert.pem "
                "and rendezvous_key.pem of `mu genkeys`), or --ca-key"
            )
        self["listen"] = listen_description(self["port"])
        if self["shards"] > 1:
            check_ports(self["listen"], self["shards"])
        if self["probe-port"] + self["shards"] - 1 > MAX_PORT:
            raise usage.UsageError(f"--probe-port: {self['shards']} ports from it on would end above {MAX_PORT}")
        if self["metrics"] is not None:
            self._check_metrics(self["metrics"])
        if self["memory"] < 1 << 20:
            raise usage.UsageError("--memory: at least 1M")
        if self.parent is not None:
            observe(self.parent, LogLevel.debug if self["debug"] else LogLevel.info, form=self["log-format"])

    def _check_metrics(self, text: str) -> None:
        from mu_twisted.web import parse_address  # costs, and few want it

        if parse_address(text).port + self["shards"] - 1 > MAX_PORT:
            raise usage.UsageError(f"--metrics: {self['shards']} ports from it on would end above {MAX_PORT}")

    def limits(self) -> RelayLimits:
        """What the options allow."""
        return RelayLimits(
            memory=self["memory"],
            retain=self["retain"],
            spill=self["spill"],
            disk=self["disk"],
            message=self["max-message"],
            runs=self["jobs"],
            mailboxes=self["mailboxes"],
            links=self["links"],
            named=self["messages"],
        )


def makeService(options: Options) -> IService:
    """The service that the options ask for. Opens nothing: twistd may fork after it."""
    from twisted.internet import reactor  # the composition root is where the reactor comes in

    from mu_twisted.daemons._rendezvous_service import RendezvousService
    from mu_twisted.daemons.shards.service import ShardsService

    ignore_repeat_signals(reactor)
    report_to_parent(options.parent)
    kind = ShardsService if options["shards"] > 1 else RendezvousService
    service: Any = kind(reactor, options, options.limits())
    return service  # type: ignore[no-any-return]
