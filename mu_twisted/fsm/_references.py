"""A reference names the state after this one: a class, its name, or a callable; so states stand in reading order."""

import sys
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeAlias

from mu_twisted.fsm._errors import FSMError

if TYPE_CHECKING:
    from mu_twisted.fsm._states import MachineState

StateReference: TypeAlias = "type[MachineState] | str | Callable[[], type[MachineState] | str]"
"""A state class; its name; or a callable that returns one of these: ``lambda: Upload``."""


def state_class(state: "MachineState", attribute: str) -> "type[MachineState]":
    """The class that an attribute of a state stands for.

    A name is looked up in the module whose class sets the attribute, then in the module of the state's own class.

    :raises FSMError: it stands for no state.
    """
    value, owner = _raw(state, attribute)
    if isinstance(value, staticmethod):
        value = value.__func__
    elif isinstance(value, FunctionType) and owner is not None and _takes_self(value):
        value = value.__get__(state)
    return resolve(value, attribute, owner or type(state), type(state))


def resolve(value: Any, attribute: str, *owners: type) -> "type[MachineState]":
    """The class that a reference stands for.

    :param attribute: where the reference was found, for the error.
    :param owners: classes in whose modules a name is looked up.
    :raises FSMError: it stands for no state.
    """
    from mu_twisted.fsm._states import MachineState  # noqa: PLC0415 - the states need this module first

    found = value
    if callable(found) and not isinstance(found, type):
        found = found()
    if isinstance(found, str):
        name, found = found, _named(found, owners)
        if found is None:
            modules = " or ".join(dict.fromkeys(owner.__module__ for owner in owners))
            raise FSMError(f"{attribute} names {name!r}, and there is no such state in {modules}")
    if not (isinstance(found, type) and issubclass(found, MachineState)):
        raise FSMError(f"{attribute} is {found!r}: give a state class, its name, or a callable that returns it")
    return found


def _raw(state: "MachineState", attribute: str) -> tuple[Any, type | None]:
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
