"""All modules at once against the clerk's dictionaries: anything anybody does, in any order.

Where the two disagree, somebody has too much or too little, or was allowed what nobody said. After
each block the books add up, the blocks so far lead to the same roots from genesis, and the state
is the same after the store was closed, with everything in it that can be rebuilt taken away.
"""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import seed, settings
from hypothesis.stateful import run_state_machine_as_test

from clawpurse.modules.registry import build_registry
from tests.ledger.model.ledgers import Ledgers
from tests.ledger.model.story import tell

PINNED = 5


class Pinned(Ledgers):
    """Remembers what was tried in all its examples."""

    tried: ClassVar[set[tuple[str, bool]]] = set()

    def teardown(self) -> None:
        super().teardown()
        type(self).tried |= self.world.tried


def test_whatever_is_done_the_ledger_does_as_the_clerk_says_and_no_action_is_left_out() -> None:
    """An action that is added and not tried here, with success and without, fails this."""
    story = Pinned()
    story.found()
    tell(story)
    story.teardown()
    sizes = settings(max_examples=35, stateful_step_count=40, deadline=None, database=None)
    run_state_machine_as_test(seed(PINNED)(Pinned), settings=sizes)
    registered = {action.name for one in build_registry().modules for action in one.actions}
    assert {name for name, done in Pinned.tried if done} == registered
    assert {name for name, done in Pinned.tried if not done} == registered


class Large(Ledgers):
    """Longer stories, more of them, others each time."""


TestLarge = pytest.mark.full(Large.TestCase)
TestLarge.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
