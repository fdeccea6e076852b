"""This module collects the Python packages that a function is to have: wheels for its Python and processor, by pip.

Nothing is ever built here: pip may run no other program, so that neither a package's ``setup.py`` nor its build
backend runs, whatever the file or a package's own requirements name. Where wheels come from is pip's configuration.
"""

import fnmatch
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mu_twisted.aws._glibc import glibc_of
from mu_twisted.aws._package import MAX_UNZIPPED, PackageError
from mu_twisted.base import one_line, printable
from mu_twisted.base.masking import masked

_RUNTIME = re.compile(r"python3\.(\d{1,2})")
_MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}
_OLDEST_GLIBC = 17
"""Minor number of the glibc 2 below which wheels have older names: manylinux2014 and its predecessors."""
_GONE = frozenset(
    (
        *("aifc", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk", "crypt"),
        *("distutils", "imghdr", "imp", "lib2to3", "mailcap", "msilib", "nis", "nntplib"),
        *("ossaudiodev", "pipes", "smtpd", "sndhdr", "spwd", "sunau", "telnetlib", "uu"),
        *("xdrlib"),
    )
)
"""Modules that Python had until 3.11 or 3.12 and the worker has no use for: packages bring them back."""
_NO_BUILD = "would have to be built"
_LONGEST = 300

_PIP = f"""\
import json, resource, runpy, sys
target, sys.argv[1:2] = json.loads(sys.argv[1]), []
resource.setrlimit(resource.RLIMIT_FSIZE, (target["most"], target["most"]))
if target["markers"]:
    # pip knows the target's tags only: it would read "; python_version >= '3.13'" as this interpreter.
    from pip._vendor.packaging import markers
    here = markers.default_environment
    markers.default_environment = lambda: {{**here(), **target["markers"]}}
def refuse(event, arguments):
    if event in ("subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"):
        raise PermissionError("{_NO_BUILD}")
sys.addaudithook(refuse)
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
"""What runs pip, for the target's markers, with a limit on each file and no other program."""


@contextmanager
def collect_requirements(
    file: Path | None, *, runtime: str | None, architecture: str, exclude: str | None = None
) -> Iterator[Mapping[str, Path | bytes]]:
    """Have pip collect the wheels of a requirements file, for as long as the context lasts.

    :param file: in pip's format; None: nothing is collected.
    :param runtime: Lambda's identifier of the function's Python, such as ``python3.13``; None: this interpreter on this
        machine, where the embedded Lambda runs functions.
    :param architecture: of the function: ``x86_64`` or ``arm64``.
    :param exclude: patterns of the shell, separated by commas, for files that are left out, by their names in the
        package; a ``*`` is also for slashes.
    :returns: files by their names in the package.
    :raises PackageError: the file cannot be read, a requirement has no wheel for the target, a file would stand in
        the way of the worker, or a pattern is that of no file; one line.
    """
    if file is None:
        if exclude:
            raise PackageError("--exclude leaves out what --requirements brings: give that, too")
        yield {}
        return
    _check_readable(file)
    with tempfile.TemporaryDirectory(prefix="mu-wheels-") as name:
        target = Path(name, "unpacked")
        _collect(file, Path(name, "wheels"), target, runtime, architecture)
        yield _without(_members(file, target), exclude or "", file)


def _check_readable(file: Path) -> None:
    try:
        if not file.is_file():
            raise PackageError(f"there is no requirements file {file}" if not file.exists() else f"{file} is no file")
        with file.open("rb") as content:
            content.read(1)
    except OSError as error:
        raise PackageError(f"cannot read {file}: {error.strerror or error}") from None


def _minor(runtime: str) -> int:
    found = _RUNTIME.fullmatch(runtime)
    if found is None:
        raise PackageError(f"--requirements is for a runtime python3.N, not {runtime!r}: give another --runtime")
    return int(found[1])


def _platforms(minor: int, machine: str) -> list[str]:
    """The names of what Lambda's image of a Python can load: newest glibc first, that of Amazon Linux 2023 or 2."""
    newest = glibc_of(f"python3.{minor}")[1]
    older = ["manylinux2014", "manylinux2010", "manylinux1"] if machine == "x86_64" else ["manylinux2014"]
    recent = [f"manylinux_2_{glibc}" for glibc in range(newest, _OLDEST_GLIBC - 1, -1)]
    return [f"{name}_{machine}" for name in (*recent, *older)]


def _markers(minor: int, machine: str) -> dict[str, str]:
    """The values of the target's environment markers, as the Python Packaging User Guide defines them."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"3.{minor}.0",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"3.{minor}.0",
        "python_version": f"3.{minor}",
        "sys_platform": "linux",
    }


def _collect(file: Path, wheels: Path, target: Path, runtime: str | None, architecture: str) -> None:
    """Download the wheels that the target needs, and unpack them.

    pip's ``install`` by itself looks at what this Python may have, and its ``download`` at what the target's may.
    """
    markers: dict[str, str] = {}
    words: list[str] = []
    where = "this machine's Python"
    if runtime is not None:
        minor, machine = _minor(runtime), _MACHINES[architecture]
        markers = _markers(minor, machine)
        words += [f"--python-version=3.{minor}", "--implementation=cp", f"--abi=cp3{minor}"]
        words += [f"--platform={name}" for name in _platforms(minor, machine)]
        where = f"{runtime} on {architecture}"
    words.append("--only-binary=:all:")
    wheels.mkdir()
    errors = _run_pip(["download", f"--dest={wheels}", f"--requirement={file}", *words], markers, os.environ)
    if errors is None and any(wheels.iterdir()):
        # By name from that directory alone: what is named by a path gets a record of where it lay.
        pins = ["==".join(wheel.name.split("-")[:2]) for wheel in sorted(wheels.iterdir())]
        words += ["--no-deps", "--no-index", "--ignore-requires-python", "--no-compile", f"--target={target}"]
        alone = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        alone.update({"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "."})
        errors = _run_pip(["install", *words, *pins], markers, alone, wheels)
    if errors is not None:
        raise PackageError(f"{file}: {_failure(errors, where)}")


def _run_pip(
    words: Sequence[str], markers: Mapping[str, str], environ: Mapping[str, str], directory: Path | None = None
) -> list[str] | None:
    """Run pip.

    :returns: what it has written to its standard error, if it failed; else None.
    """
    given = json.dumps({"markers": markers, "most": MAX_UNZIPPED})
    # -P: a directory named pip, here, is not pip.
    done = subprocess.run(
        [sys.executable, "-P", "-c", _PIP, given, *words, "--quiet", "--no-input", "--disable-pip-version-check"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**environ, "PYTHONWARNINGS": "ignore"},
        cwd=directory,
        check=False,
    )
    return done.stderr.decode(errors="replace").splitlines() if done.returncode else None


def _failure(lines: Sequence[str], where: str) -> str:
    """What pip could not do, on one line."""
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    text = "\n".join(lines)
    if re.search(r"No module named '?pip\b", text):
        return "pip, which collects wheels, is not installed beside mu: python -m ensurepip"
    if _NO_BUILD in text:
        return (
            f"a requirement {_NO_BUILD}, or fetched by another program, and a package takes wheels only: name a "
            "version that has one, or build its wheel and name that"
        )
    missing = [line.partition("No matching distribution found for ")[2] for line in errors]
    named = next((name for name in missing if name), None)
    if named is not None and any("Retrying (" in line for line in lines):
        return f"cannot get {_shown(named)}: the index that pip is configured with does not answer"
    if named is not None:
        return f"there is no wheel of {_shown(named)} for {where}, and nothing is built: name a version that has one"
    if "File too large" in text:
        return f"a wheel, or a file in one, has more than the {MAX_UNZIPPED} bytes that Lambda takes"
    return f"pip could not collect its wheels: {_shown(errors[-1] if errors else next(reversed(lines), 'no reason'))}"


def _shown(text: str) -> str:
    return printable(one_line(masked(text)), _LONGEST)


def _members(file: Path, target: Path) -> dict[str, Path | bytes]:
    found: dict[str, Path | bytes] = {}
    for parent, below, names in os.walk(target):
        below.sort()
        for name in sorted(names):
            path = Path(parent, name)
            inside = path.relative_to(target).as_posix()
            if not _is_own_script(inside, path):
                found[inside] = path
    tops = {inside.split("/")[0].removesuffix(".py") for inside in found}
    standard = sorted(tops & (sys.stdlib_module_names - _GONE))
    if standard:
        raise PackageError(f"{file}: {standard[0]} would stand in the place of Python's own module of that name")
    return found


def _without(found: dict[str, Path | bytes], patterns: str, file: Path) -> dict[str, Path | bytes]:
    """What is left of the files."""
    for pattern in filter(None, patterns.split(",")):
        named = fnmatch.filter(found, pattern)
        if not named:
            raise PackageError(f"--exclude: {_shown(pattern)} is the name of no file that {file} brings")
        for name in named:
            del found[name]
    return found


def _is_own_script(inside: str, path: Path) -> bool:
    """Whether a file is a script that pip has made for this interpreter, which Lambda does not have."""
    if not inside.startswith("bin/"):
        return False
    with path.open("rb") as script:
        return os.fsencode(sys.executable) in script.read(512)
