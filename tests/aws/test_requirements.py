"""Wheels of a requirements file are collected for a function's Python and processor, and nothing is ever built."""

import os
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from wheel_index import WheelIndex

from mu_twisted.aws import FunctionSpec, PackageError, build_package, collect_requirements, content_name

HERE = f"cp3{sys.version_info.minor}"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WheelIndex:
    for name in os.environ:
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    (tmp_path / "index").mkdir()
    found = WheelIndex(tmp_path / "index")
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


Collected = Callable[..., dict[str, bytes]]


@pytest.fixture
def collected(tmp_path: Path) -> Collected:
    """What is packed for a requirements file of these lines."""

    def collect(
        *lines: str, runtime: str | None = "python3.13", architecture: str = "x86_64", exclude: str | None = None
    ) -> dict[str, bytes]:
        file = tmp_path / "requirements.txt"
        file.write_text("".join(f"{line}\n" for line in lines))
        with collect_requirements(file, runtime=runtime, architecture=architecture, exclude=exclude) as members:
            return {name: Path(str(path)).read_bytes() for name, path in members.items()}

    return collect


TAGS = [
    *("cp313-cp313-manylinux_2_28_x86_64", "cp313-cp313-manylinux_2_28_aarch64", "cp313-cp313-manylinux_2_39_x86_64"),
    *("cp312-cp312-manylinux_2_34_x86_64", "cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-manylinux_2_28_x86_64"),
    *("cp310-abi3-manylinux2014_aarch64", "cp313-cp313-win_amd64", "cp313-cp313-musllinux_1_2_x86_64"),
]


@pytest.mark.parametrize(
    ("runtime", "architecture", "tag"),
    [
        ("python3.13", "arm64", "cp313-cp313-manylinux_2_28_aarch64"),
        pytest.param("python3.11", "x86_64", "cp311-cp311-manylinux_2_17_x86_64", marks=pytest.mark.long),
        pytest.param("python3.13", "x86_64", "cp313-cp313-manylinux_2_28_x86_64", marks=pytest.mark.long),
        pytest.param("python3.12", "x86_64", "cp312-cp312-manylinux_2_34_x86_64", marks=pytest.mark.long),
        pytest.param("python3.12", "arm64", "cp310-abi3-manylinux2014_aarch64", marks=pytest.mark.long),
    ],
)
def test_wheels_are_the_targets(
    index: WheelIndex, collected: Collected, runtime: str, architecture: str, tag: str
) -> None:
    for each in TAGS:
        index.wheel("native", tag=each)
    members = collected("native", runtime=runtime, architecture=architecture)
    assert members["native.py"] == f"TAG = {tag!r}\n".encode()


@pytest.mark.long
def test_the_embedded_stack_has_this_machines(index: WheelIndex, collected: Collected) -> None:
    index.wheel("native", "2.0", tag="cp399-cp399-manylinux_2_17_x86_64")
    index.wheel("native", "1.0", tag=f"{HERE}-{HERE}-linux_{os.uname().machine}")
    assert HERE in collected("native", runtime=None)["native.py"].decode()


@pytest.mark.parametrize(
    "runtime", ["python3.13", *(pytest.param(f"python3.{minor}", marks=pytest.mark.long) for minor in (11, 12, 14))]
)
def test_markers_and_versions_are_read_for_the_targets_python(
    index: WheelIndex, collected: Collected, runtime: str
) -> None:
    minor = int(runtime.partition(".")[2])
    index.wheel("top", requires=[f"new ; python_version >= '3.{minor}'", f"old ; python_version < '3.{minor}'"])
    index.wheel("top", "2.0", python=f">=3.{minor + 1}")
    index.wheel("new", python=f">=3.{minor}")
    index.wheel("old")
    index.wheel("mine")
    members = collected(
        "top", f"mine ; python_version == '3.{minor}'", "old ; sys_platform == 'win32'", runtime=runtime
    )
    assert {name for name in members if "/" not in name} == {"top.py", "new.py", "mine.py"}
    assert "top-1.0.dist-info/METADATA" in members


def test_commands_of_this_machines_python_are_left_out_and_programs_kept(
    index: WheelIndex, collected: Collected
) -> None:
    program = {"tool-1.0.data/scripts/native": b"\x7fELFxxx", "tool.py": b""}
    index.wheel("tool", files=program, script="tool")
    assert {name for name in collected("tool") if name.startswith("bin/")} == {"bin/native"}


def test_files_that_are_excluded_are_left_out_and_a_pattern_for_none_is_one_line(
    index: WheelIndex, collected: Collected
) -> None:
    files = {"models/small.dat": b"s", "models/large/a.dat": b"l", "models/__init__.py": b"", "lib/tests/x.py": b""}
    index.wheel("models", files=files)
    kept = {name for name in collected("models", exclude="models/large*,,*/tests/*") if ".dist-info/" not in name}
    assert kept == {"models/small.dat", "models/__init__.py"}
    with pytest.raises(PackageError, match=r"--exclude: models/\*\.bin is the name of no file") as wrong:
        collected("models", exclude="models/*.dat,models/*.bin")
    assert "\n" not in str(wrong.value)
    with (
        pytest.raises(PackageError, match="--exclude leaves out what --requirements brings"),
        collect_requirements(None, runtime=None, architecture="x86_64", exclude="x"),
    ):
        pass


HOSTILE: dict[str, Callable[[WheelIndex, Path], list[str]]] = {
    "a source distribution": lambda index, trace: [index.source("evil", trace).stem.partition("-")[0]],
    "the file allows them": lambda index, trace: ["--no-binary :all:", index.source("evil", trace).name.split("-")[0]],
    "for one package": lambda index, trace: ["--no-binary evil", index.source("evil", trace).name.split("-")[0]],
    "a path": lambda index, trace: [str(index.source("evil", trace))],
    "a URL": lambda index, trace: [f"evil @ {index.source('evil', trace).as_uri()}"],
    "a directory": lambda index, trace: [str(index.tree("evil", trace))],
    "a directory's URL": lambda index, trace: [f"evil @ {index.tree('evil', trace).as_uri()}"],
    "an editable directory": lambda index, trace: [f"-e {index.tree('evil', trace)}"],
    "a repository": lambda index, trace: [f"evil @ git+{index.tree('evil', trace).as_uri()}"],
    "a wheel that asks for one": lambda index, trace: [
        index.wheel("good", requires=[f"evil @ {index.source('evil', trace).as_uri()}"]).name.split("-")[0]
    ],
    "its build backend": lambda index, trace: [_with_backend(index, trace)],
}


def _with_backend(index: WheelIndex, trace: Path) -> str:
    directory = index.tree("evil", trace)
    (directory / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (directory / "backend.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    return str(directory)


WAYS = ("a source distribution", "a wheel that asks for one", "its build backend")
"""One for each way by which pip comes to build: the others are spelt in other ways."""


@pytest.mark.parametrize("runtime", ["python3.13", pytest.param(None, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "kind", [kind if kind in WAYS else pytest.param(kind, marks=pytest.mark.long) for kind in HOSTILE]
)
def test_nothing_is_built(
    index: WheelIndex, collected: Collected, tmp_path: Path, kind: str, runtime: str | None
) -> None:
    trace = tmp_path / "trace"
    lines = HOSTILE[kind](index, trace)
    with pytest.raises(PackageError) as raised:
        collected(*lines, runtime=runtime)
    assert not trace.exists()
    text = str(raised.value)
    assert "\n" not in text
    assert "wheel" in text, text


def test_what_has_no_wheel_for_the_target_is_one_line(index: WheelIndex, collected: Collected) -> None:
    index.wheel("native", tag="cp313-cp313-manylinux_2_28_x86_64")
    with pytest.raises(PackageError) as raised:
        collected("native == 1.0", runtime="python3.13", architecture="arm64")
    assert str(raised.value).partition(": ")[2] == (
        "there is no wheel of native==1.0 for python3.13 on arm64, and nothing is built: name a version that has one"
    )


@pytest.mark.parametrize(
    ("lines", "runtime", "text"),
    [
        (["a b c"], "python3.13", "pip could not collect its wheels: Invalid requirement: 'a b c'"),
        pytest.param(["--nonsense"], "python3.13", "pip could not collect its wheels: ", marks=pytest.mark.long),
        pytest.param(["-r other.txt"], "python3.13", "other.txt", marks=pytest.mark.long),
        pytest.param(["one", "one==2"], "python3.13", "pip could not collect its wheels: ", marks=pytest.mark.long),
        (["one"], "provided.al2023", "--requirements is for a runtime python3.N, not 'provided.al2023'"),
        (["one"], "python3.13\n", "--requirements is for a runtime python3.N"),
        (["json"], "python3.13", "json would stand in the place of Python's own module"),
        pytest.param(
            ["large"], "python3.13", "a file in one, has more than the 262144000 bytes", marks=pytest.mark.long
        ),
    ],
)
def test_what_is_wrong_is_one_line(
    index: WheelIndex, collected: Collected, lines: list[str], runtime: str, text: str
) -> None:
    index.wheel("one")
    index.wheel("json")
    if lines == ["large"]:
        index.wheel("large", files={"large.bin": bytes(251 << 20)})
    with pytest.raises(PackageError) as raised:
        collected(*lines, runtime=runtime)
    assert "\n" not in str(raised.value)
    assert text in str(raised.value)


def test_a_password_in_an_indexs_address_is_not_shown(
    index: WheelIndex, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:hunter2@127.0.0.1:9/simple")
    with pytest.raises(PackageError) as raised:
        collected("absent")
    assert str(raised.value).endswith("cannot get absent: the index that pip is configured with does not answer")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: None, "there is no requirements file"),
        (lambda path: path.mkdir(), "is no file"),
        (lambda path: path.symlink_to(path), "there is no requirements file"),
        pytest.param(
            lambda path: path.write_bytes(b"\xff\xfe\x00\x80\n"),
            "pip could not collect its wheels",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(
    index: WheelIndex, tmp_path: Path, make: Callable[[Path], object], text: str
) -> None:
    make(tmp_path / "file")
    with pytest.raises(PackageError, match=text) as raised:  # noqa: SIM117
        with collect_requirements(tmp_path / "file", runtime="python3.13", architecture="x86_64"):
            pass
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("runtime", ["python3.13", pytest.param(None, marks=pytest.mark.long)])
def test_a_python_without_pip_is_one_line(
    index: WheelIndex, collected: Collected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str | None
) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(PackageError, match=r"pip, which collects wheels, is not installed beside mu"):
        collected("one", runtime=runtime)


@pytest.mark.long
def test_what_the_worker_has_is_not_replaced(index: WheelIndex, collected: Collected) -> None:
    index.wheel("sly", files={"worker_lambda/_worker.py": b"", "mu_command": b"x"})
    with pytest.raises(PackageError, match="the worker would both be"):
        build_package([], members=dict(collected("sly")))


@pytest.mark.long
def test_other_versions_of_packages_make_another_function(index: WheelIndex, collected: Collected) -> None:
    spec = FunctionSpec(name="")
    index.wheel("one")
    first = content_name(spec, dict(collected("one")))
    assert content_name(spec, dict(collected("one"))) == first
    index.wheel("one", "1.1", files={"one.py": b"TAG = 'py3-none-any'\n"})
    assert content_name(spec, dict(collected("one"))) != first
