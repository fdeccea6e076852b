"""A reference names the state after this one: a class, its name, or a callable; so states stand in reading order.

Knows classes and modules only, not what a state does.
"""

import sys
from types import FunctionType
from typing import Any, TypeVar

from mu_twisted.fsm._errors import FSMError

StateT = TypeVar("StateT")


def state_class(state: StateT, attribute: str, base: type[StateT]) -> type[StateT]:
    """The class that an attribute of a state stands for.

    A name is looked up in the module whose class sets the attribute, then in the module of the state's own class.

    :param base: what all states inherit from.
    :raises FSMError: it stands for no state.
    """
    value, owner = _raw(state, attribute)
    if isinstance(value, staticmethod):
        value = value.__func__
    elif isinstance(value, FunctionType) and owner is not None and _takes_self(value):
        value = value.__get__(state)
    return resolve(value, attribute, base, owner or type(state), type(state))


def resolve(value: Any, attribute: str, base: type[StateT], *owners: type) -> type[StateT]:
    """The class that a reference stands for.

    :param attribute: where the reference was found, for the error.
    :param base: what all states inherit from.
    :param owners: classes in whose modules a name is looked up.
    :raises FSMError: it stands for no state.
    """
    found = value
    if callable(found) and not isinstance(found, type):
        found = found()
    if isinstance(found, str):
        name, found = found, _named(found, owners)
        if found is None:
            modules = " or ".join(dict.fromkeys(owner.__module__ for owner in owners))
            raise FSMError(f"{attribute} names {name!r}, and there is no such state in {modules}")
    if not (isinstance(found, type) and issubclass(found, base)):
        raise FSMError(f"{attribute} is {found!r}: give a state class, its name, or a callable that returns it")
    return found


def _raw(state: object, attribute: str) -> tuple[Any, type | None]:
    """The attribute as it was written, not bound, and the class that has it (None: the instance)."""
    if attribute in vars(state):
        return vars(state)[attribute], None
    for owner in type(state).__mro__:
        if attribute in vars(owner):
            value = vars(owner)[attribute]
            return (getattr(state, attribute) if isinstance(value, property) else value), owner
    raise FSMError(f"{type(state).__name__} has no {attribute}")


def _takes_self(function: FunctionType) -> bool:
    return function.__code__.co_argcount - len(function.__defaults__ or ()) == 1


def _named(name: str, owners: tuple[type, ...]) -> Any:
    for owner in owners:
        module = sys.modules.get(owner.__module__)
        if module is not None and hasattr(module, name):
            return getattr(module, name)
    return None
