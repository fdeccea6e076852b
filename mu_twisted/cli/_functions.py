"""``mu functions`` lists and removes what ``mu lambdaize`` has made."""

import argparse
import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from mu_twisted.aws import AWSError, Functions, is_content_name
from mu_twisted.base import terminal_safe
from mu_twisted.cli import _format
from mu_twisted.cli._cloud import add_cloud_options, open_cloud
from mu_twisted.cli._parser import CommandParsers
from mu_twisted.client import UsageError
from mu_twisted.client.cloud import OperatorCloud

HEAD = ["FUNCTION", "REGION", "MEMORY", "TIMEOUT", "TMP", "ARCH", "RUNTIME", "BYTES", "MODIFIED"]


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "functions",
        usage="mu functions [options] [rm NAME [NAME ...] | rm --unused DAYS]",
        help="list or remove the Lambda functions that mu made",
        description="List the functions that `mu lambdaize` has made, known by their tag, with memory and temporary "
        "files in MB and the time-out in seconds; or remove some, each with its copies (NAME-2 and so on). A function "
        "that has no tag of ours is neither shown nor removed.",
    )
    parser.add_argument("action", metavar="rm", nargs="?", choices=["list", "rm"], default="list", help="remove")
    parser.add_argument("names", metavar="NAME", nargs="*", help="functions to remove")
    parser.add_argument(
        "--unused",
        metavar="DAYS",
        type=days,
        help="with rm: those that --program made, by their content, and that no job has asked for in so many days; one "
        "that is needed again is made again",
    )
    parser.add_argument("--json", action="store_true", help="print what is there, or was removed, as JSON, on one line")
    add_cloud_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """List, or remove."""
    if (options.action == "rm") is not (bool(options.names) or options.unused is not None):
        raise UsageError(
            "`mu functions` lists, `mu functions rm NAME ...` removes, as does `mu functions rm --unused DAYS`: give "
            "both, rm and what to remove, or neither"
        )
    if options.names and options.unused is not None:
        raise UsageError("--unused says which functions to remove: give no names")
    cloud = open_cloud(options)
    regions = options.region[:1] if cloud.local else options.region
    if options.unused is not None:
        _remove_unused(cloud, regions, options.unused, as_json=options.json)
        return
    if options.action == "rm":
        _remove(cloud, regions, options.names, as_json=options.json)
        return
    rows = [(region, function) for region in regions for function in Functions(cloud.clients(region)).list()]
    if options.json:
        print(json.dumps({"functions": [{"Region": region, **function} for region, function in rows]}))
        return
    print(_format.table(HEAD, [_row(region, function) for region, function in rows]))


def _row(region: str, function: Mapping[str, Any]) -> list[Any]:
    return [
        function["FunctionName"],
        region,
        function.get("MemorySize", ""),
        function.get("Timeout", ""),
        function.get("EphemeralStorage", {}).get("Size", 512),
        ",".join(function.get("Architectures", ["x86_64"])),
        function.get("Runtime") or str(function.get("PackageType", "")).lower(),
        function.get("CodeSize", ""),
        str(function.get("LastModified", ""))[:19].replace("T", " "),
    ]


def days(text: str) -> int:
    """A number of days; for argparse."""
    if not (text.isascii() and text.isdecimal()) or int(text) > 36_500:
        raise argparse.ArgumentTypeError(f"expected a whole number of days from 0 to 36500, got {text!r}")
    return int(text)


def unused(last_uses: Mapping[str, str], today: date, limit: int) -> list[str]:
    """Which functions to remove.

    :param last_uses: for each the day on which it was last used, ``2026-11-29``; one that is not known counts as used.
    :param limit: days for which one may be unused.
    """
    before = (today - timedelta(days=limit)).isoformat()
    return [name for name, day in last_uses.items() if day and day <= before]


def _remove_unused(cloud: OperatorCloud, regions: list[str], limit: int, *, as_json: bool) -> None:
    removed = []
    for region in regions:
        functions = Functions(cloud.clients(region))
        ours = [each for each in functions.list() if is_content_name(each["FunctionName"])]
        last = {each["FunctionName"]: functions.last_use(each) for each in ours}
        for name in unused(last, datetime.now(UTC).date(), limit):
            functions.remove(name)
            removed.append(_removed(name, region, as_json=as_json))
    if as_json:
        print(json.dumps({"removed": removed}))


def _removed(name: str, region: str, *, as_json: bool) -> dict[str, str]:
    """Say that a function was removed, where that is not said as JSON in the end."""
    if not as_json:
        print(terminal_safe(f"{name} in {region}: removed"), flush=True)
    return {"FunctionName": name, "Region": region}


def _remove(cloud: OperatorCloud, regions: list[str], names: list[str], *, as_json: bool) -> None:
    """Remove the functions that exist; an error names those that do not."""
    missing = set(names)
    removed = []
    for region in regions:
        functions = Functions(cloud.clients(region))
        for function in functions.list():
            name = function["FunctionName"]
            wanted = [each for each in names if name == each or re.fullmatch(re.escape(each) + r"-\d+", name)]
            if wanted:
                functions.remove(name)
                removed.append(_removed(name, region, as_json=as_json))
                missing.difference_update(wanted)
    if as_json:
        print(json.dumps({"removed": removed}))
    if missing:
        regions_shown = " or ".join(cloud.clients(region).where for region in regions)
        raise AWSError(
            f"mu has made no function {' or '.join(sorted(missing))} in {regions_shown}: `mu functions` lists "
            "what there is (--region looks elsewhere)"
        )
