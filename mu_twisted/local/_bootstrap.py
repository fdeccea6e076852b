"""The bootstrap runs a module of this directory without the project: ``python -I -S _bootstrap.py MODULE [ARGUMENTS]``.

The processes below must not have ``mu_twisted`` or its packages: an environment's are to come from the function's own
zip. So the directory becomes a package by another name, whose modules import the standard library and one another.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

NAME = "_mu_local"


def main(arguments: list[str]) -> None:
    """Call the module's ``main`` with the arguments after its name."""
    package = ModuleType(NAME)
    package.__path__ = [str(Path(__file__).parent)]
    sys.modules[NAME] = package
    importlib.import_module(f"{NAME}.{arguments[0]}").main(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
