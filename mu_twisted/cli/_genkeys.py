"""``mu genkeys``: the files of the original's ``genkeys.sh``, and a pair for the rendezvous."""

import argparse
from pathlib import Path
from typing import Any

from mu_twisted.tls import generate_keys


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "genkeys",
        help="make a CA and certificates signed by it",
        description="Make a CA (ca_), two certificates signed by it (server_, server2_), and one that names a "
        "rendezvous (rendezvous_), each as NAME_key.pem and NAME_cert.pem. Private files are readable "
        "by their owner only; nothing is overwritten.",
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="where to; made if it is not there")
    parser.add_argument("--rsa", action="store_true", help="RSA-2048 as PKCS#1, which the original's parties need")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Make the files and name them."""
    for path in generate_keys(options.directory, rsa=options.rsa):
        print(path)
