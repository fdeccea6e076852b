"""The codec turns dataclasses into JSON's objects and back, and takes nothing on trust on the way back.

A field's annotation says what may stand in it; anything else, a missing member and a strange one are refused.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import Enum
from typing import Annotated, Any, TypeVar, get_type_hints

import msgspec

from mu_twisted.base.json_types import Json
from mu_twisted.base.steps import uncollected
from mu_twisted.jobs._errors import JobError, RecordError
from mu_twisted.jobs._failures import Failure
from mu_twisted.jobs._gangs import Pipe
from mu_twisted.jobs._launch_id import LaunchId
from mu_twisted.jobs._policy import JobPolicy
from mu_twisted.jobs._stages import StageRuns

T = TypeVar("T")

_MOST = 1 << 53
"""The largest integer that every JSON library keeps."""
_Natural = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]
_GroupsRead = tuple[tuple[tuple[_Natural, ...], tuple[_Natural, ...]], ...]
_EdgesRead = tuple[tuple[_Natural, tuple[_Natural, ...]], ...]
_StagesRead = tuple[tuple[str, tuple[tuple[_Natural, _Natural], ...]], ...]
_PipesRead = tuple[tuple[_Natural, _Natural, str], ...]


def to_plain(value: object) -> Json:
    """A dataclass of the kinds known here as what ``json`` can write."""
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        # As a whole where that can be: a job may have a hundred thousand numbers, or edges.
        kinds = set(map(type, value))
        if kinds <= {int}:
            return list(value)
        if kinds == {tuple}:
            return value
        return [to_plain(item) for item in value]
    if isinstance(value, frozenset):
        return sorted(value)
    return {name: to_plain(getattr(value, name)) for name in _decoders(type(value))}


def from_plain(kind: type[T], plain: Mapping[str, Json]) -> T:
    """The dataclass that ``to_plain`` has written.

    :raises RecordError: anything is missing, too much or of another type.
    """
    decoders = _decoders(kind)
    added = {field.name for field in fields(kind) if field.metadata.get("added")}  # type: ignore[arg-type]
    if plain.keys() - decoders.keys() or decoders.keys() - plain.keys() - added:
        odd = ", ".join(sorted(str(name) for name in plain.keys() ^ decoders.keys()))
        raise RecordError(f"{kind.__name__}: members are missing or strange: {odd}")
    values = {}
    for name, decode in decoders.items():
        if name not in plain:
            continue
        try:
            values[name] = decode(plain[name])
        except (TypeError, ValueError):
            raise RecordError(f"{kind.__name__}: {name} cannot be {str(plain[name])[:80]!r}") from None
    try:
        return kind(**values)
    except JobError as error:
        raise RecordError(f"{kind.__name__}: {error}") from None


def _decoders(kind: type) -> dict[str, Callable[[Json], Any]]:
    found = _KNOWN.get(kind)
    if found is None:
        hints = get_type_hints(kind)
        found = _KNOWN[kind] = {field.name: _DECODERS[hints[field.name]] for field in fields(kind)}
    return found


_KNOWN: dict[type, dict[str, Callable[[Json], Any]]] = {}


def _integer(value: object) -> int:
    if type(value) is not int or abs(value) > _MOST:
        raise ValueError
    return value


def _natural(value: object) -> int:
    number = _integer(value)
    if number < 0:
        raise ValueError
    return number


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return float(value)


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError
    return value


def _truth(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError
    return value


def _list(value: object) -> list[Json]:
    if type(value) is not list:
        raise ValueError
    return value


EdgePairs = tuple[tuple[int, tuple[int, ...]], ...]
GroupPairs = tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


def _naturals(value: object) -> tuple[int, ...]:
    # As a whole, as in to_plain.
    numbers = tuple(_list(value))
    if numbers and (set(map(type, numbers)) != {int} or min(numbers) < 0 or max(numbers) > _MOST):
        raise ValueError
    return numbers


def _edges(value: object) -> EdgePairs:
    # msgspec, as it is many times faster; it raises a ValueError.
    with uncollected():
        return msgspec.convert(value, _EdgesRead)


def _groups(value: object) -> GroupPairs:
    with uncollected():
        return msgspec.convert(value, _GroupsRead)


def _stages(value: object) -> StageRuns:
    with uncollected():
        return msgspec.convert(value, _StagesRead)


def _pipes(value: object) -> tuple[Pipe, ...]:
    return msgspec.convert(value, _PipesRead)


def _policy(value: object) -> JobPolicy:
    if type(value) is not dict:
        raise ValueError
    return from_plain(JobPolicy, value)


def _or_none(decode: Callable[[Json], Any]) -> Callable[[Json], Any]:
    return lambda value: None if value is None else decode(value)


_DECODERS: dict[Any, Callable[[Json], Any]] = {
    int: _natural,
    int | None: _or_none(_integer),
    float: _number,
    float | None: _or_none(_number),
    str: _text,
    str | None: _or_none(_text),
    LaunchId | None: _or_none(_text),
    bool: _truth,
    tuple[int, ...]: _naturals,
    EdgePairs: _edges,
    GroupPairs: _groups,
    StageRuns: _stages,
    tuple[Pipe, ...]: _pipes,
    frozenset[int] | None: _or_none(lambda value: frozenset(_integer(item) for item in _list(value))),
    Failure | None: _or_none(Failure),
    JobPolicy: _policy,
}


def decodes(kind: type[Enum]) -> type[Enum]:
    """Let fields of this enumeration be read back."""
    _DECODERS[kind] = kind
    return kind
