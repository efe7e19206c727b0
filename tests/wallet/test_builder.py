"""What a wallet signs is what the person wanted, and what every node accepts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.codec import U64_MAX
from clawpurse.ledger.crypto import verify
from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.transactions import Body, RawAction, Role, decode_transaction
from clawpurse.ledger.transition import prepare
from clawpurse.wallet.builder import (
    ChainTerms,
    Signing,
    Slot,
    build_body,
    change_key_action,
    memo_bytes,
    new_idempotency_key,
    open_action,
    replacement_of,
    sign_body,
    sign_body_for,
    sign_key_change,
    transfer_action,
)
from clawpurse.wallet.keys import SigningKey
from tests.wallet.smallchain import REGISTRY, START_MS, SmallChain

TERMS = ChainTerms("acme-test", b"\x07" * 32)
ALICE = SigningKey(b"\xa1" * 32)
BOB = SigningKey(b"\xb0" * 32)
UNTIL_MS = START_MS + 600_000


def body_of(*actions: RawAction, **more: object) -> Body:
    given: dict[str, object] = {"valid_until_ms": UNTIL_MS, "fee": 1, **more}
    chosen = actions or (transfer_action("CLAW", BOB.account, 1250),)
    return build_body(TERMS, REGISTRY, ALICE.account, Slot(3, 9, 1), chosen, **given)  # type: ignore[arg-type]


def test_a_transfer_says_exactly_what_was_asked() -> None:
    key = new_idempotency_key()
    body = body_of(memo="Rent, März", idempotency_key=key, height_max=77)
    transaction = sign_body(body, [(Role.SENDER, ALICE)])
    assert decode_transaction(transaction.raw).body == Body(
        "acme-test",
        b"\x07" * 32,
        ALICE.account,
        3,
        9,
        1,
        UNTIL_MS,
        77,
        1,
        None,
        (RawAction("assets.transfer", ["CLAW", BOB.account, 1250]),),
        "Rent, März".encode(),
        key,
    )
    assert prepare(transaction.raw, REGISTRY).transaction == transaction


def test_idempotency_keys_are_never_the_same() -> None:
    keys = [new_idempotency_key() for _ in range(100)]
    assert len(set(keys)) == 100 and all(len(key) == 16 for key in keys)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"fee": -1}, "body.fee"),
        ({"fee": U64_MAX + 1}, "body.fee"),
        ({"valid_until_ms": -5}, "body.validUntil"),
        ({"height_max": 0}, "body.heightMax"),
        ({"payer": b"\x01" * 31}, "body.payer"),
        ({"payer": ALICE.account}, "body.payer"),
        ({"memo": "x" * 257}, "memo"),
        ({"memo": "é" * 129}, "memo"),
        ({"memo": "a\nb"}, "memo"),
        ({"memo": "\x1b[2J"}, "memo"),
        ({"memo": "\u202e"}, "memo"),
        ({"idempotency_key": b""}, "body.idempotencyKey"),
        ({"idempotency_key": b"x" * 65}, "body.idempotencyKey"),
    ],
)
def test_what_no_node_would_accept_is_refused_before_signing(
    more: dict[str, object], field: str
) -> None:
    with pytest.raises(Malformed) as caught:
        body_of(**more)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "action",
    [
        transfer_action("CLAW", BOB.account, 0),
        transfer_action("CLAW", BOB.account, -1),
        transfer_action("CLAW", BOB.account, U64_MAX + 1),
        transfer_action("claw", BOB.account, 1),
        transfer_action("CLAW", b"short", 1),
        open_action(b""),
        change_key_action(b"\x01" * 33),
        RawAction("assets.steal", []),
        RawAction("assets.transfer", ["CLAW", BOB.account]),
    ],
)
def test_actions_that_mean_nothing_are_refused(action: RawAction) -> None:
    with pytest.raises(Malformed):
        body_of(action)


def test_a_body_without_or_with_too_many_actions_is_refused() -> None:
    for actions in ((), (transfer_action("CLAW", BOB.account, 1),) * 17):
        with pytest.raises(Malformed, match="actions"):
            build_body(
                TERMS,
                REGISTRY,
                ALICE.account,
                Slot(0, 0),
                actions,
                valid_until_ms=UNTIL_MS,
                fee=0,
            )


@pytest.mark.parametrize("slot", [Slot(64, 0), Slot(-1, 0), Slot(0, -1), Slot(0, 0, 10)])
def test_places_that_do_not_exist_are_refused(slot: Slot) -> None:
    with pytest.raises(Malformed):
        build_body(
            TERMS,
            REGISTRY,
            ALICE.account,
            slot,
            [transfer_action("CLAW", BOB.account, 1)],
            valid_until_ms=UNTIL_MS,
            fee=0,
        )


def test_a_replacement_is_the_same_wish_with_a_higher_attempt() -> None:
    body = body_of()
    again = replacement_of(body, fee=2, valid_until_ms=UNTIL_MS + 1)
    assert again == body._replace(attempt=2, fee=2, valid_until_ms=UNTIL_MS + 1)
    with pytest.raises(Malformed, match="below the 1"):
        replacement_of(body, fee=0, valid_until_ms=UNTIL_MS)
    with pytest.raises(Malformed, match="attempt"):
        replacement_of(body._replace(attempt=9), fee=2, valid_until_ms=UNTIL_MS)


def test_a_forgotten_signature_is_named() -> None:
    with pytest.raises(Malformed, match="signature of the sender"):
        sign_body(body_of(), [(Role.SENDER, BOB)])
    with pytest.raises(Malformed, match="signature of the payer"):
        sign_body(body_of(payer=BOB.account), [(Role.SENDER, ALICE)])
    sponsored = sign_body(body_of(payer=BOB.account), [(Role.PAYER, BOB), (Role.SENDER, ALICE)])
    assert [entry.role for entry in sponsored.witness] == [Role.SENDER, Role.PAYER]


def test_a_changed_key_signs_for_the_old_account_afterwards() -> None:
    chain = SmallChain()
    new = SigningKey(b"\xee" * 32, account=chain.alice.account)

    def change(action: RawAction, sequence: int) -> Body:
        return build_body(
            chain.terms,
            REGISTRY,
            chain.alice.account,
            Slot(0, sequence),
            [action],
            valid_until_ms=UNTIL_MS,
            fee=0,
        )

    body = change(change_key_action(new.public_key), 0)
    chain.block(sign_key_change(body, chain.alice, new).raw)
    later = change(transfer_action("CLAW", chain.bob.account, 5), 1)
    made = chain.block(sign_body(later, [(Role.SENDER, new)]).raw)
    assert made.proof()["index"] == 0
    with pytest.raises(Malformed, match="not loaded as a key for the sender"):
        sign_key_change(body, chain.alice, SigningKey(b"\xee" * 32))


def test_opening_an_account_works_on_the_ledger() -> None:
    chain = SmallChain()
    body = build_body(
        chain.terms,
        REGISTRY,
        chain.alice.account,
        Slot(0, 0),
        [open_action(b"\x55" * 32)],
        valid_until_ms=UNTIL_MS,
        fee=0,
    )
    made = chain.block(sign_body(body, [(Role.SENDER, chain.alice)]).raw)
    assert Code.OK.label == "ok" and b"accounts.opened" in made.events[0]


@given(st.text(max_size=300))
def test_a_memo_is_kept_or_refused_never_changed(memo: str) -> None:
    try:
        data = memo_bytes(memo)
    except Malformed:
        return
    assert data.decode() == memo and len(data) <= 256


# -- keys that sign for accounts that are not theirs


FIRM = b"\x0f" * 32


def test_members_sign_for_their_account_each_with_its_own_key() -> None:
    body = body_of()._replace(sender=FIRM)
    signings = [Signing(Role.SENDER, FIRM, key) for key in (BOB, ALICE)]
    transaction = sign_body_for(body, signings)
    entries = [(entry.role, entry.account, entry.public_key) for entry in transaction.witness]
    assert entries == sorted((0, FIRM, key.public_key) for key in (ALICE, BOB))
    for key, message, signature in transaction.signatures:
        assert verify(key, message, signature)


def test_a_sponsored_payer_need_not_sign_but_may() -> None:
    body = body_of(payer=BOB.account)
    alone = sign_body_for(body, [Signing(Role.SENDER, ALICE.account, ALICE)])
    assert len(alone.witness) == 1
    both = [Signing(Role.SENDER, ALICE.account, ALICE), Signing(Role.PAYER, BOB.account, ALICE)]
    assert len(sign_body_for(body, both).witness) == 2


@pytest.mark.parametrize(
    ("signings", "problem"),
    [
        ([], "lacks the signature of the sender"),
        ([Signing(Role.APPROVER, ALICE.account, ALICE)], "lacks the signature of the sender"),
        ([Signing(Role.SENDER, BOB.account, BOB)], "lacks the signature of the sender"),
        (
            [
                Signing(Role.SENDER, ALICE.account, ALICE),
                Signing(Role.SENDER, BOB.account, BOB),
            ],
            "without part",
        ),
        (
            [
                Signing(Role.SENDER, ALICE.account, ALICE),
                Signing(Role.PAYER, BOB.account, BOB),
            ],
            "without part",
        ),
        ([Signing(Role.SENDER, ALICE.account, ALICE)] * 2, "twice"),
    ],
)
def test_what_every_node_would_refuse_is_not_signed(signings: list[Signing], problem: str) -> None:
    with pytest.raises(Malformed, match=problem):
        sign_body_for(body_of(), signings)
