"""How many examples a property is tried on goes with the profile that was chosen: see ``conftest.py``."""

from hypothesis import settings


def examples(full: int) -> int:
    """Of so many with the profile ``full``, as many as the chosen profile's share."""
    return max(1, full * settings().max_examples // 100)
