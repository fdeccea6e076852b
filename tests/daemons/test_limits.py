"""What workers there may be is bounded by the descriptors that the process may have, over all jobs."""

import pytest

from mu_twisted.daemons._limits import SPARE_DESCRIPTORS, LimitError, control_limits, worker_limit


def test_all_jobs_together_have_as_many_workers_as_may_be_connected() -> None:
    assert worker_limit(None, 1024) == 1024 - SPARE_DESCRIPTORS
    assert worker_limit(1024 - SPARE_DESCRIPTORS, 1024) == 1024 - SPARE_DESCRIPTORS
    assert worker_limit(10, 1024) == 10


@pytest.mark.parametrize(("requested", "descriptors"), [(897, 1024), (None, SPARE_DESCRIPTORS), (1, 3)])
def test_a_limit_that_cannot_be_held_is_refused(requested: int | None, descriptors: int) -> None:
    with pytest.raises(LimitError, match="file descriptors"):
        worker_limit(requested, descriptors)


@pytest.mark.parametrize("limit", [256, 1024, 1537, 4096, 20_000, 65_536, 1 << 30])
def test_the_control_api_leaves_half_of_the_spare_descriptors_to_the_journal_and_s3(limit: int) -> None:
    limits = control_limits(limit)
    workers = limit - limits.reserve - SPARE_DESCRIPTORS
    callers = 2 * (2 * limits.connections + limits.unadmitted)
    assert workers + callers + SPARE_DESCRIPTORS // 2 <= limit
    assert limits.connections >= 12
    assert limits.reserve <= limit // 16
