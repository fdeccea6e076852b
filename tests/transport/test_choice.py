"""The core carries connections unless it is not there, or the environment says otherwise; both are logged."""

import sys
from typing import Any

import pytest
from transport_contract import _log  # noqa: F401

from mu_twisted.transport import Transport, TransportChoiceError, choose_transport

CORE = "mu_twisted.transport._core"


def test_the_core_is_chosen_where_it_is_there(log: list[str]) -> None:
    pytest.importorskip(CORE)
    for environ in ({}, {"MU_TRANSPORT": ""}, {"MU_TRANSPORT": "core"}):
        assert choose_transport(environ) is Transport.CORE
    assert log == []


def test_twisted_is_chosen_by_the_environment_and_told(log: list[str]) -> None:
    assert choose_transport({"MU_TRANSPORT": "twisted"}) is Transport.TWISTED
    assert log == ["connections are carried by Twisted's TLS, as MU_TRANSPORT says"]


@pytest.fixture
def without_core(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, CORE, None)
    monkeypatch.delattr("mu_twisted.transport._core", raising=False)


def test_without_the_core_there_is_one_line_and_twisted(log: list[str], without_core: None) -> None:
    assert choose_transport({}) is Transport.TWISTED
    assert len(log) == 1
    assert "the transport's core is not there" in log[0]
    assert "install" in log[0]


def test_a_core_that_was_asked_for_and_is_not_there_is_an_error(without_core: None) -> None:
    with pytest.raises(TransportChoiceError, match="MU_TRANSPORT=core: the transport's core is not there"):
        choose_transport({"MU_TRANSPORT": "core"})


@pytest.mark.parametrize("word", ["Core", "c", "1", " twisted"])
def test_another_word_is_an_error_that_names_both(word: str) -> None:
    with pytest.raises(TransportChoiceError, match="expected core or twisted") as caught:
        choose_transport({"MU_TRANSPORT": word})
    assert caught.value.misuse
