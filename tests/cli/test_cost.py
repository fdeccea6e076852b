"""A job's cost as `mu status` shows it."""

from mu_twisted.cli import _format

JOB = {"job": "p-1", "state": "done", "pipeline": "p", "tasks": 1, "done": 1, "active": 0, "waiting": 0, "failed": 0}
REST = {"workers": 0, "launches": 0, "submitted": 0.0}
COST = {"requests": 1000, "seconds": 3000.0, "gb_seconds": 6000.0}


def test_the_cost_is_shown_where_it_is_known() -> None:
    assert "cost" not in _format.details({**JOB, **REST})
    assert "cost" not in _format.details({**JOB, **REST, "cost": None})
    priced = {**COST, "price": 0.1002, "currency": "USD", "prices_of": "2025-10-01"}
    told = _format.details({**JOB, **REST, "cost": priced})
    assert "cost      6000.0 GB-seconds, 1000 requests: 0.100200 USD by AWS's price list of 2025-10-01" in told
    assert "estimate" not in told
    estimated = _format.details({**JOB, **REST, "cost": {**priced, "estimated_by": "ap-southeast-2"}})
    assert "2025-10-01, an estimate: the price of ap-southeast-2 stands in for that of its region" in estimated
    assert "-seconds, 1 request: " in _format.details({**JOB, **REST, "cost": {**priced, "requests": 1}})
    assert "1000 requests; no price is known for its region" in _format.details({**JOB, **REST, "cost": COST})
