"""Payments with particulars, their refunds, and scheduled payments.

If these failed, a shop could be made to refund twice, or a wage could be paid on the wrong day.
"""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger.errors import BadSignature, Code, Malformed
from clawpurse.ledger.module_api import Words
from clawpurse.ledger.params import DAY_MS
from clawpurse.modules.payments import pay, schedules
from clawpurse.modules.payments.common import YEAR_MS
from clawpurse.modules.payments.pay import REFUNDS_MAX
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, FRANK, START_MS, Key, transfer
from tests.modules.payments_world import (
    HELD_THEN_PAID,
    HELD_THEN_RETURNED,
    HOUR_MS,
    World,
    act,
    named,
    told,
)

TRAVEL = b"t" * 32
LATER = START_MS + DAY_MS


def terms(**changes: Any) -> list[Any]:
    fields: dict[str, Any] = {
        "asset": "CLAW",
        "recipient": BOB,
        "amount": 300,
        "reference": b"invoice 9",
        "travel": None,
        "days": 30,
        "approvers": [],
    }
    assert fields.keys() >= changes.keys()
    return list({**fields, **changes}.values())


def paid(world: World, **changes: Any) -> bytes:
    result = world.do(ALICE, "pay", *terms(**changes))
    return bytes(named(told(result, "payments.payment"))["paymentId"])


def nothing_left(world: World) -> None:
    assert world.tree() == {} and world.queue() == 0
    assert not [key for key in world.tree("kernel") if key[:1] in (b"h", b"x")]


# -- paying


def test_a_payment_carries_its_particulars_in_its_event() -> None:
    world = World()
    result = world.do(ALICE, "pay", *terms(travel=TRAVEL, days=0))
    assert world.balance(BOB) == 10_300
    event = told(result, "payments.payment")
    assert event.accounts == (ALICE.account, BOB.account)
    assert event.data == ("CLAW", 300, b"invoice 9", TRAVEL, None, None)
    nothing_left(world)


def test_approvers_sign_beside_the_sender() -> None:
    world = World()
    pairs = sorted([[CAROL.account, CAROL.public], [DAVE.account, DAVE.public]])
    action = act("pay", *terms(approvers=pairs))
    signed = sorted([(CAROL, CAROL.account), (DAVE, DAVE.account)], key=lambda one: one[1])
    raw = world.tx(ALICE, action, approvers=signed)
    assert world.block(raw).receipts[0].code == 0
    with pytest.raises(BadSignature):
        world.block(world.tx(ALICE, action, approvers=signed[:1]))
    with pytest.raises(BadSignature):
        world.block(world.tx(ALICE, act("pay", *terms()), approvers=signed))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"amount": 1_000_001}, "kernel.balance"),
        ({"asset": "GOLD"}, "kernel.asset"),
        ({"recipient": ALICE}, "payments.self"),
    ],
)
def test_a_payment_is_refused(changes: dict[str, Any], rule: str) -> None:
    assert World().refused(ALICE, "pay", *terms(**changes)).rule == rule


def test_a_frozen_party_is_neither_paid_nor_pays() -> None:
    world = World()
    world.freeze(BOB)
    receipt = world.refused(ALICE, "pay", *terms())
    assert (receipt.code, receipt.rule) == (Code.FROZEN, "warden.frozen")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        (terms(amount=0), "amount"),
        (terms(reference=b"x" * 65), "reference"),
        (terms(travel=b"x" * 31), "travelHash"),
        (terms(days=367), "refundDays"),
        (terms(approvers=[[b"b" * 32, b"k" * 32], [b"a" * 32, b"k" * 32]]), "approvers"),
        (terms(approvers=[[b"a" * 32, b"k" * 32], [b"a" * 32, b"l" * 32]]), "approvers"),
        (terms(approvers=[[bytes([n]) * 32, b"k" * 32] for n in range(9)]), "approvers"),
        (terms()[:-1], "pay"),
    ],
)
def test_a_malformed_payment_names_its_field(values: list[Any], field: str) -> None:
    wire = [one.account if isinstance(one, Key) else one for one in values]
    with pytest.raises(Malformed) as caught:
        pay.PAY.read(wire)
    assert field in caught.value.field


def test_what_is_kept_costs_more() -> None:
    kept = pay.PAY.cost_with(pay.PAY.read([*terms()[:1], BOB.account, *terms()[2:]]))
    plain = pay.PAY.cost_with(pay.PAY.read([*terms()[:1], BOB.account, *terms(days=0)[2:]]))
    assert kept > plain


def test_the_sentences_say_what_is_signed() -> None:
    words = Words(lambda account: "bob", lambda asset, amount: f"{amount} {asset}")
    wire = [x.account if isinstance(x, Key) else x for x in terms(approvers=[[b"a" * 32] * 2])]
    said = pay.PAY.words(pay.PAY.named(pay.PAY.read(wire)), words)
    assert said == (
        'Pay 300 CLAW to bob. Reference "invoice 9". It can be refunded for 30 days.'
        " Approved by bob."
    )
    said = pay.REFUND.words({"payment": b"p", "amount": 5, "reference": b"\xff"}, words)
    assert said == "Refund 5 minor units of the payment 0x70. Reference 0xff."
    wire = ["CLAW", BOB.account, 5, LATER, b"", None]
    said = schedules.SCHEDULE.words(schedules.SCHEDULE.named(schedules.SCHEDULE.read(wire)), words)
    assert said == "Set 5 CLAW to bob apart, to be paid at 2027-01-16T08:00:00.000Z."
    assert "Cancel" in schedules.CANCEL.words({"scheduled": b"s"}, words)


# -- refunds


def test_refunds_never_exceed_what_was_paid() -> None:
    world = World()
    payment_id = paid(world)
    result = world.do(BOB, "refund", payment_id, 100, b"one broken")
    assert named(told(result, "payments.refunded")) == {
        "asset": "CLAW",
        "amount": 100,
        "paymentId": payment_id,
        "left": 200,
        "reference": b"one broken",
        "holdId": None,
    }
    receipt = world.refused(BOB, "refund", payment_id, 201, b"")
    assert (receipt.code, receipt.rule) == (Code.LIMIT_EXCEEDED, "payments.refundAbove")
    assert receipt.facts == (payment_id, 200, 201, "CLAW")
    world.do(BOB, "refund", payment_id, 200, b"")
    assert world.balance(ALICE) == 1_000_000
    assert world.refused(BOB, "refund", payment_id, 1, b"").rule == "payments.refundAbove"
    payment = world.query("payments.payment", payment_id)
    assert (payment.amount, payment.refunded, len(payment.refunds)) == (300, 300, 2)


@pytest.mark.parametrize("sender", [ALICE, CAROL])
def test_only_who_was_paid_refunds(sender: Key) -> None:
    world = World()
    payment_id = paid(world)
    assert world.refused(sender, "refund", payment_id, 1, b"").rule == "payments.party"


def test_refunds_end_when_the_payment_is_forgotten_with_all_that_belongs_to_it() -> None:
    world = World()
    payment_id = paid(world)
    for account in (ALICE, BOB):
        listed = world.query("payments.objects", account.account, None, 9)
        assert listed == [("payment", payment_id)]
    world.do(BOB, "refund", payment_id, 1, b"")
    world.wait_until(world.query("payments.payment", payment_id).until_ms)
    nothing_left(world)
    assert world.refused(BOB, "refund", payment_id, 1, b"").rule == "payments.missing"


def test_a_refund_after_its_time_is_refused_however_full_the_queue_is() -> None:
    world = World(params={"due_per_block_max": 1})
    raws = [world.tx(ALICE, act("pay", *terms()), sequence=n) for n in range(3)]
    world.block(*raws)
    world.wait_until(world.time_ms + 30 * DAY_MS)
    left = [key[1:] for key in world.tree() if key[:1] == b"p"]
    raws = [world.tx(BOB, act("refund", one, 1, b""), sequence=n) for n, one in enumerate(left)]
    rules = {receipt.rule for receipt in world.block(*raws, after_ms=0).receipts}
    assert rules == {"payments.missing", "payments.late"}


def test_refunds_of_one_payment_have_a_bound() -> None:
    world = World()
    payment_id = paid(world)
    for _ in range(REFUNDS_MAX):
        world.do(BOB, "refund", payment_id, 1, b"")
    assert world.refused(BOB, "refund", payment_id, 1, b"").rule == "payments.refundsFull"


def test_a_refund_to_or_by_a_frozen_party_is_refused() -> None:
    for frozen in (ALICE, BOB):
        world = World()
        payment_id = paid(world)
        world.freeze(frozen)
        assert world.refused(BOB, "refund", payment_id, 1, b"").rule == "warden.frozen"


def test_a_payment_that_a_rule_holds_can_be_refunded_once_it_is_released() -> None:
    world = World()
    payment_id = paid(world, amount=HELD_THEN_PAID)
    hold_id = world.query("payments.payment", payment_id).hold_id
    assert world.refused(BOB, "refund", payment_id, 1, b"").rule == "payments.unpaid"
    for officer in (DAVE, ERIN):
        world.do(officer, "voteHold", hold_id, 1, "ok")
    world.do(BOB, "refund", payment_id, 450, b"")
    assert world.balance(ALICE) == 999_950


def test_a_payment_that_was_returned_cannot_be_refunded() -> None:
    """Nothing was paid; a refund would be a gift in the books of both."""
    world = World()
    payment_id = paid(world, amount=HELD_THEN_RETURNED)
    world.wait_until(world.time_ms + DAY_MS)
    nothing_left(world)
    assert world.refused(BOB, "refund", payment_id, 1, b"").rule == "payments.missing"


def test_what_was_clawed_back_out_of_a_held_payment_is_not_refundable() -> None:
    world = World()
    payment_id = paid(world, amount=HELD_THEN_PAID)
    hold_id = world.query("payments.payment", payment_id).hold_id
    world.seize(ALICE, 200, hold_id)
    for officer in (DAVE, ERIN):
        world.do(officer, "voteHold", hold_id, 1, "ok")
    assert world.query("payments.payment", payment_id).amount == 300
    assert world.refused(BOB, "refund", payment_id, 301, b"").rule == "payments.refundAbove"


def test_a_held_payment_that_is_clawed_back_entirely_is_forgotten() -> None:
    world = World()
    payment_id = paid(world, amount=HELD_THEN_PAID)
    world.seize(ALICE, 500, world.query("payments.payment", payment_id).hold_id)
    nothing_left(world)


@pytest.mark.parametrize("release", [0, 1])
def test_a_held_refund_counts_until_it_is_returned(release: int) -> None:
    world = World()
    payment_id = paid(world, amount=900)
    result = world.do(BOB, "refund", payment_id, HELD_THEN_PAID, b"")
    hold_id = named(told(result, "payments.refunded"))["holdId"]
    assert world.refused(BOB, "refund", payment_id, 401, b"").rule == "payments.refundAbove"
    world.do(DAVE, "voteHold", hold_id, release, "ok")
    result = world.do(ERIN, "voteHold", hold_id, release, "ok")
    payment = world.query("payments.payment", payment_id)
    assert payment.refunded == 500 * release and payment.holds == ()
    assert ("payments.refundUndone" in [one.kind for one in result.events]) == (not release)


def test_a_held_refund_may_outlive_the_record_of_its_payment() -> None:
    world = World()
    payment_id = paid(world, amount=900, days=1)
    world.wait_until(world.time_ms + DAY_MS - HOUR_MS)
    world.do(BOB, "refund", payment_id, HELD_THEN_PAID, b"")
    world.wait_until(world.time_ms + HOUR_MS)
    assert world.tree() == {} and world.held(BOB).held == 500
    world.wait_until(world.time_ms + DAY_MS)
    assert world.balance(ALICE) == 1_000_000 - 400
    nothing_left(world)


def test_a_clawback_out_of_a_held_refund_makes_it_smaller() -> None:
    world = World()
    payment_id = paid(world, amount=900)
    result = world.do(BOB, "refund", payment_id, HELD_THEN_PAID, b"")
    hold_id = named(told(result, "payments.refunded"))["holdId"]
    world.seize(BOB, 100, hold_id)
    assert world.query("payments.payment", payment_id).refunded == 400
    world.seize(BOB, 400, hold_id)
    assert world.query("payments.payment", payment_id).refunds == ()


# -- scheduled payments


def later(**changes: Any) -> list[Any]:
    fields: dict[str, Any] = {
        "asset": "CLAW",
        "recipient": BOB,
        "amount": 300,
        "time": LATER,
        "reference": b"wage",
        "travel": None,
    }
    assert fields.keys() >= changes.keys()
    return list({**fields, **changes}.values())


def scheduled(world: World, **changes: Any) -> bytes:
    result = world.do(ALICE, "schedule", *later(**changes))
    return bytes(named(told(result, "payments.scheduled"))["scheduledId"])


def outcome(result: Any) -> tuple[str, int]:
    data = named(told(result, "payments.scheduledEnded"))
    return data["outcome"], data["amount"]


def test_a_scheduled_payment_is_set_apart_at_once_and_paid_at_its_time() -> None:
    world = World()
    scheduled_id = scheduled(world, travel=TRAVEL)
    assert (world.held(ALICE).amount, world.held(ALICE).held) == (999_700, 300)
    assert world.query("payments.scheduled", scheduled_id)[:3] == (LATER, b"wage", TRAVEL)
    assert world.wait_until(LATER - 1).events == ()
    assert outcome(world.wait_until(LATER)) == ("paid", 300)
    assert world.balance(BOB) == 10_300
    nothing_left(world)


@pytest.mark.parametrize("sender", [ALICE, BOB])
def test_payer_and_payee_can_cancel(sender: Key) -> None:
    world = World()
    scheduled_id = scheduled(world)
    assert outcome(world.do(sender, "cancelScheduled", scheduled_id)) == ("returned", 300)
    nothing_left(world)
    assert world.wait_until(LATER).events == ()


def test_from_its_time_on_it_is_the_payee_s_however_full_the_queue_is() -> None:
    world = World(params={"due_per_block_max": 1})
    raws = [world.tx(ALICE, act("schedule", *later()), sequence=n) for n in range(3)]
    world.block(*raws)
    world.wait_until(LATER)
    left = [key[1:] for key in world.tree() if key[:1] == b"s"]
    raws = [
        world.tx(ALICE, act("cancelScheduled", one), sequence=3 + n) for n, one in enumerate(left)
    ]
    rules = {receipt.rule for receipt in world.block(*raws, after_ms=0).receipts}
    assert rules == {"payments.missing", "payments.late"}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"recipient": ALICE}, "payments.self"),
        ({"time": START_MS + 1_000}, "payments.span"),
        ({"time": START_MS + YEAR_MS + 1_001}, "payments.span"),
        ({"amount": 1_000_001}, "kernel.balance"),
        ({"amount": HELD_THEN_PAID}, "kernel.hold"),
        ({"asset": "GOLD"}, "kernel.asset"),
    ],
)
def test_a_scheduled_payment_is_refused(changes: dict[str, Any], rule: str) -> None:
    assert World().refused(ALICE, "schedule", *later(**changes)).rule == rule


def test_only_parties_cancel() -> None:
    world = World()
    scheduled_id = scheduled(world)
    assert world.refused(CAROL, "cancelScheduled", scheduled_id).rule == "payments.party"
    assert world.refused(ALICE, "cancelScheduled", b"n" * 32).rule == "payments.missing"


@pytest.mark.parametrize("frozen", [ALICE, BOB])
def test_a_payment_that_comes_due_to_or_by_a_frozen_party_waits_for_officers(frozen: Key) -> None:
    world = World()
    scheduled_id = scheduled(world)
    world.freeze(frozen)
    result = world.wait_until(LATER)
    assert outcome(result) == ("suspended", 300)
    assert told(result, "kernel.held").data[2:] == (scheduled_id, "warden.frozen")
    # Nobody decides: it goes back to its payer.
    world.wait_until(world.time_ms + 30 * DAY_MS)
    assert world.balance(ALICE) == 1_000_000
    nothing_left(world)


def test_a_clawback_reaches_what_is_scheduled() -> None:
    world = World()
    scheduled_id = scheduled(world)
    world.seize(ALICE, 100, scheduled_id)
    assert outcome(world.wait_until(LATER)) == ("paid", 200)
    scheduled_id = scheduled(world, time=LATER + DAY_MS)
    result = world.do(ALICE, "warden.seize", "CLAW", ALICE, FRANK, 300, scheduled_id)
    assert outcome(result) == ("seized", 300)
    nothing_left(world)


def test_a_sender_s_queue_has_a_bound() -> None:
    world = World(params={"due_per_creator_max": 2})
    scheduled(world)
    paid(world)
    assert world.refused(ALICE, "schedule", *later()).rule == "kernel.dueFull"
    assert world.refused(ALICE, "pay", *terms()).rule == "kernel.dueFull"
    assert world.pay(ALICE, transfer(BOB, 1)).receipts[0].code == 0


def test_lists_are_read_in_pages_and_by_kind() -> None:
    world = World()
    ids = sorted(scheduled(world, time=LATER + n) for n in range(5))
    payment_id = paid(world)
    first = world.query("payments.objects", ALICE.account, None, 4)
    rest = world.query("payments.objects", ALICE.account, first[-1], 4)
    assert [one.id for one in (*first, *rest)] == [payment_id, *ids]
    only = world.query("payments.objects", BOB.account, None, 9, "scheduled")
    assert [one.id for one in only] == ids
    assert world.query("payments.objects", CAROL.account, None, 9) == []


@pytest.mark.parametrize("blocks", range(6))
def test_what_is_cancelled_in_the_block_in_which_it_is_due_is_not_done_too(blocks: int) -> None:
    """The hold ends and the payment is forgotten at one time, in either order."""
    world = World()
    for _ in range(blocks):
        world.block()
    world.do(ALICE, "pay", *terms(amount=HELD_THEN_RETURNED, days=1))
    result = world.wait_until(world.time_ms + DAY_MS)
    assert "kernel.dueFailed" not in [event.kind for event in result.events]
    assert world.account(ALICE).due_count == 0 and world.queue() == 0
