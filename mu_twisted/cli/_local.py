"""``mu local-env`` points any AWS tool at the embedded Lambda and S3 that run on this machine."""

import argparse
import json
import os
import shlex
from pathlib import Path
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from mu_twisted.cli._parser import CommandParsers
from mu_twisted.client.cloud import no_stack
from mu_twisted.local import default_state_dir, find


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "local-env",
        help="print the AWS variables of the embedded Lambda and S3",
        description="Print shell lines that point AWS's tools and boto3 at the stack that `mu local` runs: "
        'eval "$(mu local-env)".',
    )
    parser.add_argument("--state-dir", type=Path, help="of the stack (default: the one that `mu local` has)")
    parser.add_argument("--json", action="store_true", help="print the variables as JSON, on one line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the lines."""
    directory = options.state_dir or default_state_dir(os.environ)
    stack = find(directory)
    if stack is None:
        raise no_stack(directory)
    if options.json:
        print(json.dumps(stack.environment()))
        return
    for name, value in stack.environment().items():
        print(f"export {name}={shlex.quote(value)}")
    proxies = getproxies_environment()
    if any(name != "no" for name in proxies) and not proxy_bypass_environment("127.0.0.1", proxies):
        direct = shlex.quote(",".join(filter(None, (proxies.get("no"), "127.0.0.1"))))
        print(f"export NO_PROXY={direct} no_proxy={direct}")
