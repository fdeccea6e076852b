"""``mu functions``: what ``mu lambdaize`` has made, listed and removed."""

import argparse
import json
import re
from collections.abc import Mapping
from typing import Any

from mu_twisted.aws import AWSError, Functions
from mu_twisted.cli import _format
from mu_twisted.cli._cloud import OperatorCloud, add_cloud_options, open_cloud
from mu_twisted.cli._errors import UsageError

HEAD = ["FUNCTION", "REGION", "MEMORY", "TIMEOUT", "TMP", "ARCH", "RUNTIME", "BYTES", "MODIFIED"]


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "functions",
        usage="mu functions [options] [rm NAME [NAME ...]]",
        help="list or remove the Lambda functions that mu made",
        description="List the functions that `mu lambdaize` has made, known by their tag, with memory and temporary "
        "files in MB and the time-out in seconds; or remove some, each with its copies (NAME-2 and so on). A function "
        "that has no tag of ours is neither shown nor removed.",
    )
    parser.add_argument("action", metavar="rm", nargs="?", choices=["list", "rm"], default="list", help="remove")
    parser.add_argument("names", metavar="NAME", nargs="*", help="functions to remove")
    parser.add_argument("--json", action="store_true", help="print the list as JSON, on one line")
    add_cloud_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """List, or remove."""
    if (options.action == "rm") is not bool(options.names):
        raise UsageError(
            "`mu functions` lists, `mu functions rm NAME ...` removes: give both, rm and names, or neither"
        )
    cloud = open_cloud(options)
    regions = options.region[:1] if cloud.local else options.region
    if options.action == "rm":
        _remove(cloud, regions, options.names)
        return
    found = [(region, function) for region in regions for function in Functions(cloud.clients(region)).list()]
    if options.json:
        print(json.dumps({"functions": [{"Region": region, **function} for region, function in found]}))
        return
    print(_format.table(HEAD, [_row(region, function) for region, function in found]))


def _row(region: str, function: Mapping[str, Any]) -> list[Any]:
    return [
        function["FunctionName"],
        region,
        function.get("MemorySize", ""),
        function.get("Timeout", ""),
        function.get("EphemeralStorage", {}).get("Size", 512),
        ",".join(function.get("Architectures", ["x86_64"])),
        function.get("Runtime", ""),
        function.get("CodeSize", ""),
        str(function.get("LastModified", ""))[:19].replace("T", " "),
    ]


def _remove(cloud: OperatorCloud, regions: list[str], names: list[str]) -> None:
    """Remove all that are there; an error names those that are not."""
    missing = set(names)
    for region in regions:
        functions = Functions(cloud.clients(region))
        for function in functions.list():
            name = function["FunctionName"]
            wanted = [given for given in names if name == given or re.fullmatch(re.escape(given) + r"-\d+", name)]
            if wanted:
                functions.remove(name)
                print(_format.clean(f"{name} in {region}: removed"), flush=True)
                missing.difference_update(wanted)
    if missing:
        places = " or ".join(cloud.clients(region).where for region in regions)
        raise AWSError(
            f"mu has made no function {' or '.join(sorted(missing))} in {places}: `mu functions` lists "
            "what there is (--region looks elsewhere)"
        )
