"""What every action takes from its sender: limits that know only transfers are no limits."""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger.module_api import FieldType
from clawpurse.ledger.transactions import Body, RawAction
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.builder import Slot, build_body
from clawpurse.wallet.intent import Intent
from clawpurse.wallet.outflows import TAKES, Lookup, Paid, Takes, needs, outflows
from tests.wallet.smallchain import START_MS, SmallChain

REGISTRY = build_registry()
CHAIN = SmallChain()
ALICE, BOB, EVE = CHAIN.alice.account, CHAIN.bob.account, b"\x05" * 32
IDENT = b"\x07" * 32
# What some actions want of each other's fields.
MORE: dict[str, dict[str, Any]] = {
    "payments.createEscrow": {"finishAfter": START_MS + 1_000},
    "payments.placeHold": {"releasers": [BOB]},
}


def body_of(*actions: RawAction, payer: bytes | None = None) -> Body:
    return build_body(
        CHAIN.terms,
        REGISTRY,
        ALICE,
        Slot(0, 0),
        list(actions),
        valid_until_ms=START_MS + 60_000,
        fee=3,
        payer=payer,
    )


def filled(name: str, **given: Any) -> RawAction:
    """An action with these fields and something plain in the others."""
    plain: dict[FieldType, Any] = {
        FieldType.ASSET: "CLAW",
        FieldType.ACCOUNT: BOB,
        FieldType.AMOUNT: 7,
        FieldType.TIME: START_MS + 3_600_000,
        FieldType.HASH: IDENT,
        FieldType.KEY: CHAIN.bob.public_key,
        FieldType.BYTES: b"",
        FieldType.INTEGER: 1,
        FieldType.NAME: "plain",
        FieldType.LIST: [],
    }
    fields = []
    for field in REGISTRY.actions[name].fields:
        if field.name in given:
            fields.append(given[field.name])
        elif field.optional:
            fields.append(None)
        else:
            fields.append(max(plain[field.type], field.low) if field.low else plain[field.type])
    return RawAction(name, fields)


def test_every_action_of_the_ledger_is_in_the_table() -> None:
    """A new way of paying that is missing here would be one that no limit sees."""
    assert set(TAKES) == set(REGISTRY.actions)


def test_an_action_with_an_asset_an_amount_and_a_recipient_pays() -> None:
    """Otherwise somebody sorts a new payment under what takes nothing."""
    for name, action in REGISTRY.actions.items():
        fields = {field.name for field in action.fields}
        if {"asset", "amount", "recipient"} <= fields and name != "assets.mint":
            assert TAKES[name] is Takes.PAYS, name
        if "amount" in fields:
            assert TAKES[name] is not Takes.NOTHING or name in (
                # What somebody else set apart for the sender, and a statement.
                *("payments.captureHold", "payments.claimChannel", "payments.createInvoice"),
                "assets.attestReserve",
            ), name


@pytest.mark.parametrize("name", [name for name, takes in TAKES.items() if takes is Takes.PAYS])
def test_what_pays_is_told_with_its_fee(name: str) -> None:
    """Otherwise an escrow or a channel is a way around the day's limit."""
    action = filled(name, amount=40, **MORE.get(name, {}))
    assert outflows(body_of(action), REGISTRY, {}) == (Intent(ALICE, BOB, "CLAW", 40, "", 3),)
    sponsored = outflows(body_of(action, payer=EVE), REGISTRY, {})
    assert sponsored == (Intent(ALICE, BOB, "CLAW", 40, "", 0),)


def test_a_batch_pays_each_of_its_legs() -> None:
    """Otherwise a payroll of a hundred is one payment of nothing."""
    legs = [[BOB, 5, b""], [EVE, 6, b""]]
    action = filled("payments.proposeBatch", legs=legs, needed=1, approvers=[BOB])
    told = outflows(body_of(action, filled("assets.transfer", amount=1)), REGISTRY, {})
    assert [(one.recipient, one.amount, one.fee) for one in told] == [
        (BOB, 5, 3),
        (EVE, 6, 0),
        (BOB, 1, 0),
    ]


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("payments.payInvoice", "payment_getInvoice"),
        ("payments.refund", "payment_getRefunds"),
        ("payments.topUpChannel", "payment_getChannel"),
    ],
)
def test_what_is_named_by_id_is_looked_up(name: str, method: str) -> None:
    """Otherwise an invoice can be for any sum to anybody."""
    action = filled(name, amount=40)
    (ident, lookup), *more = needs((action,), REGISTRY).items()
    assert (ident, lookup.method, more) == (IDENT, method, [])
    assert isinstance(lookup, Lookup)
    known = {IDENT: Paid(EVE, "EUR")}
    assert outflows(body_of(action), REGISTRY, known) == (Intent(ALICE, EVE, "EUR", 40, "", 3),)
    assert needs((filled("assets.transfer"),), REGISTRY) == {}


def test_what_pays_nobody_is_no_payment() -> None:
    """Otherwise ending a session is refused because the day's limit is spent."""
    actions = filled("accounts.revokeSession"), filled("payments.cancelEscrow")
    assert outflows(body_of(*actions), REGISTRY, {}) == ()
