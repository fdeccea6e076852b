"""Masking takes keys, tokens and signatures out of texts that others have written, before a user or a log sees them.

A key is known by what stands before it, or by its form: AWS's secret keys are forty characters of base64, its session
tokens hundreds, drawn at random. Words, paths and names of that length are not like that: in them a letter is mostly
followed by one of its own kind, and in what was drawn at random mostly not.
"""

import re
from itertools import pairwise

MASK = "..."
_NAMED = re.compile(
    r"""(?ix)
    (
        (?: secret | token | signature | password | passwd | credential ) [a-z_-]{0,20}
        ["']? \s? [=:] \s? ["']?
    )
    [A-Za-z0-9+/=\\%._~-]{8,}
    """
)
"""``X-Amz-Signature=...``, ``AWS_SECRET_ACCESS_KEY: ...``, ``"SessionToken":"..."``."""
_USER = re.compile(r"(https?://)[^/?#\s@]*@")
"""Stands before the host of a URL: a user, and perhaps a password."""
_LONG = re.compile(r"[A-Za-z0-9+/=\\]{40,}")
_DIGEST = re.compile(r"(?<![A-Za-z0-9+=])[0-9a-f]{32,}(?![A-Za-z0-9+=])")
"""Names files and commits, and no key of AWS's is like it. A signature is, but something before it says so."""
_SECRET_KEY = 40
"""Characters of a secret key."""
_RANDOM, _KEY_LIKE = 0.35, 0.3
"""Of the neighbours in base64 that was drawn at random 65 % are of two kinds (small letter, capital, digit); in words,
also joined by capitals, and in paths about 25 %. What is as long as a secret key is masked at less: of those that are
drawn at random not one in ten thousand has so few."""


def masked(text: str) -> str:
    """The text with ``...`` for what is, or may be a part of, a key, a token or a signature.

    Exact secrets that the caller knows are the caller's to take out first.
    """
    return _LONG.sub(_masked_run, _NAMED.sub(rf"\1{MASK}", _USER.sub(rf"\1{MASK}@", text)))


def _masked_run(found: re.Match[str]) -> str:
    run = found[0]
    return MASK if _is_random(run) else run


def _is_random(run: str) -> bool:
    kinds = [_kind(c) for c in _DIGEST.sub("", run) if c.isalnum()]
    changes = sum(one != other for one, other in pairwise(kinds))
    return changes > (_KEY_LIKE if len(run) == _SECRET_KEY else _RANDOM) * len(kinds)


def _kind(c: str) -> int:
    return 0 if c.isdigit() else 1 if c.islower() else 2
