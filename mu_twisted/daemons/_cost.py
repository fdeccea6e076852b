"""What a job costs, from what it has used and where its function is. Pure."""

from collections.abc import Sequence

from mu_twisted.aws import price_in
from mu_twisted.coordinator import CostStatus, Usage
from mu_twisted.daemons._deployment import Deployment


def cost_of(usage: Usage, deployment: Deployment | None, regions: Sequence[str]) -> CostStatus:
    """GB-seconds, requests, and what AWS asks for them, in the dearest of the job's regions.

    :param deployment: the function as it was found; None: not known after a restart, then what workers say counts.
    :param regions: the job's.
    """
    memory_mb = deployment.memory_mb if deployment is not None else usage.memory_mb
    seconds = usage.billed(deployment.timeout.total_seconds() if deployment is not None else None)
    architecture = deployment.architecture if deployment is not None else "x86_64"
    tmp_mb = deployment.tmp_mb if deployment is not None else 512
    used = {place.region for place in deployment.places} if deployment is not None else set(regions)
    prices = [price_in(region, architecture) for region in sorted(used)]
    known = [price for price in prices if price is not None]
    dearest = max(known, key=lambda price: price.gb_second) if len(known) == len(prices) and known else None
    return CostStatus(
        requests=usage.requests,
        seconds=round(seconds, 1),
        gb_seconds=round(seconds * memory_mb / 1024, 3),
        price=None if dearest is None else round(dearest.of(usage.requests, seconds, memory_mb, tmp_mb), 6),
        currency=None if dearest is None else dearest.currency,
        prices_of=None if dearest is None else dearest.date,
        estimated_by=None if dearest is None else dearest.estimated_by,
    )
