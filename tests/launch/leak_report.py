"""Which leaks of a LeakSanitizer's report are the extension's: those on whose way to the allocator its code stands.

What the interpreter and the certificate's makers keep for good depends on how they were built, and is theirs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_LEAK = re.compile(r"^(?:Direct|Indirect) leak of \d+ byte", re.MULTILINE)
_FRAME = re.compile(r"^ *#\d+ .*(?:/_launch\.[^/ ]*\.so\b|\blaunch/\w+\.c:\d)", re.MULTILINE)


def ours(report: str) -> list[str]:
    """The leaks that have a frame of the extension, by its object or by its sources.

    :param report: what the sanitizer wrote.
    """
    starts = [found.start() for found in _LEAK.finditer(report)]
    leaks = [report[start:end] for start, end in zip(starts, [*starts[1:], len(report)], strict=True)]
    return [leak.split("\n\n")[0] for leak in leaks if _FRAME.search(leak)]


if __name__ == "__main__":
    found = [leak for path in sys.argv[1:] for leak in ours(Path(path).read_text(errors="replace"))]
    sys.stdout.write("\n\n".join(found or ["no leak passes through the extension"]) + "\n")
    sys.exit(1 if found else 0)
