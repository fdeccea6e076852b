"""When the other side of a connection is taken for lost, on a clock that stands still."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from worker_lambda.links import _liveness
from worker_lambda.links._liveness import Liveness


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = 100.0

    def pass_(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(_liveness, "time", SimpleNamespace(monotonic=lambda: now))
    return pass_


def test_one_that_answers_pings_is_there_and_one_that_does_not_is_lost(pass_time: Callable[[float], None]) -> None:
    pings: list[None] = []
    liveness = Liveness(8.0, lambda: pings.append(None))
    for _ in range(4):
        assert liveness.check(expected=True) == 2.0
        pass_time(2.0)
    assert len(pings) == 3
    assert not liveness.over
    liveness.heard()
    for _ in range(4):
        assert liveness.check(expected=True) == 2.0
        pass_time(2.0)
    assert not liveness.over
    liveness.check(expected=True)
    assert liveness.over


def test_of_one_that_knows_no_pings_the_answer_is_waited_for(pass_time: Callable[[float], None]) -> None:
    liveness = Liveness(8.0)
    for _ in range(4):
        assert liveness.check(expected=True) == 2.0
        assert not liveness.over
        pass_time(2.0)
    assert liveness.check(expected=True) == 0.0
    assert liveness.over


def test_who_stood_still_itself_judges_no_other(pass_time: Callable[[float], None]) -> None:
    liveness = Liveness(8.0, lambda: None)
    liveness.check(expected=True)
    pass_time(100.0)
    liveness.check(expected=True)
    assert not liveness.over


@pytest.mark.parametrize("kept", [{"expected": False}, {"expected": True, "held": True}])
def test_silence_counts_only_while_something_is_expected_and_read(
    pass_time: Callable[[float], None], kept: dict[str, bool]
) -> None:
    liveness = Liveness(8.0, lambda: None)
    for how in ({"expected": True}, kept, {"expected": True}):
        for _ in range(3):
            liveness.check(**how)
            pass_time(2.0)
    assert not liveness.over
    for _ in range(2):
        liveness.check(expected=True)
        pass_time(2.0)
    assert liveness.over
