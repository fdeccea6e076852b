"""Calls are pickled here, and answers unpickled: modules of the user's own travel by value, others by their names."""

import operator
import os
import pickle
import site
import sys
import sysconfig
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from mu_twisted.base import one_line
from mu_twisted.client._errors import UsageError
from mu_twisted.client._transport import CoordinatorError

_lock = threading.Lock()
_judged: tuple[list[ModuleType], list[ModuleType]] = [], []
"""All modules as they were at the last call, and those of them that are the user's own."""
_INSTALLED = tuple(
    dict.fromkeys(
        f"{Path(path).resolve()}{os.sep}"
        for path in (
            sysconfig.get_path("stdlib"),
            sysconfig.get_path("platstdlib"),
            sysconfig.get_path("purelib"),
            sysconfig.get_path("platlib"),
            *site.getsitepackages(),
            site.getusersitepackages(),
        )
    )
)


class CallError(CoordinatorError):
    """A call could not be done, or its answer cannot be had; one line that names the call."""


class RemoteTraceback(Exception):
    """The cause of an exception that a function has raised on a worker: where it did, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def call_name(function: Callable[..., Any], arguments: Sequence[Any], keywords: Mapping[str, Any]) -> str:
    """What a call is called in messages, on one line."""
    shown = [_shown(value) for value in arguments] + [f"{key}={_shown(value)}" for key, value in keywords.items()]
    name = getattr(function, "__qualname__", None) or type(function).__name__
    return one_line(f"{name}({', '.join(shown)})", 200)


def pickled_call(function: Callable[..., Any], arguments: Sequence[Any], keywords: Mapping[str, Any]) -> bytes:
    """A call as ``mu_call`` takes it.

    :raises UsageError: it cannot be pickled; one line that names it.
    """
    try:
        with _lock:
            before = cloudpickle.list_registry_pickle_by_value()
            own = _own_modules()
            try:
                for module in own:
                    cloudpickle.register_pickle_by_value(module)
                content: bytes = cloudpickle.dumps((function, tuple(arguments), dict(keywords)))
            finally:
                for module in own:
                    if module.__name__ not in before:
                        cloudpickle.unregister_pickle_by_value(module)
    except Exception as error:
        raise UsageError(f"{call_name(function, arguments, keywords)} cannot be pickled: {_line(error)}") from error
    return "{}.{}\n".format(*sys.version_info).encode() + content


def answer_of(content: bytes, name: str) -> Any:
    """What a call has returned.

    :param content: its answer, which a worker has pickled.
    :param name: of the call.
    :raises CallError: it could not be done; or what it has raised, with the remote traceback as cause.
    """
    try:
        kind, what, text = pickle.loads(content)
    except Exception as error:
        raise CallError(f"{name}: its result cannot be unpickled: {_line(error)}") from error
    if kind == "value":
        return what
    if kind == "error":
        line, pickled = what
        try:
            raised = pickle.loads(pickled)
        except Exception as error:  # noqa: BLE001 - it is code of the user's
            reason = f"{name}: its exception ({line}) cannot be unpickled: {_line(error)}"
            raised = CallError(one_line(reason, 2000))
        raise raised from RemoteTraceback(text)
    raise CallError(f"{name}: {what}") from (RemoteTraceback(text) if text else None)


def _own_modules() -> list[ModuleType]:
    """The user's own; looked for where modules have come or gone since the last call."""
    global _judged  # noqa: PLW0603
    before, own = _judged
    now = list(sys.modules.values())
    if len(now) != len(before) or not all(map(operator.is_, now, before)):
        own = [module for module in now if _is_own(module)]
        _judged = now, own
    return own


@cache
def _is_installed(path: str) -> bool:
    return str(Path(path).resolve()).startswith(_INSTALLED)


def _is_own(module: ModuleType | None) -> bool:
    """Whether a module is one that a worker would not find: a file outside of Python and what is installed in it."""
    path = getattr(module, "__file__", None)
    name = getattr(module, "__name__", "__main__")
    if not isinstance(path, str) or name == "__main__" or sys.modules.get(name) is not module:
        return False
    return not _is_installed(path)


def _line(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}", 500)


def _shown(value: object) -> str:
    try:
        return repr(value)[:60]
    except Exception:  # noqa: BLE001 - it may be anything of the user's
        return f"<{type(value).__name__}>"
