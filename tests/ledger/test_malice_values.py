"""Sums at 2^64: supply, holds, caps, batches, vouchers, counters, sponsorships, weights.

If these failed, two numbers that are each allowed could make value, or a limit, vanish together.
"""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.transactions import Role, encode_transaction
from clawpurse.ledger.transition import prepare
from clawpurse.ledger.vouchers import Terms, voucher_bytes
from tests.ledger.malice_world import (
    DAY_MS,
    HOUR_MS,
    ISSUER,
    MOST,
    OFFICERS,
    SPONSOR,
    Realm,
    ascending,
    first,
    raw,
)
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, Key, sign, transfer
from tests.modules.officers_world import deny, propose, when

AGENT = Key("agent")


@pytest.fixture
def realm() -> Realm:
    """Alice has all there can ever be of BIG."""
    made = Realm()
    made.do(ISSUER, "assets.create", "BIG", 0, "Big", 14, None, "", None)
    made.do(ISSUER, "assets.mint", "BIG", ALICE, MOST)
    return made


def channel(realm: Realm, amount: int, *, asset: str = "BIG") -> bytes:
    fields = [asset, BOB, amount, HOUR_MS, 1, realm.time_ms + DAY_MS, None, b"", None]
    opened = first(realm.do(ALICE, "payments.openChannel", *fields), "payments.channelOpened")
    return opened.data[2]  # type: ignore[return-value]


def claim(realm: Realm, channel_id: bytes, amount: int, asset: str = "BIG") -> Any:
    promise = Terms(realm.genesis.hash, channel_id, asset, BOB.account)
    signature = crypto.sign(ALICE.seed, voucher_bytes(promise, amount))
    return raw("payments.claimChannel", channel_id, amount, signature)


def test_no_unit_is_created_above_2_64(realm: Realm) -> None:
    realm.refused(realm.tx(ISSUER, raw("assets.mint", "BIG", BOB, 1)), "kernel.overflow")
    realm.refused(realm.tx(ISSUER, raw("assets.mint", "BIG", ISSUER, MOST)), "kernel.overflow")
    realm.do(ALICE, "assets.transfer", "BIG", ISSUER, 5)
    realm.do(ISSUER, "assets.burn", "BIG", 5)
    realm.refused(realm.tx(ISSUER, raw("assets.mint", "BIG", BOB, 6)), "kernel.overflow")
    realm.do(ISSUER, "assets.mint", "BIG", BOB, 5)


def test_a_cap_at_2_64_is_kept_and_one_below_what_is_there_stops_minting(realm: Realm) -> None:
    realm.do(ISSUER, "assets.create", "CAP", 0, "Cap", 14, MOST, "", None)
    realm.do(ISSUER, "assets.mint", "CAP", ALICE, MOST - 1)
    realm.refused(realm.tx(ISSUER, raw("assets.mint", "CAP", BOB, 2)), "assets.cap")
    realm.refused(realm.tx(ISSUER, raw("assets.mint", "CAP", BOB, MOST)), "assets.cap")
    realm.do(ISSUER, "assets.mint", "CAP", BOB, 1)


def test_all_there_is_moves_and_comes_back(realm: Realm) -> None:
    realm.do(ALICE, "assets.transfer", "BIG", BOB, MOST)
    realm.refused(realm.tx(ALICE, transfer(BOB, 1, "BIG")), "kernel.balance")
    realm.do(BOB, "assets.transfer", "BIG", BOB, MOST)
    assert realm.balance(BOB, "BIG") == MOST
    realm.do(BOB, "assets.transfer", "BIG", ALICE, MOST)


def test_a_channel_is_not_topped_up_beyond_2_64(realm: Realm) -> None:
    channel_id = channel(realm, MOST - 4)
    more = raw("payments.topUpChannel", channel_id, 5)
    realm.refused(realm.tx(ALICE, more), "kernel.overflow")
    more = raw("payments.topUpChannel", channel_id, MOST)
    realm.refused(realm.tx(ALICE, more), "kernel.overflow")
    realm.do(ALICE, "payments.topUpChannel", channel_id, 4)
    assert realm.held(ALICE, "BIG").held == MOST


def test_a_voucher_of_2_64_takes_what_is_there_and_once(realm: Realm) -> None:
    channel_id = channel(realm, 1_000)
    realm.done(realm.tx(BOB, claim(realm, channel_id, MOST)))
    assert realm.balance(BOB, "BIG") == 1_000
    again = realm.block(realm.tx(BOB, claim(realm, channel_id, MOST))).receipts[0]
    assert again.code != 0
    assert realm.balance(BOB, "BIG") == 1_000
    assert realm.balance(ALICE, "BIG") + realm.held(ALICE, "BIG").held == MOST - 1_000


def test_legs_that_are_together_above_2_64_are_no_batch(realm: Realm) -> None:
    half = 1 << 63
    for legs in ([half, half], [MOST, 1], [MOST] * 200):
        rows = [[CAROL.account, amount, b""] for amount in legs]
        fields = ["BIG", rows, 1, [DAVE.account], realm.time_ms + DAY_MS, b"", None]
        with pytest.raises(Malformed, match="legs"):
            prepare(realm.tx(ALICE, raw("payments.proposeBatch", *fields)), realm.registry)
    fields[1] = [[CAROL.account, half, b""], [DAVE.account, half - 1, b""]]
    made = first(realm.do(ALICE, "payments.proposeBatch", *fields), "payments.batchProposed")
    realm.do(DAVE, "payments.approveBatch", made.data[2], None)
    realm.do(ALICE, "payments.executeBatch", made.data[2], 2)
    assert realm.balance(CAROL, "BIG") == half


def test_refunds_are_never_together_above_what_was_paid(realm: Realm) -> None:
    paid = realm.do(ALICE, "payments.pay", "BIG", BOB, MOST, b"", None, 9, [])
    payment = first(paid, "payments.payment").data[4]
    realm.do(BOB, "payments.refund", payment, MOST - 1, b"")
    for amount in (2, MOST):
        refund = raw("payments.refund", payment, amount, b"")
        realm.refused(realm.tx(BOB, refund), "payments.refundAbove")
    realm.do(BOB, "payments.refund", payment, 1, b"")


def test_a_counter_that_is_full_goes_on_refusing(realm: Realm) -> None:
    rule = deny("much", when("sum-at-least", "source", number=MOST, window_ms=DAY_MS))
    made = realm.pay(OFFICERS[0], propose(rule, asset="BIG"))
    policy = first(made, "compliance.policyProposed").data[0]
    realm.do(OFFICERS[1], "compliance.approvePolicy", policy)
    realm.block(after_ms=20_000)
    realm.refused(realm.tx(ALICE, transfer(BOB, MOST, "BIG")), "compliance.denied")
    realm.do(ALICE, "assets.transfer", "BIG", BOB, MOST - 1)
    realm.do(BOB, "assets.transfer", "BIG", ALICE, 10)
    for amount in (1, 10, 11):
        realm.refused(realm.tx(ALICE, transfer(BOB, amount, "BIG")), "compliance.denied")
    # What Bob was paid does not count against what he pays.
    realm.do(BOB, "assets.transfer", "BIG", CAROL, MOST - 11 - 1)


def test_caps_of_2_64_a_day_are_used_up_once(realm: Realm) -> None:
    fields = [
        AGENT.public,
        "",
        realm.time_ms + DAY_MS,
        [1],
        ["assets.transfer"],
        [["BIG", MOST, MOST], ["CLAW", MOST, MOST]],
        [],
        b"",
        0,
    ]
    grant = raw("accounts.grantSession", *fields)
    realm.done(realm.tx(ALICE, grant, approvers=[(AGENT, ALICE.account)]))
    realm.done(realm.tx(ALICE, transfer(BOB, MOST, "BIG"), signer=AGENT, lane=1))
    realm.do(BOB, "assets.transfer", "BIG", ALICE, MOST)
    for amount in (1, MOST):
        again = realm.tx(ALICE, transfer(BOB, amount, "BIG"), signer=AGENT, lane=1)
        realm.refused_by_session(again, "kernel.sessionDay", AGENT)
    two = [transfer(BOB, 1 << 63, "BIG"), transfer(BOB, 1 << 63, "BIG")]
    split = realm.tx(ALICE, *two, signer=AGENT, lane=1)
    realm.refused_by_session(split, "kernel.sessionDay", AGENT)


def test_a_sponsor_of_2_64_pays_each_fee_out_of_its_own(realm: Realm) -> None:
    fields = [ERIN, MOST, MOST, MOST, [], realm.time_ms + DAY_MS]
    realm.do(SPONSOR, "accounts.sponsor", *fields)
    body = realm.body(ERIN, transfer(BOB, 1), payer=SPONSOR.account, fee=MOST)
    signed = encode_transaction(body.pack(), [sign(ERIN.seed, body, Role.SENDER, ERIN.account)])
    realm.barred(signed, "kernel.feeFunds")


@pytest.mark.parametrize(
    ("threshold", "weights"),
    [(32_001, [1_000] * 32), (1, [1_001]), (MOST, [MOST]), (0, [1]), (1, [0])],
)
def test_weights_stay_far_from_any_overflow(
    realm: Realm, threshold: int, weights: list[int]
) -> None:
    members = [[Key(f"m{n}").account, weight] for n, weight in enumerate(weights)]
    action = raw("accounts.createMultisig", threshold, members, b"s" * 32)
    with pytest.raises(Malformed):
        prepare(realm.tx(ALICE, action), realm.registry)


def test_times_at_the_end_of_time_are_refused(realm: Realm) -> None:
    for action, rule in (
        (raw("payments.schedule", "BIG", BOB, 1, MOST, b"", None), "payments.span"),
        (
            raw("payments.createEscrow", "BIG", BOB, 1, None, MOST, None, CAROL, b"", None),
            "payments.span",
        ),
        (
            raw("payments.proposeBatch", "BIG", [[BOB.account, 1, b""]], 1, ascending(DAVE), MOST,
                b"", None),
            "payments.batchSpan",
        ),
        (raw("accounts.sponsor", ERIN, 1, 1, 1, [], MOST), "accounts.sponsorExpiry"),
        (raw("risk.report", BOB, 1, b"m" * 32, 1, MOST), "risk.notOracle"),
    ):  # fmt: skip
        realm.refused(realm.tx(ALICE, action), rule)
