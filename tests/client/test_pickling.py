"""Calls are pickled with modules of the user's own in them, which are looked for where modules have come or gone."""

from __future__ import annotations

import pickle
import sys
import sysconfig
from types import ModuleType
from typing import Any

import pytest

from mu_twisted.client._pickling import pickled_call


class Watched(ModuleType):
    """Counts who looks where it comes from."""

    looks = 0

    @property
    def __file__(self) -> str:  # type: ignore[override]
        self.looks += 1
        return "/nowhere/watched.py"


def imported(monkeypatch: pytest.MonkeyPatch, module: ModuleType, path: str | None = None) -> Any:
    exec("FACTOR = 3\ndef triple(x):\n    return x * FACTOR\n", module.__dict__)  # noqa: S102
    if path is not None:
        module.__file__ = path
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def travels_by_value(monkeypatch: pytest.MonkeyPatch, module: Any) -> bool:
    content = pickled_call(module.triple, (5,), {}).split(b"\n", 1)[1]
    with monkeypatch.context() as elsewhere:
        elsewhere.delitem(sys.modules, module.__name__)
        try:
            function, arguments, _ = pickle.loads(content)
        except ImportError:
            return False
        assert function(*arguments) == 15
        return True


@pytest.mark.parametrize("kind", ["stdlib", "platstdlib"])
@pytest.mark.parametrize("beside", ["-mine", "x", ".d"])
def test_a_folder_whose_name_begins_as_python_s_is_the_user_s(
    monkeypatch: pytest.MonkeyPatch, kind: str, beside: str
) -> None:
    path = sysconfig.get_path(kind)
    assert travels_by_value(monkeypatch, imported(monkeypatch, ModuleType("of_mine"), f"{path}{beside}/of_mine.py"))
    assert not travels_by_value(monkeypatch, imported(monkeypatch, ModuleType("of_python"), f"{path}/of_python.py"))


def test_modules_are_judged_once_and_others_when_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = imported(monkeypatch, Watched("watched"))
    pickled_call(pow, (2, 3), {})
    looks = watched.looks
    assert looks > 0
    for _ in range(5):
        pickled_call(pow, (2, 3), {})
    assert watched.looks == looks
    late = imported(monkeypatch, ModuleType("came_late"), "/nowhere/came_late.py")
    assert travels_by_value(monkeypatch, late)
    other = imported(monkeypatch, ModuleType("came_late"), f"{sysconfig.get_path('purelib')}/came_late.py")
    assert not travels_by_value(monkeypatch, other)
