"""A command works with the Lambda and S3 that are chosen here: AWS's, others that were named, or the embedded ones."""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mu_twisted.aws import (
    AccessKeys,
    AWSError,
    Clients,
    aws_session,
    check_endpoint,
    check_region,
    lambda_endpoint,
    s3_endpoint,
)
from mu_twisted.local import LocalError, Stack, default_state_dir, ensure, find, running_stacks


@dataclass(frozen=True)
class OperatorCloud:
    """Lambda and S3.

    :param session: boto3's.
    :param stack: the embedded ones' state directory; None: they are others.
    """

    session: Any
    lambda_endpoint: str | None
    s3_endpoint: str | None
    stack: Path | None

    @property
    def local(self) -> bool:
        """Whether they are the embedded ones."""
        return self.stack is not None

    def clients(self, region: str) -> Clients:
        """Clients of one region.

        :raises mu_twisted.aws.AWSError: there is no such region, or its endpoint is none.
        """
        check_region(region)
        endpoint = self.lambda_endpoint if self.local else lambda_endpoint(region, self.lambda_endpoint)
        return Clients(self.session, region, lambda_endpoint=endpoint, s3_endpoint=self.s3_endpoint, stack=self.stack)


def add_cloud_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose them."""
    where = parser.add_argument_group(
        "which Lambda and S3", "By default AWS's, with credentials as AWS's own tools find them."
    )
    where.add_argument(
        "--region",
        metavar="R,R...",
        type=region_names,
        default=["us-east-1"],
        help="(us-east-1)",
    )
    where.add_argument(
        "--endpoint-url", metavar="URL", type=_endpoint, help="base URL of Lambda (also: $AWS_ENDPOINT_URL_LAMBDA)"
    )
    where.add_argument(
        "--s3-endpoint-url", metavar="URL", type=_endpoint, help="base URL of S3 (also: $AWS_ENDPOINT_URL_S3)"
    )
    where.add_argument("--local", action="store_true", help="the embedded ones that `mu local` runs (also: MU_LOCAL=1)")
    where.add_argument(
        "--state-dir", metavar="DIR", type=Path, help="with --local: of that stack (default: the one that it has)"
    )


def open_cloud(options: argparse.Namespace) -> OperatorCloud:
    """The Lambda and S3 that the options choose. Sends nothing yet.

    :raises mu_twisted.base.MuError: the embedded stack does not run, or an address is none.
    """
    if not options.local:
        return OperatorCloud(aws_session(), options.endpoint_url, s3_endpoint(options.s3_endpoint_url), None)
    directory = stack_directory(options.state_dir)
    stack = find(directory) if "state-dir" in options.typed else ensure_stack(directory)
    if stack is None:  # one that was named by mistake is not started
        raise no_stack(directory)
    session = aws_session(AccessKeys(stack.access_key, stack.secret_key))
    return OperatorCloud(session, stack.lambda_endpoint, stack.s3_endpoint, directory)


def stack_directory(given: Path | None) -> Path:
    """The state directory of the embedded stack that a command uses.

    :param given: as ``--state-dir`` says: that of the stack, or of a coordinator, which has its stack in ``local``.
    """
    if given is None:
        return default_state_dir(os.environ)
    return given / "local" if not (given / "lock").exists() and (given / "local" / "lock").exists() else given


def no_stack(directory: Path) -> LocalError:
    """The error that no stack runs in a state directory, which names those that run elsewhere."""
    where = "" if directory == default_state_dir(os.environ) else f" --state-dir {directory}"
    others = running_stacks(os.environ)
    shown = ", ".join(map(str, others[:3])) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    also = f", or choose the one that runs in {shown} with --state-dir" if others else ""
    return LocalError(f"no local stack is running in {directory}: start one with `mu local{where}`{also}")


def ensure_stack(directory: Path) -> Stack:
    """The embedded stack of a state directory; started, with a line that says so, where it does not run.

    :raises mu_twisted.local.LocalError: it does not start.
    """
    stack, pid = ensure(directory)
    by_default = directory == default_state_dir(os.environ)
    others = [each for each in running_stacks(os.environ) if each != directory.resolve()] if by_default else []
    if others:
        count = "another local stack runs, too" if len(others) == 1 else f"{len(others)} other local stacks run, too"
        print(
            f"note: {count} (`mu local --list`); this command uses the one in {directory}, MU_LOCAL_STATE_DIR=DIR "
            "chooses another",
            file=sys.stderr,
            flush=True,
        )
    if pid is not None:
        where = "" if directory == default_state_dir(os.environ) else f" --state-dir {directory}"
        print(
            f"note: started the local stack in {directory}, process {pid}; it goes on until `mu local --stop{where}`",
            file=sys.stderr,
            flush=True,
        )
    return stack


def _endpoint(text: str) -> str:
    try:
        return check_endpoint(text)
    except AWSError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def region_names(text: str) -> list[str]:
    """Regions separated by commas, each once; for argparse."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"expected region,region..., got {text!r}")
    return list(dict.fromkeys(names))
