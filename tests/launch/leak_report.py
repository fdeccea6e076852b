"""Which leaks of a LeakSanitizer's report are the extension's: those on whose way to the allocator its code stands.

What the interpreter and the certificate's makers keep for good depends on how they were built, and is theirs. So is
what is lost once in a process where we did the same many times: names that Python keeps from their first use on.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_LEAK = re.compile(r"^(?:Direct|Indirect) leak of \d+ byte\(s\) in (\d+) object", re.MULTILINE)
_FRAME = re.compile(r"^ *#\d+ .*(?:/_launch\.[^/ ]*\.so\b|\blaunch/\w+\.c:\d)", re.MULTILINE)


def ours(report: str) -> list[str]:
    """The leaks of more than one object that have a frame of the extension, by its object or by its sources.

    :param report: what the sanitizer wrote.
    """
    leaks = [report[found.start() :].split("\n\n")[0] for found in _LEAK.finditer(report) if int(found[1]) > 1]
    return [leak for leak in leaks if _FRAME.search(leak)]


if __name__ == "__main__":
    found = [leak for path in sys.argv[1:] for leak in ours(Path(path).read_text(errors="replace"))]
    sys.stdout.write("\n\n".join(found or ["no leak passes through the extension"]) + "\n")
    sys.exit(1 if found else 0)
