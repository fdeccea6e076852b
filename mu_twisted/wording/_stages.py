"""Stages that are under way are named here in a few words."""

from collections.abc import Mapping, Sequence

from mu_twisted.base.json_types import Json

SHOWN = 3
"""Stages that one line names."""


def stages_under_way(stages: Sequence[Mapping[str, Json]]) -> str:
    """The stages that have begun and are not over, in a few words; empty: there is none.

    :param stages: as a job's status has them in JSON.
    """
    going = [one for one in stages if one["active"] or 0 < one["done"] + one["failed"] < one["tasks"]]
    shown = ", ".join(f"{one['name']} {one['done']}/{one['tasks']}" for one in going[:SHOWN])
    return f"{shown} and {len(going) - SHOWN} more" if len(going) > SHOWN else shown
