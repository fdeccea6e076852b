"""``mu lambdaize``: a Lambda function of the worker and the programs that it is to run, as the original's script."""

import argparse
import json
import os
import secrets
import string
from datetime import timedelta
from pathlib import Path
from typing import Any

from mu_twisted.aws import AccessKeys, AWSError, Control, aws_session, build_package, lambda_endpoint, s3_endpoint
from mu_twisted.local import LocalError, default_state_dir, find

SHOWN = [
    "CodeSize",
    "LastModified",
    "MemorySize",
    "CodeSha256",
    "Description",
    "FunctionName",
    "Role",
    "Handler",
    "Runtime",
    "Timeout",
    "Version",
    "FunctionArn",
]


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "lambdaize",
        help="make a Lambda function of a program",
        description="Make a Lambda function, NAME_XXXXXXXX, of the worker, EXE and the EXTRA files. Its packaged "
        "command is PRE_ARGS ./EXE POST_ARGS, in which ##INFILE## and the like are filled in by the worker. "
        "MEM_SIZE, TIMEOUT, REGION and AWS_ROLE in the environment stand for the options.",
    )
    parser.add_argument("executable", metavar="EXE", type=Path, help="a static Linux executable")
    parser.add_argument("pre_args", metavar="PRE_ARGS", nargs="?", default="", help="what stands before ./EXE")
    parser.add_argument("post_args", metavar="POST_ARGS", nargs="?", default="", help="what stands behind it")
    parser.add_argument("extra", metavar="EXTRA", nargs="*", type=Path, help="further files for the function's root")
    env = os.environ
    parser.add_argument("--name", help="the function's whole name (default: EXE's, and a random suffix)")
    parser.add_argument("--memory", type=_whole, default=env.get("MEM_SIZE", "1536"), help="in MB (1536)")
    parser.add_argument("--timeout", type=_whole, default=env.get("TIMEOUT", "180"), help="in seconds (180)")
    parser.add_argument("--region", default=env.get("REGION", "us-east-1"), help="(us-east-1)")
    parser.add_argument(
        "--role", default=env.get("AWS_ROLE"), help="ARN of the execution role; not needed with --local"
    )
    parser.add_argument("--endpoint-url", help="base URL of Lambda")
    parser.add_argument("--local", action="store_true", help="on the stack that `twistd mu-local` runs")
    parser.add_argument("--state-dir", type=Path, help="of that stack (default: the one that twistd mu-local has)")
    parser.set_defaults(run=run)


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text}")
    return number


def run(options: argparse.Namespace) -> None:
    """Build, create, print what Lambda says."""
    words = (options.pre_args, f"./{options.executable.name}", options.post_args)
    command = " ".join(word for word in words if word)
    package = build_package([options.executable, *options.extra], os.fsencode(command))
    control, more = _where(options)
    made = control.create_function(
        options.name or f"{options.executable.name}_{_suffix()}",
        package,
        memory_mb=options.memory,
        timeout=timedelta(seconds=options.timeout),
        description=options.executable.name,
        **more,
    )
    print(json.dumps({key: made[key] for key in SHOWN if key in made}, indent=4))


def _suffix() -> str:
    letters = string.ascii_letters + string.digits
    return "".join(secrets.choice(letters) for _ in range(8))


def _where(options: argparse.Namespace) -> tuple[Control, dict[str, Any]]:
    if options.local or os.environ.get("MU_LOCAL", "0") not in ("", "0"):
        directory = options.state_dir or default_state_dir(os.environ)
        stack = find(directory)
        if stack is None:
            raise LocalError(
                f"no local stack is running in {directory}: start one with `twistd -n --pidfile= mu-local`"
            )
        session = aws_session(AccessKeys(stack.access_key, stack.secret_key))
        return Control(
            session, options.region, lambda_endpoint=stack.lambda_endpoint, s3_endpoint=stack.s3_endpoint
        ), {}
    if options.role is None:
        raise AWSError("a function needs an execution role: give --role ARN or set AWS_ROLE (or use --local)")
    endpoint = lambda_endpoint(options.region, options.endpoint_url)
    control = Control(aws_session(), options.region, lambda_endpoint=endpoint, s3_endpoint=s3_endpoint())
    return control, {"role": options.role}
