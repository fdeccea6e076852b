"""The function of ``--program`` is made here by the program's content, where there is none of the same content yet.

What needs a function for a job asks :func:`function_for`; it blocks.
"""

import os
import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.python import usage

from mu_twisted.aws import (
    ARCHITECTURES,
    AWSError,
    Clients,
    Functions,
    FunctionSpec,
    Programs,
    collect_programs,
    collect_requirements,
    ensure_function,
    own_runtime,
    setting_bounds,
)
from mu_twisted.daemons._cloud import Cloud, open_cloud
from mu_twisted.pipelines import coerced_range


def _setting(member: str, option: str) -> Callable[[str], int]:
    return lambda text: coerced_range(*setting_bounds(member), option)(text)


class ProgramOptions(usage.Options):
    """The options of a function that is made of a program. Units are those of ``mu lambdaize``."""

    optParameters: list[list[Any]] = [
        ["program", None, None, "make the function of this program, or find the one that was made of the same before"],
        ["with", None, None, "further files and folders of its package, separated by commas"],
        [
            "requirements",
            None,
            None,
            "file in pip's format: pack wheels of these Python packages, for the function's Python and processor",
        ],
        ["exclude", None, None, "leave out files of these packages: patterns of the shell, separated by commas"],
        ["memory", None, None, "MB that the function has (default: 1536)", _setting("MemorySize", "--memory")],
        [
            "function-timeout",
            None,
            None,
            "s that an invocation may run (default: 180)",
            _setting("Timeout", "--function-timeout"),
        ],
        ["tmp-size", None, None, "MB for temporary files (default: 512)", _setting("EphemeralStorage", "--tmp-size")],
        ["role", None, None, "ARN of the function's execution role (default: $AWS_ROLE; not with --local)"],
        ["code-bucket", None, None, "where a package above 50 MiB goes through"],
    ]
    optFlags: list[list[Any]] = [
        ["allow-ld", None, "take a program that is linked dynamically, and pack its loader and libraries"]
    ]


PROGRAM_KEYS = tuple(row[0] for row in (*ProgramOptions.optParameters, *ProgramOptions.optFlags))


def check_program(options: Mapping[str, Any], function: str | None) -> None:
    """See that the options go together.

    :param options: :class:`ProgramOptions`.
    :param function: as ``-l`` names it, if it does.
    :raises twisted.python.usage.UsageError: they do not.
    """
    if options["program"] is None:
        given = [key for key in PROGRAM_KEYS if options[key] not in (None, False)]
        if given:
            raise usage.UsageError(f"--{given[0]} says how the function of --program is made: give that, too")
    elif function is not None:
        raise usage.UsageError(f"--program makes the function, and -l names another ({function}): give one of them")


def function_for(
    options: Mapping[str, Any],
    regions: Sequence[str],
    local_state: Path | None,
    notify: Callable[[str], object],
    environ: Mapping[str, str] = os.environ,
    own: Collection[str] = (),
) -> str:
    """The name of the function that has the program, in all regions; made where it is not there.

    :param options: :class:`ProgramOptions` and the daemon options, a mapping.
    :param local_state: the embedded stack's state directory; None: its default one.
    :param notify: takes one line for the user: that a function was made, or a note on the program.
    :param own: Python packages beside the program that count in place of those which the requirements bring.
    :raises mu_twisted.base.MuError: the program cannot run there, or the function cannot be made.
    """
    local = bool(options["local"])
    spec = spec_of(options, local, environ)
    programs = collect(options, spec, local)
    file = Path(options["requirements"]) if options["requirements"] is not None else None
    with (
        collect_requirements(
            file,
            runtime=None if local else spec.runtime,
            architecture=spec.architecture,
            exclude=options["exclude"],
        ) as packages,
        closing(open_cloud(options, local_state)) as cloud,
    ):
        programs.add_packages(packages, own)
        return _ensured(options, regions[:1] if local else regions, cloud, spec, programs, notify)


def spec_of(options: Mapping[str, Any], local: bool, environ: Mapping[str, str]) -> FunctionSpec:
    """The settings of the function, but for its name.

    :raises AWSError: it needs a role, and has none.
    """
    role = options["role"] or environ.get("AWS_ROLE")
    if role is None and not local:
        raise AWSError("a function needs an execution role: give --role ARN or set AWS_ROLE (or use --local)")
    host = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    spec = FunctionSpec(
        name="",
        memory_mb=options["memory"] or FunctionSpec.memory_mb,
        timeout=timedelta(seconds=options["function-timeout"] or FunctionSpec.timeout.total_seconds()),
        tmp_mb=options["tmp-size"] or FunctionSpec.tmp_mb,
        architecture=host if local and host in ARCHITECTURES else FunctionSpec.architecture,
        runtime=options.get("runtime") or (own_runtime() if local else FunctionSpec.runtime),
        description=Path(options["program"]).name,
    )
    return spec if local or role is None else replace(spec, role=role)


def collect(options: Mapping[str, Any], spec: FunctionSpec, local: bool) -> Programs:
    """The files of the package.

    :raises mu_twisted.aws.PackageError: one would not run there, or is missing.
    """
    extra = [Path(name) for name in (options["with"] or "").split(",") if name]
    return collect_programs(
        Path(options["program"]),
        extra,
        architecture=spec.architecture,
        allow_ld=bool(options["allow-ld"]),
        same_machine=local,
        runtime=spec.runtime,
    )


def _ensured(
    options: Mapping[str, Any],
    regions: Sequence[str],
    cloud: Cloud,
    spec: FunctionSpec,
    programs: Programs,
    notify: Callable[[str], object],
) -> str:
    name = ""
    for region in regions:
        clients = Clients(
            cloud.session,
            region,
            lambda_endpoint=cloud.lambda_endpoint(region),
            s3_endpoint=cloud.s3_endpoint,
            stack=cloud.stack_directory,
        )
        command = f"./{Path(options['program']).name}"
        bucket = options["code-bucket"].replace("{region}", region) if options["code-bucket"] else None
        name, made = ensure_function(Functions(clients), spec, programs.members, os.fsencode(command), bucket=bucket)
        if made:
            for note in programs.notes if region == regions[0] else ():
                notify(f"note: {note}")
            notify(f"made function {name} of {options['program']} in {clients.where}")
    return name
