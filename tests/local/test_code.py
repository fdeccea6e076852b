"""Packages unpacked: what is in them is there as at AWS, and nothing is anywhere else."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest
from function_packages import BROKEN, FILE, LINK, package
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.local import ApiError, LocalError
from mu_twisted.local._code import unpack
from mu_twisted.local._trees import remove_tree


def everything(root: Path) -> list[str]:
    return sorted(
        str(Path(where, name).relative_to(root)) for where, dirs, files in os.walk(root) for name in dirs + files
    )


@pytest.mark.parametrize("what", BROKEN)
def test_a_package_that_cannot_be_unpacked_is_the_callers_fault_and_leaves_nothing(what: str, tmp_path: Path) -> None:
    with pytest.raises(ApiError) as refused:
        unpack(io.BytesIO(BROKEN[what]), tmp_path / "code" / "target")
    assert (refused.value.status, refused.value.code) == (400, "InvalidParameterValueException")
    assert "\n" not in str(refused.value)
    assert everything(tmp_path) in ([], ["code"])


@pytest.mark.parametrize(
    ("at", "link"),
    [
        ("lnk", "..data"),
        ("a/lnk", "../m.py"),
        ("a/b", "."),
        ("abs", "/var/task/m.py"),
        ("opt", "/opt/lib/x"),
        ("gone", "not/there"),
        ("..x", "...y"),
        ("out", "../../../../etc"),
    ],
)
def test_links_are_kept_as_they_are(at: str, link: str, tmp_path: Path) -> None:
    root = tmp_path / "target"
    unpack(io.BytesIO(package((at, link, LINK), ("..data/m.py", "x", FILE), ("m.py", "y", FILE))), root)
    assert str((root / at).readlink()) == link


def test_no_link_is_followed_by_what_comes_after_it(tmp_path: Path) -> None:
    """A chain of links, each lexically inside, that together lead to the host's root."""
    deep = "a/b/c/d/e/f/g/h"
    chain = [(f"{deep}/L", "/".join([".."] * 8), LINK), ("up", f"{deep}/L/../../../..", LINK)]
    with pytest.raises(ApiError):
        unpack(io.BytesIO(package(*chain, ("up/owned", "1", FILE))), tmp_path / "x" / "y" / "target")
    assert everything(tmp_path) == ["x", "x/y"]


def test_byte_code_is_not_compiled_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "m.py").write_text("secret = 1\n")
    links = [("inner", str(outside), LINK), ("m.py", str(outside / "m.py"), LINK)]
    unpack(io.BytesIO(package(*links, ("n.py", "x = 1\n", FILE))), tmp_path / "target")
    assert everything(outside) == ["m.py"]
    assert [path.name.split(".")[0] for path in (tmp_path / "target" / "__pycache__").iterdir()] == ["n"]


def test_modes_are_kept_but_no_more_than_rights(tmp_path: Path) -> None:
    modes = {"run": 0o755, "own": 0o700, "set": 0o4755, "none": 0o000}
    unpack(io.BytesIO(package(*((n, "1", stat.S_IFREG | mode) for n, mode in modes.items()))), tmp_path / "t")
    found = {name: stat.S_IMODE((tmp_path / "t" / name).stat().st_mode) for name in modes}
    assert found == {"run": 0o755, "own": 0o700, "set": 0o755, "none": 0o400}


@pytest.mark.skipif(not Path("/dev/full").exists() or os.geteuid() != 0, reason="wants a disk that is full")
def test_a_disk_that_refuses_is_not_the_callers_fault(tmp_path: Path) -> None:
    with pytest.raises(LocalError) as refused:
        unpack(io.BytesIO(package(("m.py", "1", FILE))), Path("/proc/target"))
    assert not isinstance(refused.value, ApiError)
    assert "below /proc" in str(refused.value)


NAMES = st.lists(st.sampled_from(["a", "b", "L", "..", ".", "", "m.py"]), min_size=1, max_size=5).map("/".join)
TARGETS = st.lists(st.sampled_from(["a", "b", "L", "..", "..", "/"]), min_size=1, max_size=6).map("/".join)
ENTRIES = st.lists(
    st.one_of(st.tuples(NAMES, st.just("1"), st.just(FILE)), st.tuples(NAMES, TARGETS, st.just(LINK))),
    min_size=1,
    max_size=6,
)


@given(entries=ENTRIES)
def test_whatever_a_package_holds_nothing_appears_outside_of_its_directory(
    entries: list[tuple[str, str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    where = tmp_path_factory.mktemp("unpack") / "x" / "y"
    where.mkdir(parents=True)
    try:
        unpack(io.BytesIO(package(*entries)), where / "target")
    except ApiError as error:
        assert error.status == 400  # noqa: PT017
        assert everything(where) == []
    else:
        assert [name for name in everything(where.parent.parent) if not name.startswith("x/y/target")] == ["x", "x/y"]


def test_removing_what_cannot_be_removed_changes_nothing_that_a_link_names(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("1")
    (tmp_path / "kept").chmod(0o644)
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    remove_tree(tmp_path / "link")
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o644
