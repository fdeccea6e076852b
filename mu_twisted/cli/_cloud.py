"""A command works with the Lambda and S3 that its options choose: AWS's, others that were named, or embedded ones."""

import argparse
import os
from pathlib import Path

from mu_twisted.aws import AWSError, check_endpoint
from mu_twisted.cli._parser import ListOnce, OptionGroup
from mu_twisted.cli._wait import print_note
from mu_twisted.client.cloud import OperatorCloud, embedded_cloud, ensure_stack, named_cloud, no_stack
from mu_twisted.local import default_state_dir, find


def add_cloud_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose them."""
    where = parser.add_argument_group(
        "which Lambda and S3", "By default AWS's, with credentials as AWS's own tools find them."
    )
    add_regions(where, "--region")
    where.add_argument(
        "--endpoint-url", metavar="URL", type=_endpoint, help="base URL of Lambda (also: $AWS_ENDPOINT_URL_LAMBDA)"
    )
    add_s3_endpoint(where)
    where.add_argument("--local", action="store_true", help="the embedded ones that `mu local` runs (also: MU_LOCAL=1)")
    where.add_argument(
        "--state-dir", metavar="DIR", type=Path, help="with --local: of that stack (default: the one that it has)"
    )


def add_s3_endpoint(where: OptionGroup) -> None:
    """Add the option that names another S3 to a group."""
    where.add_argument(
        "--s3-endpoint-url", metavar="URL", type=_endpoint, help="base URL of S3 (also: $AWS_ENDPOINT_URL_S3)"
    )


def open_cloud(options: argparse.Namespace) -> OperatorCloud:
    """The Lambda and S3 that the options choose. Sends nothing yet.

    :raises mu_twisted.base.MuError: the embedded stack does not run, or an address is none.
    """
    if not options.local:
        return named_cloud(options.endpoint_url, options.s3_endpoint_url)
    directory = stack_directory(options.state_dir)
    stack = find(directory) if "state-dir" in options.typed else ensure_stack(directory, print_note)
    if stack is None:  # one that was named by mistake is not started
        raise no_stack(directory)
    return embedded_cloud(stack, directory, options.endpoint_url, options.s3_endpoint_url)


def stack_directory(given: Path | None) -> Path:
    """The state directory of the embedded stack that a command uses.

    :param given: as ``--state-dir`` says: that of the stack, or of a coordinator, which has its stack in ``local``.
    """
    if given is None:
        return default_state_dir(os.environ)
    return given / "local" if not (given / "lock").exists() and (given / "local" / "lock").exists() else given


def _endpoint(text: str) -> str:
    try:
        return check_endpoint(text)
    except AWSError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_regions(where: OptionGroup, *switches: str) -> None:
    """Add the option for a list of regions, under these switches."""
    where.add_argument(
        *switches,
        action=ListOnce,
        metavar="R,R...",
        type=region_names,
        default=["us-east-1"],
        help="(us-east-1)",
    )


def region_names(text: str) -> list[str]:
    """Regions separated by commas, each once; for argparse."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"expected region,region..., got {text!r}")
    return list(dict.fromkeys(names))
