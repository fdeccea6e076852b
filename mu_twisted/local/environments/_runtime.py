"""An environment's Python finds a directory of links to AWS's runtime client and the SDK, and nothing else.

So a package that the function forgot to bring is missing here as it is on Lambda, even if our own environment has it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

from mu_twisted.local._errors import LocalError
from mu_twisted.local._function_requests import VERSION
from mu_twisted.local._functions import Function, execution_environment
from mu_twisted.local.environments.python_paths import with_targets

_NEEDED = ("awslambdaric", "runtime_client")
_OFFERED = (
    "simplejson",
    "snapshot_restore_py",
    "boto3",
    "botocore",
    "s3transfer",
    "jmespath",
    "dateutil",
    "urllib3",
    "six",
)


SESSION_TOKEN = ""
"""There, as a role's credentials have one on AWS, and empty, which clients take for none: SeaweedFS knows no tokens."""


def link_runtime(directory: Path) -> list[str]:
    """Fill ``directory`` with links.

    :returns: directories that hold what is linked, Python's own included.
    :raises LocalError: where awslambdaric is not installed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    holders = {sys.prefix, sys.base_prefix, str(Path(__file__).parent)}
    for name in (*_NEEDED, *_OFFERED):
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            spec = None
        if spec is None or spec.origin is None:
            if name in _NEEDED:
                raise LocalError(f"{name} is not installed: pip install 'mu-twisted[local]'")
            continue
        origin = Path(spec.origin)
        target = origin.parent if spec.submodule_search_locations else origin
        (directory / target.name).symlink_to(target)
        holders.add(str(target.parent))
    return with_targets(holders)


def environment_variables(
    function: Function,
    *,
    root: Path,
    runtime: Path,
    api: str,
    temporary: str | None,
    region: str,
    credentials: tuple[str, str],
    endpoints: Mapping[str, str],
    stream: str,
) -> dict[str, str]:
    """Everything that an environment's processes see of an environment: nothing of the host's.

    :param root: the unpacked code.
    :param runtime: the directory of links.
    :param api: host and port of the Runtime API.
    :param temporary: TMPDIR, where there is no private /tmp.
    :param credentials: access key and secret key of the function's role.
    :param endpoints: ``AWS_ENDPOINT_URL...`` variables.
    :param stream: the log stream's name.
    """
    task = str(root)
    variables = {
        **endpoints,
        **function.variables,
        "_HANDLER": function.handler,
        "AWS_ACCESS_KEY_ID": credentials[0],
        "AWS_SECRET_ACCESS_KEY": credentials[1],
        "AWS_SESSION_TOKEN": SESSION_TOKEN,
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        "AWS_EXECUTION_ENV": execution_environment(),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_FUNCTION_VERSION": VERSION,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": stream,
        "AWS_LAMBDA_RUNTIME_API": api,
        "LAMBDA_TASK_ROOT": task,
        "PWD": task,
        "LAMBDA_RUNTIME_DIR": str(runtime),
    }
    variables.setdefault("LANG", "en_US.UTF-8")
    variables.setdefault("TZ", ":UTC")
    variables.setdefault("PATH", f"{sys.base_prefix}/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin")
    variables.setdefault("LC_CTYPE", "C.UTF-8")
    variables.setdefault("LD_LIBRARY_PATH", f"{task}:{task}/lib:/opt/lib")
    variables.setdefault("PYTHONPATH", str(runtime))
    variables.setdefault("TMPDIR", temporary or "/tmp")  # noqa: S108
    return variables
