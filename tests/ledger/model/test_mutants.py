"""The clerk is no yes-man: a ledger that forgets one rule differs from his books at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clawpurse.ledger.kernel.witness import SessionMeter
from clawpurse.modules.anchor import chain as anchor
from clawpurse.modules.compliance import hook
from tests.ledger.model.ledgers import Ledgers
from tests.ledger.model.story import tell

Mutant = Callable[[pytest.MonkeyPatch], None]


def cap_not_charged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SessionMeter, "charge", lambda self, asset, amount, recipient: None)


def payments_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(hook, "_count", lambda context, policies, facts, movement: None)


def log_root_taken_without_proof(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(anchor, "verify_consistency", lambda *facts: True)


def told() -> None:
    story = Ledgers()
    story.found()
    tell(story)


@pytest.mark.parametrize(
    "mutant", [cap_not_charged, payments_not_counted, log_root_taken_without_proof]
)
def test_a_ledger_that_forgets_a_rule_is_caught(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        told()
