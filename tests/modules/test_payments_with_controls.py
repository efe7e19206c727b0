"""Payments beside the real controls of issuers and the real policies of officers.

What a warden of the tests does in the other files, assets and compliance do here: the whole path of
a payment that is held, frozen, clawed back, asked for its travel-rule hash or its approvers.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from clawpurse.ledger.errors import Code
from clawpurse.ledger.genesis import GenesisRole
from clawpurse.modules.payments import chain as payments
from tests.ledger.sandbox import ALICE, BOB, CAROL, Key, transfer
from tests.modules.council import event
from tests.modules.issuance import CONTROLS, ISSUER, create, mint
from tests.modules.issuance import act as asset_act
from tests.modules.officers_world import (
    ADMIN,
    DAY_MS,
    OFFICERS,
    OPENING,
    Desk,
    deny,
    hold,
    set_subject,
    when,
)
from tests.modules.payments_world import act

LOCK = hashlib.sha256(b"s").digest()
THIEF = Key("thief")


class Bank(Desk):
    """An issuer of EURX, three officers, payments, policies."""

    def __init__(self) -> None:
        roles = [GenesisRole("admin", ADMIN.account), GenesisRole("issuer", ISSUER.account)]
        roles += [GenesisRole("compliance", one.account) for one in OFFICERS[:3]]
        super().__init__(
            payments.MODULE,
            roles=tuple(sorted(roles)),
            opening={**OPENING, THIEF: {"CLAW": 1_000}},
        )
        self.do(ISSUER, create(flags=CONTROLS))
        self.do(ISSUER, mint(ALICE, 10_000))

    def made(self, name: str, *values: Any, kind: str, place: int = 2) -> bytes:
        """The id of what Alice promises."""
        found = event(self.pay(ALICE, act(name, *values)), kind)[3][place]
        assert isinstance(found, bytes)
        return found

    def escrow(self, amount: int = 300) -> bytes:
        values = ["EURX", BOB, amount, None, self.time_ms + DAY_MS, LOCK, None, b"", None]
        return self.made("createEscrow", *values, kind="payments.escrowCreated")

    def scheduled(self, amount: int = 300) -> bytes:
        values = ["EURX", BOB, amount, self.time_ms + DAY_MS, b"", None]
        return self.made("schedule", *values, kind="payments.scheduled")


def test_a_stolen_payment_is_clawed_back_out_of_an_escrow() -> None:
    bank = Bank()
    escrow_id = bank.escrow()
    claw = asset_act("clawback", "EURX", ALICE, 100, CAROL, "stolen", escrow_id)
    assert bank.do(ISSUER, claw).code == 0
    assert bank.pay(BOB, act("finishEscrow", escrow_id, b"s")).receipts[0].code == 0
    assert bank.balance(BOB, "EURX") == 200


def test_a_holder_s_freeze_stops_every_way_out_and_the_last_one_waits_for_officers() -> None:
    bank = Bank()
    escrow_id, scheduled_id = bank.escrow(), bank.scheduled()
    bank.do(ISSUER, asset_act("freeze", "EURX", BOB, 1, "order"))
    bank.do(ISSUER, asset_act("freeze", "EURX", ALICE, 1, "order"))
    receipt = bank.pay(BOB, act("finishEscrow", escrow_id, b"s")).receipts[0]
    assert receipt.code == Code.FROZEN
    bank.block(after_ms=DAY_MS)
    held = bank.books.find_hold(scheduled_id)
    assert held is not None and (held.module, held.officers) == ("kernel", "compliance")
    # The escrow's secret came too late: that one is its payer's again, frozen with the rest.
    assert bank.books.find_hold(escrow_id) is None
    bank.do(ISSUER, asset_act("unfreeze", "EURX", ALICE, "over"))
    bank.do(ISSUER, asset_act("unfreeze", "EURX", BOB, "over"))
    bank.do(OFFICERS[0], act("voteHold", scheduled_id, 1, "cleared"))
    assert (bank.balance(ALICE, "EURX"), bank.balance(BOB, "EURX")) == (9_700, 300)


def test_a_large_payment_is_held_and_released_by_two_officers() -> None:
    bank = Bank()
    bank.enact(hold("large", when("amount-at-least", number=5_000), needed=2), asset="EURX")
    result = bank.pay(ALICE, act("pay", "EURX", BOB, 6_000, b"INV-1", None, 30, []))
    receipt = result.receipts[0]
    assert receipt.code == 0 and receipt.trace[0][2] == 1
    payment = event(result, "payments.payment")[3]
    payment_id, hold_id = payment[4], payment[5]
    assert bank.balance(BOB, "EURX") == 0
    assert bank.pay(BOB, act("refund", payment_id, 1, b"")).receipts[0].rule == "payments.unpaid"
    bank.do(OFFICERS[0], act("voteHold", hold_id, 1, "checked"))
    bank.do(OFFICERS[1], act("voteHold", hold_id, 1, "checked"))
    assert bank.balance(BOB, "EURX") == 6_000
    bank.do(BOB, act("refund", payment_id, 1_000, b"too much"))
    assert bank.balance(ALICE, "EURX") == 5_000


def test_two_officers_who_are_one_person_are_one() -> None:
    bank = Bank()
    bank.enact(hold("large", when("amount-at-least", number=5_000), needed=2), asset="EURX")
    result = bank.pay(ALICE, transfer(BOB, 6_000, "EURX"))
    hold_id = event(result, "kernel.held")[3][2]
    subject = hashlib.sha256(b"one person").digest()
    for officer in OFFICERS[:2]:
        bank.agree(set_subject(officer, subject), OFFICERS[1:3])
    for officer in OFFICERS[:2]:
        bank.do(officer, act("voteHold", hold_id, 1, "checked"))
    assert bank.balance(BOB, "EURX") == 0
    bank.do(OFFICERS[2], act("voteHold", hold_id, 1, "checked"))
    assert bank.balance(BOB, "EURX") == 6_000


def test_a_policy_asks_for_the_travel_rule_s_hash() -> None:
    bank = Bank()
    rule = deny("travel", when("amount-at-least", number=1_000), when("no-travel-hash"))
    bank.enact(rule, asset="EURX")
    pay = ["EURX", BOB, 1_000, b"", None, 0, []]
    assert bank.pay(ALICE, act("pay", *pay)).receipts[0].code == Code.POLICY_REJECTED
    pay[4] = b"t" * 32
    assert bank.pay(ALICE, act("pay", *pay)).receipts[0].code == 0
    for name, values in (
        ("createEscrow", ["EURX", BOB, 1_000, None, bank.time_ms + DAY_MS, LOCK, None, b""]),
        ("schedule", ["EURX", BOB, 1_000, bank.time_ms + DAY_MS, b""]),
    ):
        assert bank.pay(ALICE, act(name, *values, None)).receipts[0].code == Code.POLICY_REJECTED
        assert bank.pay(ALICE, act(name, *values, b"t" * 32)).receipts[0].code == 0


def test_a_policy_asks_for_approvers_and_counts_people() -> None:
    bank = Bank()
    four_eyes = when("approvals-below", name="compliance", number=1)
    rule = deny("four-eyes", when("amount-at-least", number=1_000), four_eyes)
    bank.enact(rule, asset="EURX")

    def paid(*approvers: Key) -> int:
        pairs = sorted([one.account, one.public] for one in approvers)
        action = act("pay", "EURX", BOB, 1_000, b"", None, 0, pairs)
        signed = sorted(((one, one.account) for one in approvers), key=lambda pair: pair[1])
        return bank.block(bank.tx(ALICE, action, approvers=signed)).receipts[0].code

    assert paid() == Code.APPROVAL_REQUIRED
    assert paid(CAROL) == Code.APPROVAL_REQUIRED
    assert paid(OFFICERS[0]) == 0


@pytest.mark.parametrize("name", ["createEscrow", "schedule", "placeHold"])
def test_a_promise_that_a_rule_would_hold_is_refused(name: str) -> None:
    """Nothing is half held: what waits already cannot wait for officers, too."""
    bank = Bank()
    bank.enact(hold("large", when("amount-at-least", number=5_000)), asset="EURX")
    end_ms = bank.time_ms + DAY_MS
    rests: dict[str, list[Any]] = {
        "createEscrow": [None, end_ms, LOCK, None, b"", None],
        "schedule": [end_ms, b"", None],
        "placeHold": ["x", end_ms, 0, 1, [], 0, b"", None],
    }
    receipt = bank.pay(ALICE, act(name, "EURX", BOB, 6_000, *rests[name])).receipts[0]
    assert receipt.rule == "kernel.hold"
