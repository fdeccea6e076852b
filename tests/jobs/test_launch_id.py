"""A launch id has one form inside, and its job's name before it outside."""

import pytest

from mu_twisted.jobs import LaunchId, job_in, launch_id_in, launch_name


@pytest.mark.parametrize("job", ["exec-1f", "a/b", ""])
def test_a_name_gives_back_what_was_put_in(job: str) -> None:
    assert launch_id_in(job, launch_name(job, LaunchId("3-17"))) == "3-17"


def test_the_name_of_another_job_or_of_none_is_left_as_it_is() -> None:
    assert launch_id_in("j", "other/0-1") == "other/0-1"
    assert launch_id_in("j", "0-1") == "0-1"
    assert (job_in("other/0-1"), job_in("0-1"), job_in("")) == ("other", None, None)
