"""Policies that ask for scores of risk, with the real module `risk` behind them.

If these failed, a payment of an account that several oracles warn of would go through, or one
would be stopped by a score that is over.
"""

from __future__ import annotations

from typing import Any

from clawpurse.ledger.crypto import message_hash_of
from clawpurse.ledger.errors import Code
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.risk import chain as risk
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, Key
from tests.modules.officers_world import ADMIN, HOUR_MS, Desk, deny, hold, when

MODEL = message_hash_of(b"model")
ORACLES = (CAROL, DAVE)


class Watched(Desk):
    """Two oracles, both of whom must report; payments in EUR from 500 on are refused or held."""

    def __init__(self, *rules: list[Any]) -> None:
        super().__init__(risk.MODULE)
        members: list[Any] = sorted(one.account for one in ORACLES)
        self.do(ADMIN, RawAction("risk.setOracles", [members, 2]))
        self.enact(*rules)

    def reported(self, score: int, *oracles: Key, for_ms: int = HOUR_MS) -> None:
        for oracle in oracles:
            until = self.time_ms + 1_000 + for_ms
            self.do(oracle, RawAction("risk.report", [ALICE.account, score, MODEL, 1, until]))


def test_a_payment_is_refused_by_what_enough_oracles_say_and_as_long_as_they_say_it() -> None:
    chain = Watched(deny("risky", when("risk-at-least", "source", number=500)))
    assert chain.try_pay().code == 0
    chain.reported(900, CAROL)
    assert chain.try_pay().code == 0  # One oracle alone says nothing.
    chain.reported(700, DAVE, for_ms=HOUR_MS // 2)
    receipt = chain.try_pay()
    assert (receipt.code, receipt.rule) == (Code.POLICY_REJECTED, "compliance.denied")
    assert chain.try_pay(BOB, ALICE).code == 0  # It asks for the payer's score.
    chain.block(after_ms=HOUR_MS // 2)
    assert chain.try_pay().code == 0
    chain.reported(499, DAVE)
    assert chain.try_pay().code == 0
    chain.reported(500, DAVE)
    assert chain.try_pay().rule == "compliance.denied"
    chain.do(ADMIN, RawAction("risk.setOracles", [[CAROL.account], 1]))
    chain.do(CAROL, RawAction("risk.withdraw", [ALICE.account]))
    assert chain.try_pay().code == 0


def test_a_payment_is_held_by_a_score_and_one_without_score_too() -> None:
    chain = Watched(
        hold("risky", when("risk-at-least", "source", number=500)),
        hold("unknown", when("risk-missing", "source"), when("amount-at-least", number=1_000)),
    )
    held = chain.pay(ALICE, RawAction("assets.transfer", ["EUR", BOB.account, 2_000]))
    assert held.receipts[0].code == 0
    assert [one.kind for one in held.events if one.kind == "kernel.held"] == ["kernel.held"]
    before = chain.balance(BOB, "EUR")
    chain.reported(600, *ORACLES)
    held = chain.pay(ALICE, RawAction("assets.transfer", ["EUR", BOB.account, 5]))
    assert [one.kind for one in held.events if one.kind == "kernel.held"] == ["kernel.held"]
    chain.reported(10, *ORACLES)
    assert chain.try_pay(amount=2_000).code == 0
    assert chain.balance(BOB, "EUR") == before + 2_000
