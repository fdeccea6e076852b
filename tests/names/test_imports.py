"""A package is seen through its outside: modules that begin with an underscore are imported within it only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for name in ("mu_twisted", "worker_lambda") for path in (ROOT / name).rglob("*.py"))


def module_of(path: Path) -> str:
    """The package of a ``__init__``, the module of any other file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(source: str, package: str) -> Iterator[str]:
    """Whatever is imported, by its whole name, names of objects among it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            above = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            place = ".".join(filter(None, (above, node.module)))
            yield from (f"{place}.{alias.name}" for alias in node.names)


def reached_into(source: str, package: str) -> list[str]:
    """What is imported past the outside of its package."""
    found = []
    for name in imported(source, package):
        parts = name.split(".")
        hidden = [i for i, part in enumerate(parts) if part.startswith("_") and not part.startswith("__")]
        if parts[0] in ("mu_twisted", "worker_lambda"):
            found += [name for i in hidden[:1] if not f"{package}.".startswith(".".join(parts[:i]) + ".")]
    return found


def test_no_module_reaches_into_another_package() -> None:
    found = {}
    for path in SOURCES:
        module = module_of(path)
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        found[module] = reached_into(path.read_text("utf-8"), package)
    assert {"mu_twisted.coordinator.run", "worker_lambda._worker"} <= found.keys()
    assert {module: names for module, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from mu_twisted.jobs._job import Job",
        "def f():\n    from mu_twisted.jobs import _job",
        "import mu_twisted.jobs._job as job",
        "from ...jobs import _job",
        "from ...jobs._job import Job",
    ],
)
def test_an_import_past_the_outside_is_found_out_and_one_from_within_is_none(source: str) -> None:
    assert len(reached_into(source, "mu_twisted.coordinator.run")) == 1
    assert reached_into(source, "mu_twisted.jobs.parts") == []
