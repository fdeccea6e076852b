"""The worker's modules are compiled here for its package: a function's files cannot be written to, so that each new
environment would compile them again at its start.

Knows sources and this interpreter's bytecode. A Python of another minor version cannot read that.
"""

import importlib.util
import marshal
import sys
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

_UNCHECKED_HASH = 0b01
"""Flags of PEP 552: the import takes the bytecode without looking at the source, whose time a zip does not keep."""
_MARSHAL = 2
"""The last version whose bytes depend on the code alone, and not on what else refers to its constants."""


def own_runtime() -> str:
    """Lambda's identifier of this interpreter, such as ``python3.13``."""
    return "python{}.{}".format(*sys.version_info)


def compiled(modules: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the ``.pyc`` file that this interpreter's import takes for each module, always the same.

    :param modules: name, such as ``package/module.py``, and source of each.
    """
    for name, source in modules:
        path = PurePosixPath(name)
        code = compile(source, name, "exec", dont_inherit=True, optimize=0)
        head = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH.to_bytes(4, "little") + importlib.util.source_hash(source)
        cached = path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
        yield str(cached), head + marshal.dumps(code, _MARSHAL)
