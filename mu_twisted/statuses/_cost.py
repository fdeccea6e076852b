"""A job's cost is one value for the layer that computes it and for those that show it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What a job has cost so far on Lambda, or would have on AWS.

    :param requests: launches that Lambda has taken.
    :param seconds: for which workers ran, added up; ``gb_seconds`` the same times their function's memory.
    :param price: by AWS's list, in ``currency``; None, as what follows, where the list does not have the region.
    :param prices_of: the list's date, as YYYY-MM-DD.
    :param estimated_by: the region whose price was taken, where that of the job's region is not known.
    """

    requests: int
    seconds: float
    gb_seconds: float
    price: float | None = None
    currency: str | None = None
    prices_of: str | None = None
    estimated_by: str | None = None
