"""docs/architecture.md names modules and packages that there are, and the layers that the tools hold."""

import re
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
MAP = PAGE.split("```", 2)[1]
TEXT = " ".join(re.findall(r"`([^`\n]+)`", PAGE.replace("```", "")))
"""What is quoted as code."""
PARENTS = [ROOT / "mu_twisted", ROOT / "worker_lambda", ROOT]
"""What places are below."""
PLACE = re.compile(r"(?<![\w/-])(?:\w+/)+[\w.*]*")
MODULE = re.compile(r"(?<![\w/])_[a-z]\w*")


def places(text: str) -> list[str]:
    """What is written as a path."""
    return sorted({place.rstrip("./") for place in PLACE.findall(text)})


def is_there(place: str) -> bool:
    return any([*parent.glob(place), *parent.glob(f"{place}.py")] for parent in PARENTS)


@pytest.mark.parametrize("place", sorted({*places(MAP), *places(TEXT)}))
def test_each_place_on_the_page_is_there(place: str) -> None:
    assert is_there(place)


@pytest.mark.parametrize("module", sorted(set(MODULE.findall(MAP))))
def test_each_module_that_is_named_alone_is_there(module: str) -> None:
    assert [*(ROOT / "mu_twisted").rglob(f"{module}.py"), *(ROOT / "worker_lambda").rglob(f"{module}.py")]


@pytest.mark.parametrize("place", ["coordinator/_hall", "jobs/_board.py", "launch/transport/*.cpp", "rendezvous/_mail"])
def test_what_is_not_there_is_found_out(place: str) -> None:
    assert places(f"one job ──► {place}   what it does") == [place.removesuffix("/")]
    assert not is_there(place)


def test_the_layers_of_the_page_are_those_that_are_held() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    contract = setup["importlinter:contract:layers"]["layers"].split("\n")
    held = [set(line.replace("|", " ").split()) for line in reversed(contract) if line.strip()]
    shown: dict[int, set[str]] = {}
    for number, names in re.findall(r"^\| (\d+) \| ([^|]*) \|", PAGE, re.MULTILINE):
        shown.setdefault(int(number), set()).update(re.findall(r"`(\w+)`", names))
    assert [shown[number] for number in sorted(shown)] == held
