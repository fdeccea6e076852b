"""The client in asyncio: waiting holds neither the event loop nor a program that ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from control_server import Served

from mu_twisted import connect

GIVES_UP = """
import asyncio, sys
from mu_twisted import connect

async def work():
    async with connect(state_dir=sys.argv[1]).asyncio as mu:
        job = (await mu.jobs())[0]
        print(job.name, (await job.status()).state)
        waiting = [asyncio.ensure_future(job.wait()) for _ in range(40)]
        done, _ = await asyncio.wait(waiting, timeout=0.2)
        print(len(done), (await job.status()).state)

asyncio.run(work())
"""


def test_a_program_that_gives_up_waiting_ends(served: Served) -> None:
    """Also while more wait than a pool of threads would have room for."""
    job = connect(state_dir=served.state).run("exec", "-n", "1", "--", "date")
    words = [sys.executable, "-c", GIVES_UP, str(served.state)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{job.name} running\n0 running\n"


def test_what_a_call_raises_is_raised_where_it_is_awaited(served: Served) -> None:
    async def work() -> None:
        mu = connect(state_dir=served.state).asyncio
        job = await mu.run("exec", "-n", "1", "--", "date")
        with pytest.raises(TimeoutError, match="is not over after 0.05 s"):
            await job.wait(0.05)
        assert (await job.cancel()).state == "cancelled"

    asyncio.run(work())
