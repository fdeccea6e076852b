"""Arguments of the client's public functions are checked here, in one way: by the annotations of their parameters.

These are texts, numbers, paths, classes, and iterables of such.
"""

import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from math import isnan
from operator import index
from types import NoneType, UnionType
from typing import Any, NamedTuple, ParamSpec, TypeGuard, TypeVar, Union, get_args, get_origin

from mu_twisted.base import printable
from mu_twisted.client._errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")

SHOWN = 60
"""Characters of a wrong argument that are shown."""
_CALLED: dict[Any, tuple[str, str]] = {
    str: ("a text", "texts"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("True or False", "truth values"),
    os.PathLike: ("a path", "paths"),
    Callable: ("a function", "functions"),
}
"""What one value of a type is called, and several; those of others are called by their class."""


class ArgumentError(UsageError, TypeError):
    """An argument is of another type than its parameter takes: one line that says which, what it is, what is wanted."""


class _AcceptedType(NamedTuple):
    """One of the types that a parameter takes.

    :param items: what it is an iterable of; none: it is none.
    """

    type: Any
    items: tuple["_AcceptedType", ...] = ()

    def takes(self, value: object) -> bool:
        """Whether it takes a value; of one that can be gone through only once, not what is in it."""
        if self.type in (Any, object) or isinstance(self.type, TypeVar):
            return True
        if self.type in (int, float) and isinstance(value, bool):
            return False
        if self.type in (int, float):  # numpy's as well
            return _is_number(value, whole=self.type is int)
        if self.items and isinstance(value, str | bytes | bytearray) and self.items[0].type is not Any:
            return False
        return isinstance(value, self.type) and self.wrong_item(value) is None

    def wrong_item(self, value: object) -> int | None:
        """Where in a list or the like there is something that it does not take."""
        if not self.items or not _is_list(value):
            return None
        return next((at for at, one in enumerate(value) if not any(kind.takes(one) for kind in self.items)), None)

    def called(self, *, several: bool = False) -> str:
        """What a value of it is called, or several are."""
        if self.items:
            return f"a list of {_either([kind.called(several=True) for kind in self.items])}"
        one, more = _CALLED.get(self.type, (f"a {self.type.__name__}", f"{self.type.__name__}s"))
        return more if several else one


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """A function that is called only with arguments of the types that its parameters are annotated with.

    It raises :class:`ArgumentError` for any other. What is wrong with the call itself, such as an argument that is
    missing, Python says.
    """
    signature = inspect.signature(function)
    kinds = {
        name: _kinds(parameter.annotation, function)
        for name, parameter in signature.parameters.items()
        if parameter.annotation is not parameter.empty
    }

    @wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            given = signature.bind(*arguments, **named).arguments
        except TypeError:
            return function(*arguments, **named)
        for name, value in given.items():
            parameter = signature.parameters[name]
            some = {name: value}
            if parameter.kind is parameter.VAR_KEYWORD:
                some = value
            elif parameter.kind is parameter.VAR_POSITIONAL:
                some = {f"{name}[{at}]": one for at, one in enumerate(value)}
            for shown, one in some.items():
                _check(shown, one, kinds.get(name, ()))
        return function(*arguments, **named)

    return call


def _kinds(annotation: Any, function: Callable[..., Any]) -> tuple[_AcceptedType, ...]:
    if isinstance(annotation, str):  # since a parameter bears the name of its own type
        annotation = eval(annotation, function.__globals__)  # noqa: S307
    if get_origin(annotation) in (Union, UnionType):
        return tuple(kind for part in get_args(annotation) for kind in _kinds(part, function))
    origin = get_origin(annotation) or annotation
    if isinstance(origin, type) and issubclass(origin, Iterable) and get_args(annotation):
        return (_AcceptedType(origin, _kinds(get_args(annotation)[0], function)),)
    return (_AcceptedType(origin),)


def _check(name: str, value: object, kinds: Sequence[_AcceptedType]) -> None:
    if not kinds or any(kind.takes(value) for kind in kinds):
        return
    for kind in kinds:
        at = kind.wrong_item(value)
        if at is not None and _is_list(value):
            name, value, kinds = f"{name}[{at}]", value[at], kind.items
            break
    try:
        shown = printable(repr(value), SHOWN)
    except Exception:  # noqa: BLE001 - it is the argument's own code
        shown = "something"
    wanted = _either([kind.called() for kind in kinds if kind.type is not NoneType])
    raise ArgumentError(f"{name}: expected {wanted}, got {shown}, {type(value).__name__}")


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    """Whether it can be gone through as often as one likes."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _is_number(value: Any, *, whole: bool) -> bool:
    """Whether a number can be made of it that is one: not of an array, nor of a text."""
    if not hasattr(type(value), "__index__") and (whole or not hasattr(type(value), "__float__")):
        return False
    try:
        return not isnan(float(index(value) if whole else value))
    except Exception:  # noqa: BLE001 - it is the argument's own code
        return False


def _either(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
