"""Named messages against the model: in the store alone, and between connections of the transport's core, which carries
some of the streams by itself.
"""

import pytest
from carried_links import CarriedAgainst
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from links_model import Against
from property_examples import examples

TestAgainstTheModel = Against.TestCase
TestAgainstTheModel.settings = settings(max_examples=examples(100), stateful_step_count=50, deadline=None)

TestCarriedAgainstTheModel = CarriedAgainst.TestCase
TestCarriedAgainstTheModel.settings = settings(max_examples=examples(10), stateful_step_count=25, deadline=None)


@pytest.mark.long
def test_carried_against_the_model_for_long() -> None:
    run_state_machine_as_test(
        CarriedAgainst, settings=settings(max_examples=100, stateful_step_count=50, deadline=None)
    )
