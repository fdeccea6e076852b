"""Where memory groups may be made, and what is written there. The kernel's own files where this machine has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from warm_processes import LIMIT

from mu_twisted.local.environments.cgroups import MemoryGroups, candidates

V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 24 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "32 24 0:28 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "33 24 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)


def found(mountinfo: str, membership: str) -> list[tuple[int, str]]:
    return [(version, str(path)) for version, path in candidates(mountinfo, membership)]


def test_a_group_of_version_2_is_made_beside_our_own_that_has_processes() -> None:
    session = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/shell.scope\n"
    service = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service"
    paths = found(V2, session)
    assert paths[0] == (2, f"{service}/app.slice")
    assert paths[1] == (2, service)
    assert paths[-1] == (2, "/sys/fs/cgroup")


def test_in_a_container_with_a_group_namespace_only_its_root_is_left() -> None:
    assert found(V2, "0::/\n") == [(2, "/sys/fs/cgroup")]
    assert found(V2, "0::/../other\n") == [(2, "/sys/fs/cgroup")]


def test_a_group_of_version_1_is_made_below_our_own_of_the_memory_controller() -> None:
    membership = "5:cpu:/elsewhere\n4:memory:/a/b\n0::/c\n"
    memory = [path for path in found(V1.format(root="/"), membership) if path[0] == 1]
    assert memory == [(1, f"/sys/fs/cgroup/memory{tail}") for tail in ("/a/b", "/a", "")]
    memory = [path for path in found(V1.format(root="/a"), membership) if path[0] == 1]
    assert memory == [(1, "/sys/fs/cgroup/memory/b"), (1, "/sys/fs/cgroup/memory")]


def test_no_groups_mean_no_candidates() -> None:
    assert found("22 1 8:1 / / rw - ext4 /dev/root rw\n", "0::/\n") == []
    assert found(V2, "") == []


@pytest.mark.parametrize(
    ("version", "files"),
    [
        (2, {"memory.max": "67108864", "memory.swap.max": "0"}),
        (1, {"memory.limit_in_bytes": "67108864", "memory.memsw.limit_in_bytes": "67108864", "memory.swappiness": "0"}),
    ],
)
def test_the_limit_is_written_with_no_swap_beside_it(tmp_path: Path, version: int, files: dict[str, str]) -> None:
    groups = MemoryGroups(tmp_path, version)
    assert groups.create("one", 64 << 20) == [str(tmp_path / "one" / "cgroup.procs")]
    assert {path.name: path.read_text() for path in (tmp_path / "one").iterdir()} == files
    assert groups.peak("one") is None
    (tmp_path / "one" / ("memory.peak" if version == 2 else "memory.max_usage_in_bytes")).write_text("4096\n")
    assert groups.peak("one") == 4096


@pytest.mark.parametrize("version", [1, 2])
def test_processes_are_counted_in_their_own_hierarchy_where_there_is_one(tmp_path: Path, version: int) -> None:
    groups = MemoryGroups(tmp_path / "memory", version)
    groups.counts_processes = True
    if version == 1:
        groups.pids = tmp_path / "pids"
    for base in groups.bases:
        base.mkdir()
    files = groups.create("one", 64 << 20)
    assert files == [str(base / "one" / "cgroup.procs") for base in groups.bases]
    counting = groups.bases[-1] / "one"
    assert (counting / "pids.max").read_text() == "1025", "the first process is ours"
    for path in tmp_path.glob("*/one/*"):
        path.unlink()
    assert groups.remove("one")
    assert [path for base in groups.bases for path in base.iterdir()] == []
    assert groups.clear()
    assert groups.left() == []


def hierarchy(kind: str) -> Path | None:
    """Where this machine lets us make groups of a version, by the kernel's own tables."""
    for version, path in candidates(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()):
        if version == (2 if kind == "cgroup2" else 1) and os.access(path, os.W_OK):
            return path
    return None


@pytest.mark.process
@pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
def test_what_is_killed_and_removed_is_gone(kind: str) -> None:
    parent = hierarchy(kind)
    if parent is None:
        pytest.skip(f"no {kind} here in which this user may make groups")
    groups = MemoryGroups(parent / f"mu-test-{os.getpid()}", 2 if kind == "cgroup2" else 1)
    try:
        inner = groups.base / "one"
        inner.mkdir(parents=True)
        wait = "import sys; open(sys.argv[1], 'w').write('0'); print('in', flush=True); sys.stdin.read()"
        command = [sys.executable, "-c", wait, str(inner / "cgroup.procs")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"in\n"
            assert not groups.remove("one")
            assert groups.clear(LIMIT)
            assert process.wait() == -9
    finally:
        groups.clear(LIMIT)
    assert not groups.base.exists()


@pytest.mark.process
def test_where_memory_is_not_to_be_had_groups_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    parent = hierarchy("cgroup2")
    if parent is None or "memory" in (parent / "cgroup.subtree_control").read_text().split():
        pytest.skip("no cgroup2 here that is without the memory controller")
    groups = MemoryGroups(parent / f"mu-test-{os.getpid()}", 2)
    groups.base.mkdir()
    try:
        assert not groups._usable()
        assert [path.name for path in groups.base.iterdir() if path.is_dir()] == []
    finally:
        groups.base.rmdir()
