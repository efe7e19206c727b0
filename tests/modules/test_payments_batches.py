"""Batches: nobody is paid unless everybody is, and enough different people said so.

If these failed, one person could send a payroll alone, or a payroll could be paid by half.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.module_api import Words
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.transactions import TX_BYTES_MAX
from clawpurse.ledger.transition import prepare
from clawpurse.modules.payments import batches
from clawpurse.modules.payments.batches import LEGS_MAX, OPEN_MAX
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, FRANK, START_MS, Key
from tests.modules.payments_world import (
    HELD_THEN_PAID,
    HOUR_MS,
    World,
    act,
    named,
    told,
)

TRAVEL = b"t" * 32
EXPIRES = START_MS + DAY_MS
STRANGER = Key("stranger")


def leg(to: Key, amount: int, reference: bytes = b"") -> list[Any]:
    return [to.account, amount, reference]


LEGS = [leg(BOB, 120, b"may"), leg(FRANK, 30), leg(BOB, 7)]


def accounts(*keys: Key) -> list[bytes]:
    return sorted([key.account for key in keys])


def terms(**changes: Any) -> list[Any]:
    fields: dict[str, Any] = {
        "asset": "CLAW",
        "legs": LEGS,
        "needed": 2,
        "approvers": accounts(CAROL, DAVE, ERIN),
        "expires": EXPIRES,
        "reference": b"payroll 5",
        "travel": None,
    }
    assert fields.keys() >= changes.keys()
    return list({**fields, **changes}.values())


def proposed(world: World, **changes: Any) -> bytes:
    result = world.do(ALICE, "proposeBatch", *terms(**changes))
    return bytes(named(told(result, "payments.batchProposed"))["batchId"])


def approve(world: World, batch_id: bytes, *keys: Key, until: int | None = None) -> None:
    for key in keys:
        world.do(key, "approveBatch", batch_id, until)


def outcome(result: Any) -> str:
    return str(named(told(result, "payments.batchEnded"))["outcome"])


def nothing_left(world: World) -> None:
    assert world.tree() == {} and world.queue() == 0


@pytest.fixture
def world() -> World:
    return World()


def test_two_people_approve_and_all_are_paid(world: World) -> None:
    batch_id = proposed(world)
    assert world.balance(ALICE) == 1_000_000, "nothing is set apart"
    approve(world, batch_id, CAROL, ERIN)
    result = world.do(ERIN, "executeBatch", batch_id, 3)
    assert outcome(result) == "executed"
    assert (world.balance(ALICE), world.balance(BOB), world.balance(FRANK)) == (
        1_000_000 - 157,
        10_127,
        30,
    )
    paid = [one for one in result.events if one.kind == "payments.batchPaid"]
    assert [one.data for one in paid] == [
        ("CLAW", 120, b"may", batch_id, 0),
        ("CLAW", 30, b"", batch_id, 1),
        ("CLAW", 7, b"", batch_id, 2),
    ]
    assert paid[0].accounts == (ALICE.account, BOB.account)
    nothing_left(world)
    assert world.refused(ERIN, "executeBatch", batch_id, 3).code == Code.NOT_FOUND


def test_who_approves_sees_what_and_the_id_says_the_same(world: World) -> None:
    batch_id = proposed(world, travel=TRAVEL)
    batch = world.query("payments.batch", batch_id)
    legs = world.query("payments.legs", batch_id)
    assert legs == tuple([(to, amount, reference) for to, amount, reference in LEGS])
    assert batch.contents(legs).id == batch_id
    for change in ({"asset": "EUR"}, {"needed": 1}, {"reference": b""}, {"legs": legs[:2]}):
        assert batch.contents(legs)._replace(**change).id != batch_id
    for party in (ALICE, CAROL, DAVE, ERIN):
        assert world.query("payments.objects", party.account, None, 9) == [("batch", batch_id)]
    assert proposed(world, travel=TRAVEL) != batch_id, "the same payroll again is another one"


def test_the_payer_executes_too_and_says_what_for_the_travel_rule(world: World) -> None:
    batch_id = proposed(world, needed=1, travel=TRAVEL)
    approve(world, batch_id, CAROL)
    assert outcome(world.do(ALICE, "executeBatch", batch_id, LEGS_MAX)) == "executed"


def test_two_hundred_payments_fit_and_are_all_or_none(world: World) -> None:
    people = [Key(f"worker {number}") for number in range(LEGS_MAX)]
    legs = [leg(key, 1 + index, b"r" * 32) for index, key in enumerate(people)]
    raw = world.tx(ALICE, act("proposeBatch", *terms(legs=legs)))
    assert len(raw) < TX_BYTES_MAX // 3
    result = world.block(raw)
    batch_id = bytes(named(told(result, "payments.batchProposed"))["batchId"])
    approve(world, batch_id, CAROL, DAVE)
    result = world.do(ALICE, "executeBatch", batch_id, LEGS_MAX)
    assert outcome(result) == "executed"
    assert [world.balance(key) for key in people] == list(range(1, LEGS_MAX + 1))
    nothing_left(world)


def test_when_the_last_of_two_hundred_fails_nobody_was_paid(world: World) -> None:
    people = [Key(f"worker {number}") for number in range(LEGS_MAX - 1)]
    legs = [leg(key, 2) for key in people] + [leg(BOB, 1_000_000)]
    batch_id = proposed(world, legs=legs)
    approve(world, batch_id, CAROL, DAVE)
    receipt = world.refused(DAVE, "executeBatch", batch_id, LEGS_MAX)
    assert (receipt.code, receipt.rule) == (Code.INSUFFICIENT_FUNDS, "kernel.balance")
    assert world.query("payments.batch", batch_id) is not None, "it can be tried again"
    assert world.books.account(people[0].account) is None


def test_a_rule_that_would_hold_one_payment_refuses_all(world: World) -> None:
    batch_id = proposed(world, legs=[leg(BOB, 5), leg(CAROL, HELD_THEN_PAID)])
    approve(world, batch_id, CAROL, DAVE)
    receipt = world.refused(ALICE, "executeBatch", batch_id, 2)
    assert (receipt.code, receipt.rule) == (Code.POLICY_REJECTED, "kernel.hold")


def test_a_frozen_payee_refuses_all(world: World) -> None:
    batch_id = proposed(world)
    approve(world, batch_id, CAROL, DAVE)
    world.freeze(FRANK)
    assert world.refused(ALICE, "executeBatch", batch_id, 3).code == Code.FROZEN
    world.freeze(FRANK, 0)
    assert outcome(world.do(ALICE, "executeBatch", batch_id, 3)) == "executed"


MALFORMED = [
    (terms(legs=[]), "legs"),
    (terms(legs=[leg(BOB, 1)] * (LEGS_MAX + 1)), "legs"),
    (terms(legs=[leg(BOB, 0)]), "amount"),
    (terms(legs=[leg(BOB, 1, b"x" * 33)]), "reference"),
    (terms(legs=[leg(BOB, 2**63), leg(BOB, 2**63)]), "legs"),
    (terms(legs=[[BOB.account, 1]]), "legs"),
    (terms(needed=0), "needed"),
    (terms(needed=4), "needed"),
    (terms(approvers=[]), "approvers"),
    (terms(approvers=accounts(CAROL, DAVE)[::-1]), "approvers"),
    (terms(approvers=[CAROL.account, CAROL.account]), "approvers"),
    (terms(approvers=[bytes([n]) * 32 for n in range(17)], needed=1), "approvers"),
    (terms(asset="claw"), "asset"),
    (terms(reference=b"x" * 65), "reference"),
    (terms(travel=b"x"), "travelHash"),
    (terms()[:-1], "proposeBatch"),
]


@pytest.mark.parametrize(("values", "field"), MALFORMED)
def test_what_no_batch_can_be_is_malformed(values: Sequence[Any], field: str) -> None:
    with pytest.raises(Malformed) as caught:
        batches.PROPOSE.read(list(values))
    assert field in caught.value.field


@pytest.mark.parametrize(
    ("changes", "rule", "code"),
    [
        ({"expires": START_MS}, "payments.batchSpan", Code.MALFORMED),
        ({"expires": START_MS + 31 * DAY_MS}, "payments.batchSpan", Code.MALFORMED),
        ({"legs": [leg(BOB, 1), leg(ALICE, 1)]}, "payments.self", Code.MALFORMED),
        ({"approvers": accounts(ALICE, CAROL)}, "payments.batchPayer", Code.NOT_AUTHORISED),
        ({"approvers": accounts(CAROL, STRANGER)}, "kernel.sender", Code.NOT_FOUND),
    ],
)
def test_a_batch_that_could_never_be_executed_is_refused_at_once(
    world: World, changes: dict[str, Any], rule: str, code: Code
) -> None:
    receipt = world.refused(ALICE, "proposeBatch", *terms(**changes))
    assert (receipt.rule, receipt.code) == (rule, code)


def test_two_accounts_of_one_person_are_not_two_approvers(world: World) -> None:
    world.one_person(CAROL, DAVE)
    receipt = world.refused(ALICE, "proposeBatch", *terms(approvers=accounts(CAROL, DAVE)))
    assert receipt.rule == "payments.batchPeople" and receipt.facts == (1, 2)
    batch_id = proposed(world)
    approve(world, batch_id, CAROL)
    receipt = world.refused(DAVE, "approveBatch", batch_id, None)
    assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "payments.batchApprovedAlready")
    approve(world, batch_id, ERIN)
    assert outcome(world.do(ALICE, "executeBatch", batch_id, 3)) == "executed"


def test_who_turns_out_to_be_one_person_counts_once_when_it_is_executed(world: World) -> None:
    batch_id = proposed(world)
    approve(world, batch_id, CAROL, DAVE)
    world.one_person(CAROL, DAVE)
    receipt = world.refused(ALICE, "executeBatch", batch_id, 3)
    assert (receipt.code, receipt.rule) == (Code.APPROVAL_REQUIRED, "payments.batchApprovals")
    assert receipt.facts == (batch_id, 1, 2)
    approve(world, batch_id, ERIN)
    assert outcome(world.do(ALICE, "executeBatch", batch_id, 3)) == "executed"


def test_who_turns_out_to_be_the_payer_does_not_count(world: World) -> None:
    batch_id = proposed(world)
    approve(world, batch_id, CAROL, DAVE)
    world.one_person(ALICE, DAVE)
    assert world.refused(ALICE, "executeBatch", batch_id, 3).facts == (batch_id, 1, 2)
    assert world.refused(DAVE, "approveBatch", batch_id, None).rule == "payments.batchPayer"
    receipt = world.refused(ALICE, "proposeBatch", *terms())
    assert receipt.rule == "payments.batchPayer"


def test_an_approval_counts_until_its_time(world: World) -> None:
    batch_id = proposed(world)
    approve(world, batch_id, CAROL, until=START_MS + HOUR_MS)
    approve(world, batch_id, DAVE)
    world.wait_until(START_MS + HOUR_MS)
    assert world.refused(ALICE, "executeBatch", batch_id, 3).facts == (batch_id, 1, 2)
    approve(world, batch_id, CAROL)  # Again, since the first one no longer counts.
    assert outcome(world.do(ALICE, "executeBatch", batch_id, 3)) == "executed"


@pytest.mark.parametrize("until", [0, START_MS, EXPIRES + 1])
def test_an_approval_ends_before_its_batch(world: World, until: int) -> None:
    batch_id = proposed(world)
    assert world.refused(CAROL, "approveBatch", batch_id, until).rule == "payments.span"


def test_an_approval_can_be_taken_back_and_given_again(world: World) -> None:
    batch_id = proposed(world)
    approve(world, batch_id, CAROL, DAVE)
    result = world.do(CAROL, "rejectBatch", batch_id, "wrong-month")
    assert named(told(result, "payments.batchRejected"))["possible"] == 2
    assert world.refused(ALICE, "executeBatch", batch_id, 3).facts == (batch_id, 1, 2)
    receipt = world.refused(CAROL, "rejectBatch", batch_id, "again")
    assert receipt.rule == "payments.batchRejectedAlready"
    approve(world, batch_id, CAROL)
    assert outcome(world.do(ALICE, "executeBatch", batch_id, 3)) == "executed"


def test_a_no_counts_for_all_accounts_of_a_person(world: World) -> None:
    batch_id = proposed(world)
    approve(world, batch_id, CAROL, ERIN)
    world.one_person(CAROL, DAVE)
    world.do(DAVE, "rejectBatch", batch_id, "no")
    nothing_left(world)


def test_when_too_few_are_left_to_ask_it_is_over(world: World) -> None:
    batch_id = proposed(world)
    world.do(CAROL, "rejectBatch", batch_id, "no")
    assert outcome(world.do(DAVE, "rejectBatch", batch_id, "no")) == "rejected"
    nothing_left(world)


def test_its_payer_takes_it_back(world: World) -> None:
    batch_id = proposed(world)
    assert world.refused(CAROL, "withdrawBatch", batch_id).rule == "payments.party"
    assert outcome(world.do(ALICE, "withdrawBatch", batch_id)) == "withdrawn"
    nothing_left(world)


def test_it_ends_by_itself_and_late_is_late(world: World) -> None:
    batch_id = proposed(world)
    approve(world, batch_id, CAROL, DAVE)
    assert outcome(world.wait_until(EXPIRES)) == "expired"
    nothing_left(world)


def test_after_its_time_nothing_happens_even_when_the_queue_is_late() -> None:
    world = World(params={"due_per_block_max": 1})
    soon = START_MS + HOUR_MS
    # Two come due in one block, of which the queue ends one: the other is over all the same.
    ids = [proposed(world, needed=1, expires=soon) for _ in range(2)]
    for batch_id in ids:
        approve(world, batch_id, CAROL)
    for name, key, rest in (
        ("executeBatch", ALICE, (3,)),
        ("approveBatch", DAVE, (None,)),
        ("rejectBatch", DAVE, ("no",)),
        ("withdrawBatch", ALICE, ()),
    ):
        execution = world.execution(soon - world.time_ms)
        left = [one for one in ids if execution._books.get("payments", batches.batch_key(one))]
        assert len(left) == 1
        raw = world.tx(key, act(name, left[0], *rest), valid_until_ms=soon + HOUR_MS)
        execution.apply(prepare(raw, world.registry))
        (receipt,) = execution.finish().receipts
        assert (receipt.code, receipt.rule) == (Code.EXPIRED, "payments.late")


@pytest.mark.parametrize(
    ("name", "rest"), [("approveBatch", (None,)), ("rejectBatch", ("no",)), ("executeBatch", (3,))]
)
def test_strangers_have_no_say(world: World, name: str, rest: tuple[Any, ...]) -> None:
    batch_id = proposed(world)
    approve(world, batch_id, CAROL, DAVE)
    receipt = world.refused(BOB, name, batch_id, *rest)
    assert (receipt.code, receipt.rule) == (Code.NOT_AUTHORISED, "payments.party")


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("approveBatch", (None,)),
        ("rejectBatch", ("no",)),
        ("withdrawBatch", ()),
        ("executeBatch", (1,)),
    ],
)
def test_what_is_not_there_is_said_so(world: World, name: str, rest: tuple[Any, ...]) -> None:
    receipt = world.refused(ALICE, name, b"?" * 32, *rest)
    assert (receipt.code, receipt.rule) == (Code.NOT_FOUND, "payments.missing")


def test_who_executes_pays_for_each_payment(world: World) -> None:
    batch_id = proposed(world)
    approve(world, batch_id, CAROL, DAVE)
    receipt = world.refused(ALICE, "executeBatch", batch_id, 2)
    assert (receipt.code, receipt.rule) == (Code.LIMIT_EXCEEDED, "payments.batchLegs")
    few, many = (batches.EXECUTE.cost_with([batch_id, count]) for count in (1, 200))
    assert many - few == 199 * 100


def test_an_account_has_so_many_open_and_no_more(world: World) -> None:
    ids = [proposed(world, legs=[leg(BOB, 1)]) for _ in range(OPEN_MAX)]
    receipt = world.refused(ALICE, "proposeBatch", *terms())
    assert (receipt.code, receipt.rule) == (Code.LIMIT_EXCEEDED, "payments.batchesFull")
    world.do(ALICE, "withdrawBatch", ids[3])
    proposed(world)


def test_no_action_of_batches_is_for_session_keys() -> None:
    assert not any(action.session for action in batches.ACTIONS)


def test_sentences_say_how_much_to_how_many_by_whom() -> None:
    words = Words(lambda account: account[:2].hex(), lambda asset, amount: f"{amount} {asset}")
    said = batches.PROPOSE.words(batches.PROPOSE.named(batches.PROPOSE.read(terms())), words)
    assert "157 CLAW in 3 payments" in said and '"payroll 5"' in said
    cases: Any = (
        (batches.APPROVE, [b"i" * 32, EXPIRES]),
        (batches.APPROVE, [b"i" * 32, None]),
        (batches.REJECT, [b"i" * 32, "no"]),
        (batches.WITHDRAW, [b"i" * 32]),
        (batches.EXECUTE, [b"i" * 32, 3]),
    )
    for action, values in cases:
        assert "69" * 32 in action.words(action.named(action.read(values)), words)
