"""Options of a function that is made of a program make no sense without the program."""

from typing import Any

import pytest
from twisted.python.usage import UsageError

from mu_twisted.daemons.program import PROGRAM_KEYS, check_program


@pytest.mark.parametrize(("key", "value"), [("requirements", "wheels.txt"), ("requirements", ""), ("allow-ld", 1)])
def test_without_a_program_they_are_refused_even_if_they_are_empty(key: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"--{key} says how the function of --program is made: give that, too"):
        check_program({**dict.fromkeys(PROGRAM_KEYS), "allow-ld": 0, key: value}, None)


def test_a_flag_that_is_not_given_is_none() -> None:
    check_program({**dict.fromkeys(PROGRAM_KEYS), "allow-ld": 0}, "f")
