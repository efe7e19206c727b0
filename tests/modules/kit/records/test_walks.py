"""Walks that nobody wrote down, on SQLite and on a real PostgreSQL: both must answer the same."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger.errors import Bug
from clawpurse.modules.kit.entities.flows import Flow
from clawpurse.modules.kit.testing.walks import Walk, Walker, random_walk
from tests.modules.kit.records.desk import KINDS, Desk

ROLES = ("support.agent", "support.lead", "finance")


def walked(random: Random, steps: int, desk: Desk) -> Walk:
    return random_walk(KINDS, desk.do, Walker(random, ROLES), steps)


@settings(max_examples=5, deadline=None)
@given(st.randoms(use_true_random=False))
def test_whatever_is_tried_records_answer_as_they_were_declared(random: Random) -> None:
    """Otherwise some order of steps leads past the flow, or to a row without its history."""
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder) / "desk.db")
        desk.make()
        try:
            walked(random, 40, desk)
        finally:
            desk.database.close()


@pytest.mark.full
def test_a_long_walk_does_every_kind_of_step(desk: Desk) -> None:
    """Otherwise the walks look thorough and try the same three things."""
    walk = walked(Random(28), 1_200, desk)
    done = {line.partition(":")[0] for line in walk.done if line.endswith(": done")}
    assert done == {
        *("create customer", "create ticket", "update customer", "update ticket"),
        *("close of customer", "assign of ticket", "resolve of ticket", "pay_back of ticket"),
        *("approve pay_back", "reopen of ticket", "drop of ticket"),
        *("create visit", "update visit", "plan of visit", "wait of visit", "go_on of visit"),
        *("hold of visit", "give_consent to contact", "withdraw_consent to contact"),
        *("give_consent to health", "withdraw_consent to health"),
    }


@pytest.mark.parametrize("mutant", ["role", "history", "version"])
def test_a_walk_catches_records_that_answer_wrongly(
    desk: Desk, mutant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise these walks would stay green whatever records did."""
    from clawpurse.modules.kit.records import work as records

    if mutant == "role":
        monkeypatch.setattr(
            Flow, "refusal", lambda self, name, at, *, roles, now_ms, given=None: None
        )
    elif mutant == "history":
        monkeypatch.setattr(
            records.Work, "_note", lambda self, record, move, values, names, key: None
        )
    else:
        monkeypatch.setattr(
            records.Work, "_current", lambda self, kind, number, version: self.get(kind, number)
        )
    with pytest.raises((Bug, TypeError, KeyError)):
        walked(Random(3), 300, desk)
