"""How many examples a property is tried on goes with the profile that was chosen: see ``conftest.py``."""

from hypothesis import HealthCheck, settings

SHARED_FIXTURES = [*settings().suppress_health_check, HealthCheck.function_scoped_fixture]
"""What a property leaves to its test whose examples share a test's fixtures, besides what every property does."""


def examples(full: int) -> int:
    """Of so many with the profile ``full``, as many as the chosen profile's share."""
    return max(1, full * settings().max_examples // 100)
