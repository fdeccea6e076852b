"""The bounds of a function's settings are read from botocore's model of Lambda's API. AWS may allow an account less."""

from functools import cache
from typing import Any


@cache
def setting_bounds(member: str) -> tuple[int, int]:
    """The least and the greatest value of a setting.

    :param member: of ``CreateFunction``'s request: ``MemorySize`` and ``EphemeralStorage`` are MB, ``Timeout`` seconds.
    """
    from botocore.loaders import Loader  # a tenth of a second, for commands that are given no setting
    from botocore.model import ServiceModel

    model = ServiceModel(Loader().load_service_model("lambda", "service-2"), "lambda")
    request: Any = model.operation_model("CreateFunction").input_shape
    shape = request.members[member]
    if shape.type_name == "structure":
        shape = shape.members["Size"]
    return shape.metadata["min"], shape.metadata["max"]
