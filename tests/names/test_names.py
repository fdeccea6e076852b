"""The names of the tree are words of the field, and each stands for one thing."""

import ast
import gc
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["mu_twisted", "worker_lambda", "bench", "examples", "tests"]


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.split())


WORDS = _listed(
    "hall desk shelf shelves parcel parcels seat seats comer comers crew staffing employ crowd crowds "
    "landing surroundings standin standins patience expendable heed beaten withdrawn forgiven charged "
    "whoever nobody somebody anybody"
)
"""Are part of no name at all."""
CLASSES = _listed(
    "Hands Beginnings Turns Past Running Asked Board Course Watch Due Place Reading Room Pressure Permit "
    "Ground Passing Yes Fact ByThemselves JobQueue"
)
"""Are no class's name, nor the end of one that says whose it is (``JobFact``)."""
MODULES = _listed(
    "hands turns past running asked board course watch due reading room pressure permit ground alone "
    "level asking shown places changes stage once facts"
)
"""Are no module's name, with or without an underscore before it."""
REST = _listed("hands beginnings understood asked beat board course steady passing ground")
"""Are the name of no function, parameter, variable or attribute, with or without an underscore before it."""

Name = tuple[str, str, str]
"""What kind of thing, its name, and where it is."""


@pytest.fixture(scope="module", autouse=True)
def no_search_for_garbage() -> Iterator[None]:
    """A million nodes are made, and stay until these tests are through: all would be searched some hundred times."""
    gc.disable()
    yield
    nodes.cache_clear()
    gc.enable()


def modules(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def names(path: Path) -> Iterator[Name]:
    where = path.relative_to(ROOT).as_posix()
    yield "module", path.stem if path.stem != "__init__" else path.parent.name, where
    for node in nodes(path):
        match node:
            case ast.ClassDef(name=name):
                yield "class", name, f"{where}:{node.lineno}"
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield "function", name, f"{where}:{node.lineno}"
            case ast.arg(arg=name):
                yield "parameter", name, f"{where}:{node.lineno}"
            case ast.Attribute(attr=name) | ast.Name(id=name, ctx=ast.Store()):
                yield "attribute", name, f"{where}:{node.lineno}"


def words(name: str) -> list[str]:
    """``JobFact``, ``job_fact`` and ``JOB_FACT`` have the same two."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return [word for word in apart.lower().split("_") if word]


@cache
def is_old(kind: str, name: str) -> bool:
    bare = name.strip("_")
    parts = words(name)
    if WORDS.intersection(parts):
        return True
    if kind == "class":
        return bare in CLASSES or (len(parts) == 2 and parts[-1] == "fact")
    return bare.lower() in (MODULES if kind == "module" else REST)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_class_function_attribute_variable_or_module_bears_an_old_word(package: str) -> None:
    old = [name for path in modules(package) for name in names(path) if is_old(name[0], name[1])]
    assert not old, "\n".join(map(" ".join, old))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("class", "Hall"),
        ("class", "JobFact"),
        ("class", "_Hands"),
        ("function", "dismiss_nobody"),
        ("parameter", "shelf_size"),
        ("attribute", "_seat"),
        ("attribute", "BEATEN"),
        ("module", "_turns"),
    ],
)
def test_old_words_are_found_whatever_the_spelling(kind: str, name: str) -> None:
    assert is_old(kind, name)


def test_the_name_of_a_class_or_type_stands_for_one() -> None:
    """With or without an underscore before it: a reader who knows ``Job`` is not to meet another as ``_Job``."""
    places: dict[str, set[str]] = defaultdict(set)
    for path in modules("mu_twisted", "worker_lambda"):
        module = nodes(path)[0]
        assert isinstance(module, ast.Module)
        for node in module.body:
            for name in types_named(path, node):
                places[name].add(path.relative_to(ROOT).as_posix())
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def types_named(path: Path, node: ast.stmt) -> list[str]:
    """The classes, and other types, that a statement of a module defines; those in capitals are constants."""
    match node:
        case ast.ClassDef() if not _is_exempt(path, node):
            found = [node.name]
        case ast.Assign(targets=targets):
            found = [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            found = [name]
        case _:
            found = []
    return [name.strip("_") for name in found if re.match("_?[A-Z][a-z]", name)]


def _is_exempt(path: Path, node: ast.ClassDef) -> bool:
    """Whether it is the ``Options`` of a daemon or pipeline, or a state of a pipeline: their users name the module."""
    bases = [ast.unparse(base) for base in node.bases]
    return node.name == "Options" or (path.parent.name == "pipelines" and any(base.endswith("State") for base in bases))


def test_no_test_imports_a_test_and_nothing_edits_the_path() -> None:
    tests = {path.stem for path in modules("tests") if path.parent.name != "support"}
    support = {path.stem for path in modules("tests/support")}
    for path in modules("tests", "bench"):
        if path.parent.name == "vectors":
            continue  # are run by themselves
        for node in nodes(path):
            if not isinstance(node, (ast.Import, ast.ImportFrom, ast.Attribute)):
                continue
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            if isinstance(node, ast.Import):
                imported = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported = {(node.module or "").split(".")[0]}
            else:
                assert not (node.attr in EDITS and _is_path(node.value)), where
                continue
            assert not imported & (tests - support), where


EDITS = {"append", "insert", "extend"}


def _is_path(node: ast.expr) -> bool:
    return ast.unparse(node) == "sys.path"


def test_the_name_of_a_test_is_under_80_characters() -> None:
    long = [name for path in modules("tests") for _, name, _ in names(path) if name.startswith("test_")]
    assert [name for name in long if len(name) >= 80] == []


def test_no_test_pins_a_private_constant() -> None:
    private = re.compile(r"_[A-Z][A-Z0-9_]+")
    for path in modules("tests"):
        for node in nodes(path):
            if not isinstance(node, (ast.ImportFrom, ast.Attribute)):
                continue
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            if isinstance(node, ast.ImportFrom):
                assert not [alias.name for alias in node.names if private.fullmatch(alias.name)], where
            elif private.fullmatch(node.attr):
                assert ast.unparse(node.value).startswith("self"), where
