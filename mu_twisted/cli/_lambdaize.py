"""``mu lambdaize`` makes a Lambda function of the worker and the programs that it is to run, as the original's did."""

import argparse
import json
import os
import platform
import re
import secrets
import string
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from mu_twisted.aws import (
    ARCHITECTURES,
    AWSError,
    FunctionChanges,
    Functions,
    FunctionSpec,
    build_package,
    check_region,
    collect_programs,
    collect_requirements,
    own_runtime,
    parse_image,
    setting_bounds,
)
from mu_twisted.cli._cloud import add_cloud_options, open_cloud
from mu_twisted.cli._parser import CommandParsers, ListOnce, whole_number
from mu_twisted.client import UsageError
from mu_twisted.client.cloud import OperatorCloud

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
MAX_COPIES = 100
_LONGEST_NAME = 64


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "lambdaize",
        help="make a Lambda function of a program",
        description="Make a Lambda function, NAME_XXXXXXXX, of the worker, EXE and the EXTRA files. Its packaged "
        "command is PRE_ARGS ./EXE POST_ARGS, in which ##INFILE## and the like are filled in by the worker. With "
        "--image in place of these, make it of a container image that has the worker and its programs. "
        "AWS_ROLE, MEM_SIZE, TIMEOUT, REGION, ALLOW_LD and SKIP_UPLOAD in the environment stand for the options.",
    )
    parser.add_argument("executable", metavar="EXE", nargs="?", type=Path, help="a static Linux program, or a script")
    parser.add_argument(
        "pre_args", metavar="PRE_ARGS", nargs="?", type=str, default="", help="what stands before ./EXE"
    )
    parser.add_argument("post_args", metavar="POST_ARGS", nargs="?", type=str, default="", help="what stands behind it")
    parser.add_argument(
        "extra", metavar="EXTRA", nargs="*", default=[], type=Path, help="further files and directories"
    )
    function = parser.add_argument_group("the function")
    function.add_argument("--name", help="its whole name (default: EXE's, and a random suffix)")
    function.add_argument(
        "--replace",
        action="store_true",
        help="where there is one of this name already, give it this code, and such of its settings as are given here; "
        "the others stay. An update in progress is waited for",
    )
    function.add_argument("--role", help="ARN of its execution role (not with --local)")
    function.add_argument("--memory", type=_setting("MemorySize"), metavar="MB", help="(1536)")
    function.add_argument("--timeout", type=_setting("Timeout"), metavar="S", help="(180)")
    function.add_argument(
        "--tmp-size", type=_setting("EphemeralStorage"), metavar="MB", help="for temporary files (512)"
    )
    function.add_argument("--arch", choices=ARCHITECTURES, help="its processor (x86_64; with --local this machine's)")
    function.add_argument("--runtime", type=_runtime, help="(python3.13)")
    function.add_argument(
        "--copies",
        type=whole_number(1, MAX_COPIES),
        metavar="K",
        default=1,
        help="make it K times, as NAME, NAME-2, ... NAME-K: each may grow by 1,000 workers in 10 s (1)",
    )
    packed = parser.add_argument_group("its package")
    packed.add_argument(
        "--image",
        metavar="URI",
        help="an image in ECR, ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG, in place of a package; {region} "
        "stands for the function's region",
    )
    packed.add_argument(
        "--allow-ld",
        action="store_true",
        default=_is_set("ALLOW_LD"),
        help="take programs that are linked dynamically, and pack their loader and libraries",
    )
    packed.add_argument(
        "--requirements",
        metavar="FILE",
        type=Path,
        help="in pip's format: pack wheels of these Python packages, for the function's Python and processor; nothing "
        "is built",
    )
    packed.add_argument(
        "--exclude",
        action=ListOnce,
        metavar="PATTERN,...",
        help="leave out files of these packages: patterns of the shell, in which * is also for slashes, such as "
        "'*/tests/*'",
    )
    packed.add_argument(
        "--skip-upload",
        action="store_true",
        default=_is_set("SKIP_UPLOAD"),
        help="make no function; leave its package here, as NAME.zip",
    )
    packed.add_argument(
        "--code-bucket",
        metavar="BUCKET",
        help="where a zip above 50 MiB goes through; in the function's region, {region} stands for its name",
    )
    parser.add_argument("--json", action="store_true", help="print Lambda's answer on one line")
    add_cloud_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Check the programs or the image, build, create, print Lambda's answer."""
    _check_source(options)
    if not options.skip_upload and not options.replace:
        _check_role(options)
    if options.replace and not options.name:
        raise UsageError("--replace needs the name of the function that is to be replaced: give --name")
    if not options.skip_upload:
        for region in options.region:
            check_region(region)
    name = options.name or f"{_base_name(options)}_{_suffix()}"
    if not set(name) <= set(string.ascii_letters + string.digits + "-_") or len(name) > _LONGEST_NAME - 4:
        raise UsageError(
            f"{name!r} cannot be a function's name, which has letters, digits, - and _, at most {_LONGEST_NAME - 4}: "
            "give --name"
        )
    existing = _existing(options, name) if options.replace and not options.skip_upload else {}
    if options.arch is None and existing:
        options.arch = (existing.get("Architectures") or ["x86_64"])[0]
    package = None
    if options.image is None:
        package = _package(options, options.runtime or existing.get("Runtime", FunctionSpec.runtime))
    options.arch = options.arch or FunctionSpec.architecture
    if package is not None and options.skip_upload:
        path = Path(f"{name}.zip")
        path.write_bytes(package)
        print(
            json.dumps(
                {"FunctionName": name, "CodeSize": len(package), "ZipFile": str(path)},
                indent=None if options.json else 4,
            )
        )
        return
    shown = [{key: each[key] for key in SHOWN if key in each} for each in _create(options, name, package)]
    print(json.dumps(shown[0] if len(shown) == 1 else shown, indent=None if options.json else 4))


def _check_source(options: argparse.Namespace) -> None:
    """See that there is a program or an image, and what goes with it.

    :raises UsageError: there is neither, or both.
    :raises PackageError: Lambda would not take the image.
    """
    if options.image is None:
        if options.executable is None:
            raise UsageError("give EXE, the program of the function, or --image URI")
        return
    other = {"EXE": options.executable, "--allow-ld": options.allow_ld, "--requirements": options.requirements}
    other.update(
        {
            "--exclude": options.exclude,
            "--skip-upload": options.skip_upload,
            "--code-bucket": "code-bucket" in options.typed,
        }
    )
    given = [what for what, value in {**other, "--runtime": options.runtime}.items() if value]
    if given:
        raise UsageError(f"--image has all that its function runs: leave out {given[0]}")
    if options.local:
        raise UsageError("--image is for AWS: the embedded Lambda runs no container images; make a zip of EXE there")
    for region in options.region:
        parse_image(options.image, region)


def _base_name(options: argparse.Namespace) -> str:
    if options.image is None:
        return str(options.executable.name).replace(".", "_")
    last = parse_image(options.image, options.region[0]).repository.rpartition("/")[2]
    return last.replace(".", "_")[: _LONGEST_NAME - 16]


def _check_role(options: argparse.Namespace) -> None:
    if options.role is None and not options.local:
        raise AWSError("a function needs an execution role: give --role ARN or set AWS_ROLE (or use --local)")


def _package(options: argparse.Namespace, runtime: str) -> bytes:
    local = options.local
    host = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    options.arch = options.arch or (host if local and host in ARCHITECTURES else "x86_64")
    programs = collect_programs(
        options.executable,
        options.extra,
        architecture=options.arch,
        allow_ld=options.allow_ld,
        same_machine=local,
        runtime=own_runtime() if local else runtime,
    )
    for note in programs.notes:
        print(f"note: {note}", file=sys.stderr)
    words = (options.pre_args, f"./{options.executable.name}", options.post_args)
    command = " ".join(word for word in words if word)
    python = None if local else runtime
    with collect_requirements(
        options.requirements, runtime=python, architecture=options.arch, exclude=options.exclude
    ) as packages:
        programs.add_packages(packages)
        return build_package([], os.fsencode(command), members=programs.members, runtime=python)


def _create(options: argparse.Namespace, name: str, package: bytes | None) -> Iterator[Mapping[str, Any]]:
    """Create it in all regions; where one fails, what was created is removed, and the error names what was replaced."""
    cloud = open_cloud(options)
    created: list[tuple[Functions, str]] = []
    answers: list[Mapping[str, Any]] = []
    replaced: list[str] = []
    try:
        for functions in [Functions(cloud.clients(region)) for region in _regions(options, cloud)]:
            for number in range(1, options.copies + 1):
                copy = _copy(name, number)
                bucket = _bucket(options, functions.region)
                code = package if package is not None else parse_image(options.image, functions.region)
                if options.replace and functions.find(copy) is not None:
                    answers.append(functions.replace(copy, code, _changes(options), bucket=bucket))
                    replaced.append(f"{copy} in {functions.region}")
                    continue
                _check_role(options)
                answers.append(functions.create(_spec(options, copy), code, bucket=bucket))
                created.append((functions, copy))
    except BaseException as error:
        for functions, copy in created:
            with suppress(AWSError):
                functions.remove(copy)
        if replaced and isinstance(error, AWSError):
            raise AWSError(f"{error} (replaced before: {', '.join(replaced)})") from None
        raise
    yield from answers


def _existing(options: argparse.Namespace, name: str) -> Mapping[str, Any]:
    """The configuration of the function that is to be replaced; empty if there is none yet."""
    cloud = open_cloud(options)
    for region in _regions(options, cloud):
        functions = Functions(cloud.clients(region))
        for number in range(1, options.copies + 1):
            found = functions.find(_copy(name, number))
            if found is not None:
                return found
    return {}


def _copy(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _changes(options: argparse.Namespace) -> FunctionChanges:
    return FunctionChanges(
        role=None if options.local else options.role,
        memory_mb=options.memory,
        timeout=None if options.timeout is None else timedelta(seconds=options.timeout),
        runtime=options.runtime,
        architecture=options.arch,
        tmp_mb=options.tmp_size,
        description=_description(options),
    )


def _spec(options: argparse.Namespace, name: str) -> FunctionSpec:
    return FunctionSpec(
        name=name,
        memory_mb=options.memory or FunctionSpec.memory_mb,
        timeout=FunctionSpec.timeout if options.timeout is None else timedelta(seconds=options.timeout),
        runtime=options.runtime or FunctionSpec.runtime,
        architecture=options.arch,
        tmp_mb=options.tmp_size or FunctionSpec.tmp_mb,
        description=_description(options),
        **({"role": options.role} if options.role and not options.local else {}),
    )


def _description(options: argparse.Namespace) -> str:
    return str(options.image)[:256] if options.image is not None else str(options.executable.name)


def _regions(options: argparse.Namespace, cloud: OperatorCloud) -> list[str]:
    regions: list[str] = options.region
    return regions[:1] if cloud.local else regions


def _bucket(options: argparse.Namespace, region: str) -> str | None:
    bucket: str | None = options.code_bucket
    return bucket.replace("{region}", region) if bucket else None


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "0") not in ("", "0")


def _suffix() -> str:
    letters = string.ascii_letters + string.digits
    return "".join(secrets.choice(letters) for _ in range(8))


def _runtime(text: str) -> str:
    if not re.fullmatch(r"python3\.[0-9]{1,2}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"expected a Python, such as {FunctionSpec.runtime}, got {text!r}")
    return text


def _setting(member: str) -> Callable[[str], int]:
    return lambda text: whole_number(*setting_bounds(member))(text)
