"""The bounds of a function's settings are read from botocore's model of Lambda's API. AWS may allow an account less."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel


@cache
def setting_bounds(member: str) -> tuple[int, int]:
    """The least and the greatest value of a setting.

    :param member: of ``CreateFunction``'s request: ``MemorySize`` and ``EphemeralStorage`` are MB, ``Timeout`` seconds.
    """
    model = ServiceModel(Loader().load_service_model("lambda", "service-2"), "lambda")
    request: Any = model.operation_model("CreateFunction").input_shape
    shape = request.members[member]
    if shape.type_name == "structure":
        shape = shape.members["Size"]
    return shape.metadata["min"], shape.metadata["max"]


def bounded_setting(member: str) -> Callable[[str], int]:
    """A converter of a setting's text. It reads the model when it is first called, which takes 20 ms.

    :param member: as in :func:`setting_bounds`.
    :returns: raises ValueError for what is no whole number within the bounds.
    """

    def convert(text: str) -> int:
        low, high = setting_bounds(member)
        if not (text.isascii() and text.isdecimal()) or not low <= int(text) <= high:
            raise ValueError(f"expected a whole number from {low} to {high}, got {text!r}")
        return int(text)

    return convert
