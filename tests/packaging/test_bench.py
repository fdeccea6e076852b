"""The benches, which nothing else runs, find what they stand on."""

import importlib
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
MODULES = sorted(path.stem for path in BENCH.glob("*.py") if path.stem not in ("__main__", "link_worker"))


@pytest.mark.parametrize("name", MODULES)
def test_a_bench_can_be_imported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH.parent))
    importlib.import_module(f"bench.{name}")
