"""Escrow: nobody is paid early, twice, or not at all.

If these failed, what a buyer set apart could be taken without the goods, or be lost to both.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.kernel.records import Hold
from clawpurse.ledger.module_api import Words
from clawpurse.ledger.params import DAY_MS
from clawpurse.modules.payments import escrows
from clawpurse.modules.payments.escrows import ESCROW_SPAN_MAX_MS
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, FRANK, START_MS, Key
from tests.modules.payments_world import HELD_THEN_PAID, HOUR_MS, World, act, named, told

SECRET = b"open sesame"
LOCK = hashlib.sha256(SECRET).digest()
FINISH, CANCEL = START_MS + HOUR_MS, START_MS + DAY_MS
TRAVEL = b"t" * 32


def terms(**changes: Any) -> list[Any]:
    fields: dict[str, Any] = {
        "asset": "CLAW",
        "recipient": BOB,
        "amount": 300,
        "finish": FINISH,
        "cancel": CANCEL,
        "condition": None,
        "arbiter": None,
        "reference": b"order 7",
        "travel": None,
    }
    assert fields.keys() >= changes.keys()
    return list({**fields, **changes}.values())


def opened(world: World, **changes: Any) -> bytes:
    result = world.do(ALICE, "createEscrow", *terms(**changes))
    return bytes(named(told(result, "payments.escrowCreated"))["escrowId"])


def outcome(result: Any) -> tuple[str, int]:
    data = named(told(result, "payments.escrowEnded"))
    return data["outcome"], data["amount"]


def nothing_left(world: World) -> None:
    assert world.tree() == {} and world.queue() == 0
    assert world.held(ALICE).held == 0
    assert not [key for key in world.tree("kernel") if key[:1] in (b"h", b"x")]


def test_what_is_set_apart_is_the_payers_and_not_spendable() -> None:
    world = World()
    escrow_id = opened(world, condition=LOCK, arbiter=CAROL, travel=TRAVEL)
    assert (world.held(ALICE).amount, world.held(ALICE).held) == (999_700, 300)
    escrow = world.query("payments.escrow", escrow_id)
    assert escrow[:6] == (FINISH, CANCEL, LOCK, CAROL.account, b"order 7", TRAVEL)
    for party in (ALICE, BOB, CAROL):
        listed = world.query("payments.objects", party.account, None, 10)
        assert listed == [("escrow", escrow_id)]


def test_without_secret_or_arbiter_it_is_paid_by_itself() -> None:
    world = World()
    opened(world)
    assert world.wait_until(FINISH - 1).events == ()
    result = world.wait_until(FINISH)
    assert outcome(result) == ("paid", 300) and world.balance(BOB) == 10_300
    nothing_left(world)


def test_before_the_queue_comes_to_it_anybody_has_it_paid() -> None:
    """A block that is full of due work must not make anybody wait for its money."""
    world = World(params={"due_per_block_max": 1})
    for _ in range(3):
        opened(world)
    world.wait_until(FINISH)
    left = [key[1:] for key in world.tree() if key[:1] == b"e"]
    raws = [
        world.tx(CAROL, act("finishEscrow", one, None), sequence=at) for at, one in enumerate(left)
    ]
    result = world.block(*raws, after_ms=0)
    assert {receipt.rule for receipt in result.receipts} == {"", "payments.missing"}
    assert world.balance(BOB) == 10_900
    nothing_left(world)


@pytest.mark.parametrize("sender", [ALICE, BOB, CAROL, DAVE])
def test_whoever_knows_the_secret_has_the_payee_paid(sender: Key) -> None:
    world = World()
    escrow_id = opened(world, condition=LOCK, finish=None)
    result = world.do(sender, "finishEscrow", escrow_id, SECRET)
    assert outcome(result) == ("paid", 300) and world.balance(BOB) == 10_300
    nothing_left(world)


def test_the_payer_releases_without_secret_or_arbiter_once_it_may_be_paid() -> None:
    world = World()
    escrow_id = opened(world, condition=LOCK, arbiter=CAROL)
    assert world.refused(ALICE, "finishEscrow", escrow_id, None).rule == "payments.early"
    world.wait_until(FINISH)
    assert outcome(world.do(ALICE, "finishEscrow", escrow_id, None)) == ("paid", 300)
    nothing_left(world)


@pytest.mark.parametrize("release", [0, 1])
def test_an_arbiter_decides(release: int) -> None:
    world = World()
    escrow_id = opened(world, arbiter=CAROL, finish=None)
    result = world.do(CAROL, "decideEscrow", escrow_id, release, "goods.broken")
    decided = named(told(result, "payments.escrowDecided"))
    assert decided == {"escrowId": escrow_id, "released": release, "reason": "goods.broken"}
    assert outcome(result) == ("paid" if release else "returned", 300)
    assert world.balance(BOB) == 10_000 + 300 * release
    nothing_left(world)


def test_an_arbiter_can_return_before_the_time_but_not_pay() -> None:
    world = World()
    escrow_id = opened(world, arbiter=CAROL)
    receipt = world.refused(CAROL, "decideEscrow", escrow_id, 1, "ok")
    assert (receipt.rule, receipt.facts[0]) == ("payments.early", FINISH)
    assert outcome(world.do(CAROL, "decideEscrow", escrow_id, 0, "no")) == ("returned", 300)


def test_the_payee_can_give_it_up_at_any_time() -> None:
    for changes in ({}, {"condition": LOCK}, {"arbiter": CAROL}):
        world = World()
        escrow_id = opened(world, **changes)
        assert outcome(world.do(BOB, "cancelEscrow", escrow_id)) == ("returned", 300)
        nothing_left(world)


def test_at_its_time_it_goes_back_by_itself() -> None:
    world = World()
    opened(world, condition=LOCK)
    assert outcome(world.wait_until(CANCEL)) == ("returned", 300)
    assert world.balance(ALICE) == 1_000_000
    nothing_left(world)


def test_after_its_time_nobody_is_paid_and_anybody_has_it_returned() -> None:
    """However full the queue is: what was to come back comes back."""
    world = World(params={"due_per_block_max": 1})
    opened(world, condition=LOCK, amount=100)
    opened(world, condition=LOCK, arbiter=CAROL)
    opened(world, condition=LOCK, arbiter=CAROL, amount=200)
    world.wait_until(CANCEL)
    left = [key[1:] for key in world.tree() if key[:1] == b"e"]
    assert len(left) == 2
    # The next block's queue ends the first of the two, so it is judged by its own transactions.
    raws = [
        world.tx(CAROL, act("finishEscrow", one, SECRET), sequence=at)
        for at, one in enumerate(left)
    ]
    rules = {receipt.rule for receipt in world.block(*raws, after_ms=0).receipts}
    assert rules == {"payments.missing", "payments.late"}


def test_a_frozen_payee_is_not_paid_and_the_escrow_stays() -> None:
    world = World()
    escrow_id = opened(world, condition=LOCK, finish=None)
    world.freeze(BOB)
    receipt = world.refused(BOB, "finishEscrow", escrow_id, SECRET)
    assert (receipt.code, receipt.rule) == (Code.FROZEN, "warden.frozen")
    world.freeze(BOB, 0)
    assert outcome(world.do(BOB, "finishEscrow", escrow_id, SECRET)) == ("paid", 300)


@pytest.mark.parametrize("frozen", [ALICE, BOB])
def test_a_payout_to_a_frozen_party_at_its_time_waits_for_officers(frozen: Key) -> None:
    world = World()
    escrow_id = opened(world)
    world.freeze(frozen)
    result = world.wait_until(FINISH)
    assert outcome(result) == ("suspended", 300)
    hold = held(world, escrow_id)
    assert (hold.module, hold.rule, hold.officers) == ("kernel", "warden.frozen", "compliance")
    assert world.tree() == {} and world.held(ALICE).held == 300
    world.freeze(frozen, 0)
    world.do(DAVE, "voteHold", escrow_id, 1, "cleared")
    assert world.balance(BOB) == 10_300
    nothing_left(world)


def held(world: World, escrow_id: bytes) -> Hold:
    found = world.books.find_hold(escrow_id)
    assert found is not None
    return found


def test_a_return_to_a_frozen_payer_is_no_payout() -> None:
    """It was theirs all along; frozen it stays."""
    world = World()
    opened(world, condition=LOCK)
    world.freeze(ALICE)
    assert outcome(world.wait_until(CANCEL)) == ("returned", 300)
    nothing_left(world)


def test_a_clawback_takes_part_of_it_and_the_rest_is_paid() -> None:
    world = World()
    opened(world)
    escrow_id = next(key[1:] for key in world.tree() if key[:1] == b"e")
    world.seize(ALICE, 120, escrow_id)
    assert outcome(world.wait_until(FINISH)) == ("paid", 180)
    assert (world.balance(BOB), world.balance(FRANK)) == (10_180, 120)
    nothing_left(world)


@pytest.mark.parametrize("first", [0, 299])
def test_a_clawback_of_all_of_it_ends_the_escrow(first: int) -> None:
    world = World()
    escrow_id = opened(world, condition=LOCK)
    if first:
        world.seize(ALICE, first, escrow_id)
    result = world.do(ALICE, "warden.seize", "CLAW", ALICE, FRANK, 300 - first, escrow_id)
    assert outcome(result) == ("seized", 300 - first)
    nothing_left(world)
    assert world.wait_until(CANCEL).events == ()
    assert world.refused(BOB, "finishEscrow", escrow_id, SECRET).rule == "payments.missing"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"recipient": ALICE}, "payments.self"),
        ({"amount": 1_000_001}, "kernel.balance"),
        ({"asset": "GOLD"}, "kernel.asset"),
        ({"amount": HELD_THEN_PAID}, "kernel.hold"),
        ({"cancel": START_MS + ESCROW_SPAN_MAX_MS + 1_001}, "payments.span"),
        ({"finish": START_MS + 1_000}, "payments.span"),
        ({"finish": None, "condition": LOCK, "cancel": START_MS + 1_000}, "payments.span"),
        ({"arbiter": BOB}, "payments.arbiterParty"),
        ({"arbiter": ALICE}, "payments.arbiterParty"),
        ({"arbiter": FRANK}, "kernel.sender"),
    ],
)
def test_an_escrow_is_refused(changes: dict[str, Any], rule: str) -> None:
    world = World()
    assert world.refused(ALICE, "createEscrow", *terms(**changes)).rule == rule


def test_an_arbiter_who_is_one_person_with_a_party_is_refused_even_later() -> None:
    world = World()
    escrow_id = opened(world, arbiter=CAROL, finish=None)
    world.one_person(BOB, CAROL)
    receipt = world.refused(CAROL, "decideEscrow", escrow_id, 1, "ok")
    assert receipt.rule == "payments.arbiterParty"
    assert world.refused(ALICE, "createEscrow", *terms(arbiter=CAROL)).rule == receipt.rule


def test_a_frozen_party_promises_nothing_and_is_promised_nothing() -> None:
    world = World()
    world.freeze(BOB)
    assert world.refused(ALICE, "createEscrow", *terms()).rule == "warden.frozen"


@pytest.mark.parametrize(
    ("changes", "sender", "action", "values", "rule"),
    [
        ({"condition": LOCK}, BOB, "finishEscrow", [SECRET], "payments.early"),
        ({}, BOB, "finishEscrow", [None], "payments.early"),
        ({"finish": None, "condition": LOCK}, BOB, "finishEscrow", [b"x"], "payments.secret"),
        ({"finish": None, "condition": LOCK}, BOB, "finishEscrow", [None], "payments.party"),
        ({"finish": None, "arbiter": CAROL}, BOB, "finishEscrow", [SECRET], "payments.secret"),
        ({"finish": None, "arbiter": CAROL}, CAROL, "finishEscrow", [None], "payments.party"),
        ({"finish": None, "arbiter": CAROL}, BOB, "decideEscrow", [1, "x"], "payments.party"),
        ({"finish": None, "condition": LOCK}, BOB, "decideEscrow", [1, "x"], "payments.party"),
        ({"condition": LOCK}, ALICE, "cancelEscrow", [], "payments.early"),
        ({"condition": LOCK}, DAVE, "cancelEscrow", [], "payments.early"),
        ({}, ALICE, "cancelEscrow", [], "payments.party"),
    ],
)
def test_who_may_not_end_it_is_told_why(
    changes: dict[str, Any], sender: Key, action: str, values: list[Any], rule: str
) -> None:
    world = World()
    escrow_id = opened(world, **changes)
    assert world.refused(sender, action, escrow_id, *values).rule == rule


@pytest.mark.parametrize(
    ("action", "values"),
    [("finishEscrow", [None]), ("cancelEscrow", []), ("decideEscrow", [1, "x"])],
)
def test_what_is_no_escrow_is_not_found(action: str, values: list[Any]) -> None:
    world = World()
    receipt = world.refused(ALICE, action, b"n" * 32, *values)
    assert (receipt.code, receipt.rule) == (Code.NOT_FOUND, "payments.missing")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        (terms(cancel=FINISH), "cancelAfter"),
        (terms(finish=None), "createEscrow"),
        (terms(amount=0), "amount"),
        (terms(amount=2**64), "amount"),
        (terms(reference=b"r" * 65), "reference"),
        (terms(condition=b"short"), "condition"),
        (terms()[:-1], "createEscrow"),
    ],
)
def test_an_escrow_that_could_never_pay_is_malformed(values: list[Any], field: str) -> None:
    wire = [one.account if isinstance(one, Key) else one for one in values]
    with pytest.raises(Malformed) as caught:
        escrows.CREATE.read(wire)
    assert field in caught.value.field


def test_a_preimage_has_a_bound() -> None:
    escrows.FINISH.read([b"e" * 32, b"p" * 256])
    with pytest.raises(Malformed):
        escrows.FINISH.read([b"e" * 32, b"p" * 257])


def test_the_sentences_say_what_is_signed() -> None:
    words = Words(
        lambda account: "bob" if account == BOB.account else "carol", lambda a, n: f"{n} {a}"
    )
    values = escrows.CREATE.read([x.account if isinstance(x, Key) else x for x in terms()])
    said = escrows.CREATE.words(escrows.CREATE.named(values), words)
    assert said == (
        "Set 300 CLAW to bob apart. Nobody is paid before 2027-01-15T09:00:00.000Z."
        ' Then it is paid by itself. Reference "order 7".'
    )
    wire = [x.account if isinstance(x, Key) else x for x in terms(condition=LOCK, arbiter=CAROL)]
    said = escrows.CREATE.words(escrows.CREATE.named(escrows.CREATE.read(wire)), words)
    assert f"Whoever knows the secret of 0x{LOCK.hex()} has it paid. carol may decide." in said
    assert "At 2027-01-16T08:00:00.000Z it comes back." in said
