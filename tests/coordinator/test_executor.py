"""One table says for every action how it is done and what follows where that fails."""

from typing import Any, get_args

import pytest
from job_bench import Bench
from worker_double import ours

from mu_twisted.coordinator.run._executor import TABLE
from mu_twisted.jobs import Abort, Action, Assign, Dismiss, GiveToken, Interrupt, Ping, Record, Warm


def test_every_action_but_a_record_has_its_row() -> None:
    assert set(TABLE) == set(get_args(Action)) - {Record}


@pytest.mark.parametrize(
    "action", [Assign(0, 0, 0), Warm(0), Interrupt(0, "x"), Dismiss(0, "x"), Abort(0, "x"), Ping(0), GiveToken(0)]
)
def test_what_is_for_a_worker_that_was_lost_meanwhile_is_not_done(action: Any) -> None:
    bench = Bench(1)
    bench.run._executor.act(action)
    assert not bench.run.job.over


def test_a_worker_whose_action_fails_is_lost_to_its_job_and_no_other_is() -> None:
    bench = Bench(2)
    first, second = bench.worker(), bench.worker()
    first.says(ours("0-0"))
    second.says(ours("0-1"))

    def fails(*_: bytes) -> None:
        raise OSError("no")

    first.send = fails  # type: ignore[method-assign]
    bench.run._executor.act(Interrupt(first.session.number, "x"))
    bench.turn()
    assert bench.run.counts.workers == 1
    assert not bench.run.job.over
