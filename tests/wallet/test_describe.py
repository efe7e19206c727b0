"""What a person reads before signing is all of it, and nothing in it can redraw the screen."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.address import account_text
from clawpurse.ledger.transactions import Body, RawAction, Role, encode_transaction
from clawpurse.ledger.transactions import decode_transaction as decode
from clawpurse.wallet.builder import Slot, build_body, sign_body, transfer_action
from clawpurse.wallet.describe import (
    action_words,
    describe_body,
    describe_transaction,
    printable,
    words_for,
)
from tests.wallet.smallchain import REGISTRY, START_MS, SmallChain

CHAIN = SmallChain()
NAMES = {CHAIN.bob.account: "bob"}
WORDS = words_for(CHAIN.genesis.decimals, NAMES.get)


def body_of(**more: object) -> Body:
    return build_body(
        CHAIN.terms,
        REGISTRY,
        CHAIN.alice.account,
        Slot(2, 5, 1),
        [transfer_action("CLAW", CHAIN.bob.account, 125_000)],
        valid_until_ms=START_MS,
        fee=1,
        **more,  # type: ignore[arg-type]
    )


def test_every_field_is_said_in_words() -> None:
    body = body_of(memo="Invoice 7", idempotency_key=b"\x01\x02", height_max=99)
    lines = {line.label: line.text for line in describe_body(body, REGISTRY, WORDS)}
    bob = account_text(CHAIN.bob.account)
    assert lines == {
        "Network": f"acme-test, genesis 0x{CHAIN.genesis.hash.hex()}",
        "From": account_text(CHAIN.alice.account),
        "Action": f"Pay 1,250.00 CLAW to bob ({bob}).",
        "Fee": "0.01 CLAW, paid by the sender",
        "Memo": "“Invoice 7”",
        "Place": "lane 2, sequence 5",
        "Attempt": "1, replaces attempts before it",
        "Valid until": "2027-01-15T08:00:00.000Z",
        "Height bound": "block 99",
        "Idempotency": "0x0102",
        "Transaction": f"0x{sign_body(body, [(Role.SENDER, CHAIN.alice)]).tx_id.hex()}",
    }


def test_what_is_absent_is_said_too() -> None:
    lines = {line.label: line for line in describe_body(body_of(), REGISTRY, WORDS)}
    assert lines["Memo"].text == "none" and lines["Height bound"].text == "no bound"
    assert lines["Idempotency"].warning and "twice" in lines["Idempotency"].text


def test_several_actions_are_counted_and_a_sponsor_is_named() -> None:
    body = body_of(payer=CHAIN.bob.account)
    body = body._replace(actions=(*body.actions, RawAction("accounts.open", [b"\x01" * 32])))
    lines = {line.label: line.text for line in describe_body(body, REGISTRY, WORDS)}
    assert lines["Action 1 of 2"].startswith("Pay ")
    assert lines["Action 2 of 2"].startswith("Open the account claw1")
    assert lines["Fee"].endswith(f"paid by bob ({account_text(CHAIN.bob.account)})")


def test_an_action_that_is_not_understood_is_not_passed_over() -> None:
    strange = RawAction("weird.thing", [b"\x01", 5, "a\x1b[31m", [None, True]])
    for action in (strange, RawAction("assets.transfer", ["CLAW"])):
        lines = describe_body(body_of()._replace(actions=(action,)), REGISTRY, WORDS)
        found = next(line for line in lines if line.label == "Action")
        assert found.warning and found.text.startswith("NOT UNDERSTOOD, do not sign")
        assert "\x1b" not in found.text


def test_an_unknown_asset_is_shown_in_minor_units_not_guessed() -> None:
    assert words_for({}).amount("EUR", 1234) == "1,234 minor units of EUR"
    assert words_for({"JPY": 0}).amount("JPY", 1234) == "1,234 JPY"


def test_each_signature_is_named_and_checked() -> None:
    signed = sign_body(body_of(), [(Role.SENDER, CHAIN.alice)])
    line = next(
        line for line in describe_transaction(signed, REGISTRY, WORDS) if line.label == "Signature"
    )
    assert line.text.startswith("valid, by key 0x") and not line.warning
    forged = signed.witness[0]._replace(signature=bytes(64))
    broken = decode(encode_transaction(signed.body_bytes, [forged]))
    lines = describe_transaction(broken, REGISTRY, WORDS)
    assert any(line.text.startswith("NOT VALID") and line.warning for line in lines)
    unsigned = decode(encode_transaction(signed.body_bytes, []))
    lines = describe_transaction(unsigned, REGISTRY, WORDS)
    assert any(line == ("Signature", "none yet", True) for line in lines)


@given(st.text(max_size=50))
def test_nothing_unprintable_reaches_the_terminal(text: str) -> None:
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text


@given(st.binary(max_size=60))
def test_any_memo_on_the_ledger_can_be_shown(memo: bytes) -> None:
    lines = describe_body(body_of()._replace(memo=memo), REGISTRY, WORDS)
    assert all(line.text.isprintable() for line in lines)


def test_what_is_proposed_is_said_action_by_action() -> None:
    """Who proposes for an account must see what it would do, not only that it would."""
    inner: list[Any] = [
        ["assets.transfer", transfer_action("CLAW", CHAIN.bob.account, 1250).fields],
        ["assets.unheard", []],
    ]
    action = RawAction("accounts.propose", [b"\x07" * 32, 0, inner, b""])
    said = action_words(action, REGISTRY, words_for({"CLAW": 2}))
    assert said is not None and "12.50 CLAW" in said
    assert said.endswith("NOT UNDERSTOOD, do not sign: assets.unheard.")
