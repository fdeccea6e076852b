"""What daemons log and print is searched for secrets: the keys that the tests have made, and any private key.

Logs are found by their names below a directory; what daemons print is handed over as they end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

MARK = b"PRIVATE KEY-----"
LOG_NAMES = frozenset({"log", "twistd.log"})
MAX_LOG = 64 << 20
"""Bytes of a file; of a longer one the last ones are looked at."""
WHOLE_LINE = 40
"""Characters of a line of a key that is looked for: a shorter one may stand anywhere."""


def found(directory: Path, printed: Iterable[str] = ()) -> list[str]:
    """Where a secret of the directory, or any private key, stands in a log or in what was printed; a line for each.

    :param directory: below which keys and logs lie.
    :param printed: by daemons.
    """
    files = [Path(folder) / name for folder, _, names in os.walk(directory) for name in names]
    secrets = {secret for path in files for secret in _secrets(path)} | {MARK}
    texts = [(str(path), _content(path)) for path in files if path.suffix == ".log" or path.name in LOG_NAMES]
    texts += [("what a daemon printed", text.encode("utf-8", "surrogateescape")) for text in printed]
    return [f"{where}: {len(one)} bytes of a key" for where, text in texts for one in secrets if one in text]


def _secrets(path: Path) -> Iterator[bytes]:
    """Each long line of a private key, and the secret of an embedded stack."""
    if path.suffix == ".pem":
        for part in _content(path).split(b"-----BEGIN ")[1:]:
            head, _, body = part.partition(b"-----")
            if head.endswith(b"PRIVATE KEY"):
                yield from (line for line in body.partition(b"-----END")[0].split() if len(line) >= WHOLE_LINE)
    elif path.name == "keys.json":
        with suppress(ValueError, KeyError, TypeError):
            yield json.loads(_content(path))["secret_key"].encode()


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():  # a socket, or gone since
            return b""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - MAX_LOG))
            return file.read()
    except OSError:
        return b""
