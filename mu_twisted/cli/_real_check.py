"""``mu doctor --real`` prints a script that checks mu on an account of AWS's, and what each of its steps may cost.

It runs nothing and sends nothing: the bounds are computed of the price list that comes with mu.
"""

import importlib.resources
from importlib.metadata import version

from mu_twisted.aws import AWSError, Price, check_region, price_in

MEMORY, TIMEOUT, WORKERS = 512, 60, 4
"""MB of the script's function, seconds that one of its workers may run, and how many of them run."""
MAX_COST = 0.05
"""USD at which the script's job is ended."""
S3_REQUEST = 0.00001
"""USD that a request to S3 is taken to cost: twice what AWS's list says of the dearest kind in us-east-1."""
_REQUESTS = {"BUCKET_COST": 10, "JOB_COST": 100, "RESULTS_COST": 50, "CLEAN_UP_COST": 50}
"""Requests to S3 that a step makes at most, those that are made again for a fault of the network with them."""
_INVOCATIONS = {"DOCTOR_COST": 2, "JOB_COST": WORKERS + 2}
"""Invocations of a step whose whole time is to be paid; in the job those that ``--max-cost`` comes too late for."""


def script(region: str) -> str:
    """The script for a region.

    :param region: where everything is made.
    :raises mu_twisted.aws.AWSError: there is none of this name, or no price is known of it in USD.
    """
    check_region(region)
    price = price_in(region, "x86_64")
    if price is None or price.currency != "USD":
        raise AWSError(f"what a check would cost in {region} is not known: set REGION to another region")
    bounds = cost_bounds(price)
    total = sum(bounds.values())
    settings = {"REGION": region, "MEMORY": MEMORY, "TIMEOUT": TIMEOUT, "WORKERS": WORKERS, "MAX_COST": MAX_COST}
    settings.update({name: f"{bound:.6f}" for name, bound in {**bounds, "TOTAL_COST": total}.items()})
    body = importlib.resources.files("mu_twisted.cli").joinpath("real_check.sh").read_text(encoding="utf-8")
    head = f"""\
#!/usr/bin/env bash
# Checks mu {version("mu-twisted")} on a real account: with the credentials of AWS's own tools, in {region}, from a host
# that Lambda can reach. Costs {total:.2f} USD at most by AWS's price list of {price.date}, the host and the log's few
# lines not among it.
"""
    return head + "".join(f"{name}={value}\n" for name, value in settings.items()) + body


def cost_bounds(price: Price) -> dict[str, float]:
    """What each step of the script may cost at most, in the price's currency, by the script's name for it."""
    bounds = {name: requests * S3_REQUEST for name, requests in _REQUESTS.items()}
    for name, invocations in _INVOCATIONS.items():
        bounds[name] = bounds.get(name, 0.0) + price.of(invocations, invocations * TIMEOUT, MEMORY)
    bounds["JOB_COST"] += MAX_COST
    return bounds
