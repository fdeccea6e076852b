"""How often a part is started again."""

from __future__ import annotations

from mu_twisted.local._restart_budget import RestartBudget


def test_so_many_starts_are_granted_within_the_time_and_more_after_it() -> None:
    budget = RestartBudget(2, 10.0)
    assert [budget.once_more(now) for now in (0.0, 1.0, 9.9, 10.0, 10.5, 11.0)] == [
        True,
        True,
        False,
        True,
        False,
        True,
    ]
