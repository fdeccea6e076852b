"""A launch id names one launch within its job; outside, in events and greetings, it stands behind the job's name.

Everything inside the coordinator has the bare id. The job's name is put before it and taken off it here and nowhere
else: where launches go out, where a greeting comes in, and where a token is made of it.
"""

from typing import NewType

LaunchId = NewType("LaunchId", str)
"""Unique within the job, relaunches and restarts of the coordinator included; ``3-17`` is number 17 of generation 3."""


def launch_name(job: str, launch_id: str) -> str:
    """What a launch of this job is called outside: ``JOB/ID``."""
    return f"{job}/{launch_id}"


def launch_id_in(job: str, name: str) -> LaunchId:
    """The launch id in a name; one that is not of this job is left as it is, and no launch of the job is called so."""
    return LaunchId(name.removeprefix(f"{job}/"))


def job_in(name: str) -> str | None:
    """The job in a launch's name; None where it says none."""
    job, slash, _ = name.partition("/")
    return job if slash else None
