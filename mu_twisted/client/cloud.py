"""Lambda and S3 are opened here for a coordinator's caller: AWS's, others that were named, or the embedded ones."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mu_twisted.aws import Clients, aws_session, check_endpoint, check_region, lambda_endpoint, s3_endpoint
from mu_twisted.base.access_keys import AccessKeys
from mu_twisted.base.json_types import Json
from mu_twisted.local import LocalError, Stack, default_state_dir, ensure, running_stacks

if TYPE_CHECKING:
    from boto3.session import Session


@dataclass(frozen=True)
class OperatorCloud:
    """Lambda and S3.

    :param session: boto3's.
    :param stack: the embedded ones' state directory; None: they are others.
    """

    session: "Session"
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


def named_cloud(lambda_url: str | None, s3_url: str | None) -> OperatorCloud:
    """AWS's Lambda and S3, or others. Sends nothing yet.

    :param lambda_url: base URL of Lambda; None: AWS's, or what the environment names.
    :param s3_url: the same of S3.
    :raises mu_twisted.aws.AWSError: an address is none.
    """
    return OperatorCloud(aws_session(), lambda_url, s3_endpoint(s3_url), None)


def embedded_cloud(
    stack: Stack, directory: Path, lambda_url: str | None = None, s3_url: str | None = None
) -> OperatorCloud:
    """The embedded Lambda and S3, but for one that has another base URL, as a coordinator has it with ``--local``.

    :param stack: that runs in ``directory``.
    :param lambda_url: base URL of Lambda; None: the embedded one's.
    :param s3_url: the same of S3.
    :raises mu_twisted.aws.AWSError: an address is none.
    """
    session = aws_session(AccessKeys(stack.access_key, stack.secret_key))
    s3 = check_endpoint(s3_url) if s3_url else stack.s3_endpoint
    return OperatorCloud(session, lambda_url or stack.lambda_endpoint, s3, None if lambda_url or s3_url else directory)


def stack_of(given: Path | None, found: Mapping[str, Json] | None) -> Path:
    """The directory of the embedded stack that a local job uses, whether it runs or not.

    :param given: the one that the options name; None: this user's own.
    :param found: what the coordinator that runs there says of itself; None: none runs.
    """
    if found is not None and found.get("local"):
        return Path(found["local"])
    return given or default_state_dir(os.environ)


def no_stack(directory: Path) -> LocalError:
    """The error that no stack runs in a state directory, which names those that run elsewhere."""
    where = "" if directory == default_state_dir(os.environ) else f" --state-dir {directory}"
    others = running_stacks(os.environ)
    shown = ", ".join(map(str, others[:3])) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    also = f", or choose the one that runs in {shown} with --state-dir" if others else ""
    return LocalError(f"no local stack is running in {directory}: start one with `mu local{where}`{also}")


def ensure_stack(directory: Path, notify: Callable[[str], object]) -> Stack:
    """The embedded stack of a state directory; started where it does not run.

    :param notify: takes one line for the user: that it was started, or that others run.
    :raises mu_twisted.local.LocalError: it does not start.
    """
    stack, pid = ensure(directory)
    by_default = directory == default_state_dir(os.environ)
    others = [each for each in running_stacks(os.environ) if each != directory.resolve()] if by_default else []
    if others:
        count = "another local stack runs, too" if len(others) == 1 else f"{len(others)} other local stacks run, too"
        notify(
            f"note: {count} (`mu local --list`); this command uses the one in {directory}, MU_LOCAL_STATE_DIR=DIR "
            "chooses another"
        )
    if pid is not None:
        where = "" if by_default else f" --state-dir {directory}"
        notify(
            f"note: started the local stack in {directory}, process {pid}; it goes on until `mu local --stop{where}`"
        )
    return stack
