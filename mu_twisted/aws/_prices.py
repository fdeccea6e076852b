"""Lambda's prices are looked up in a dated table (``prices.json``) and nowhere else. Pure."""

import functools
import importlib.resources
import json
from dataclasses import dataclass
from typing import Any

FREE_TMP_MB = 512
"""MB of temporary files that cost nothing."""


@dataclass(frozen=True)
class Price:
    """The prices of one region.

    :param date: of the table, as YYYY-MM-DD.
    :param currency: such as USD.
    :param request: for one.
    :param gb_second: for a GB of memory and a second.
    :param tmp_gb_second: for a GB of temporary files above the free ones, and a second.
    :param estimated_by: the region whose price this is, where that of the region itself is not known; else None.
    """

    date: str
    currency: str
    request: float
    gb_second: float
    tmp_gb_second: float
    estimated_by: str | None = None

    def of(self, requests: int, seconds: float, memory_mb: int, tmp_mb: int = FREE_TMP_MB) -> float:
        """Compute the list price, without free tier, discounts, traffic and S3.

        :param requests: number of invocations.
        :param seconds: the time that functions ran, in total.
        :param memory_mb: of a function, MB.
        :param tmp_mb: of a function, MB.
        """
        memory, more = memory_mb / 1024, max(0, tmp_mb - FREE_TMP_MB) / 1024
        return requests * self.request + seconds * (memory * self.gb_second + more * self.tmp_gb_second)


def price_in(region: str, architecture: str) -> Price | None:
    """Look up the prices in a region, for ``x86_64`` or ``arm64``; None where the table does not have them."""
    table = _table()
    estimated_by = table["estimated_by"].get(region)
    listed = estimated_by or region
    if listed in table["others"]:
        prices = table["others"][listed]
    elif listed in table["tmp_gb_second"]:
        prices = {**table, "tmp_gb_second": table["tmp_gb_second"][listed]}
    else:
        return None
    by_memory = prices["gb_second"].get(architecture)
    if by_memory is None:
        return None
    return Price(table["date"], table["currency"], prices["request"], by_memory, prices["tmp_gb_second"], estimated_by)


@functools.cache
def _table() -> dict[str, Any]:
    text = importlib.resources.files("mu_twisted.aws").joinpath("prices.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table
