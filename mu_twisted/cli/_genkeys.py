"""``mu genkeys`` makes the files of the original's ``genkeys.sh``, a pair for the rendezvous, and operators' pairs."""

import argparse
import json
from pathlib import Path

from mu_twisted.cli._parser import CommandParsers
from mu_twisted.client import UsageError
from mu_twisted.daemons import default_state_dir
from mu_twisted.tls import generate_keys, generate_operator


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "genkeys",
        help="make a CA and certificates signed by it",
        description="Make a CA (ca_), two certificates signed by it (server_, server2_), and one that names a "
        "rendezvous (rendezvous_), each as NAME_key.pem and NAME_cert.pem. Private files are readable "
        "by their owner only; nothing is overwritten. With --operator a certificate and key of a CA that is there "
        "already: that of DIR if it holds ca_key.pem, else that of the coordinator's state directory. DIR then has "
        "what `mu jobs --server HOST:PORT -c DIR/ca_cert.pem -s DIR/NAME_cert.pem -k DIR/NAME_key.pem` needs.",
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="where to; made if it is not there")
    parser.add_argument("--operator", metavar="NAME", help="make NAME_cert.pem and NAME_key.pem, good for a year")
    parser.add_argument("--state-dir", metavar="STATE", type=Path, help="with --operator: the coordinator's")
    parser.add_argument("--rsa", action="store_true", help="RSA-2048 as PKCS#1, which the original's parties need")
    parser.add_argument("--json", action="store_true", help="print the files' names as JSON, on one line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Make the files and name them."""
    if options.operator is None:
        if "state-dir" in options.typed:
            raise UsageError("--state-dir says whose CA signs an operator's certificate: give --operator NAME too")
        paths = generate_keys(options.directory, rsa=options.rsa)
    elif options.rsa:
        raise UsageError("--rsa is for original parties, which know no operators: leave it out")
    else:
        paths = generate_operator(options.directory, options.operator, _authority(options))
    if options.json:
        print(json.dumps({"files": [str(path) for path in paths]}))
        return
    for path in paths:
        print(path)


def _authority(options: argparse.Namespace) -> Path:
    """The directory of the CA that signs."""
    if "state-dir" not in options.typed and (options.directory / "ca_key.pem").is_file():
        directory: Path = options.directory
        return directory
    return Path(options.state_dir or default_state_dir()) / "tls"
