"""The types of JSON's values are named here. Not imported with the package: a worker starts without ``typing``."""

from typing import Any, TypeAlias

Json: TypeAlias = Any
"""What JSON can say: null, a truth, a number, a text, or an array or object of these; its reader checks which it is."""
JsonObject: TypeAlias = dict[str, Json]
"""An object of JSON, by the names of its members."""
