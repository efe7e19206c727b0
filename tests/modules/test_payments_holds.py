"""Holds that a payer placed, and votes on these and on those that a rule made.

If these failed, one officer could release a payment to a friend alone, or a deposit at a hotel
could be kept for ever.
"""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.kernel.records import officers_account
from clawpurse.ledger.module_api import Words
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.transition import ExecutionResult
from clawpurse.modules.payments import placed, votes
from clawpurse.modules.payments.common import YEAR_MS
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, FRANK, START_MS, Key, transfer
from tests.modules.council import grant, revoke
from tests.modules.payments_world import (
    HELD_THEN_PAID,
    HELD_THEN_RETURNED,
    OPENING,
    World,
    act,
    named,
    told,
)

EXPIRES = START_MS + DAY_MS
DESK = sorted([CAROL, DAVE, ERIN], key=lambda key: key.account)
OFFICERS = [Key(f"officer-{number}") for number in range(3)]


def terms(**changes: Any) -> list[Any]:
    fields: dict[str, Any] = {
        "asset": "CLAW",
        "recipient": BOB,
        "amount": 300,
        "reason": "deposit",
        "expires": EXPIRES,
        "at_expiry": 0,
        "capture": 1,
        "releasers": [],
        "needed": 0,
        "reference": b"room 12",
        "travel": None,
    }
    assert fields.keys() >= changes.keys()
    return list({**fields, **changes}.values())


def by_desk(needed: int = 2, **changes: Any) -> list[Any]:
    releasers = [key.account for key in DESK]
    return terms(**{"capture": 0, "releasers": releasers, "needed": needed, **changes})


def hold_placed(world: World, values: list[Any]) -> bytes:
    result = world.do(ALICE, "placeHold", *values)
    return bytes(named(told(result, "payments.holdPlaced"))["holdId"])


def outcome(result: ExecutionResult) -> tuple[str, int]:
    data = named(told(result, "payments.holdEnded"))
    return data["outcome"], data["amount"]


def nothing_left(world: World) -> None:
    assert world.tree() == {} and world.queue() == 0
    assert world.held(ALICE).held == 0
    assert not [key for key in world.tree("kernel") if key[:1] in (b"h", b"x")]


# -- placed holds


def test_a_payee_takes_what_it_may_and_gives_the_rest_back() -> None:
    world = World()
    hold_id = hold_placed(world, terms())
    result = world.do(BOB, "captureHold", hold_id, 120, 0)
    assert told(result, "payments.holdCaptured").data == ("CLAW", 120, hold_id, 180)
    assert world.query("payments.hold", hold_id)[:6] == ("deposit", EXPIRES, 0, 1, (), 0)
    result = world.do(BOB, "captureHold", hold_id, 80, 1)
    assert outcome(result) == ("returned", 180)
    assert (world.balance(ALICE), world.balance(BOB)) == (999_800, 10_200)
    nothing_left(world)


def test_a_payee_takes_all_of_it() -> None:
    world = World()
    hold_id = hold_placed(world, terms())
    assert outcome(world.do(BOB, "captureHold", hold_id, 300, 0)) == ("paid", 300)
    assert world.balance(BOB) == 10_300
    nothing_left(world)


@pytest.mark.parametrize("values", [terms(), by_desk()])
def test_a_payee_gives_all_of_it_up_even_if_it_may_take_nothing(values: list[Any]) -> None:
    world = World()
    hold_id = hold_placed(world, values)
    assert outcome(world.do(BOB, "captureHold", hold_id, 0, 1)) == ("returned", 300)
    nothing_left(world)


@pytest.mark.parametrize(("at_expiry", "bob"), [(0, 10_000), (1, 10_300)])
def test_at_its_time_it_ends_as_its_payer_said(at_expiry: int, bob: int) -> None:
    world = World()
    hold_placed(world, terms(at_expiry=at_expiry))
    assert outcome(world.wait_until(EXPIRES)) == (("returned", "paid")[at_expiry], 300)
    assert world.balance(BOB) == bob
    nothing_left(world)


def test_the_time_s_payout_to_a_frozen_payee_waits_for_officers_without_the_desk_s_votes() -> None:
    """The desk had decided to release, by one vote of two; officers begin anew."""
    world = World()
    hold_id = hold_placed(world, by_desk(at_expiry=1))
    world.do(DAVE, "voteHold", hold_id, 1, "ok")
    world.freeze(BOB)
    assert outcome(world.wait_until(EXPIRES)) == ("suspended", 300)
    assert world.query("payments.votes", hold_id) == () and world.held(ALICE).held == 300
    world.do(ERIN, "voteHold", hold_id, 0, "fraud")
    assert world.balance(ALICE) == 1_000_000
    nothing_left(world)


@pytest.mark.parametrize("release", [0, 1])
def test_k_of_the_named_releasers_decide(release: int) -> None:
    world = World()
    hold_id = hold_placed(world, by_desk())
    result = world.do(CAROL, "voteHold", hold_id, release, "seen")
    assert told(result, "payments.holdVoted").data == (hold_id, release, "seen", 1, 2)
    result = world.do(ERIN, "voteHold", hold_id, release, "seen.too")
    assert outcome(result) == (("returned", "paid")[release], 300)
    assert world.balance(BOB) == 10_000 + 300 * release
    nothing_left(world)


def test_a_refused_release_keeps_votes_and_hold_and_is_told() -> None:
    world = World()
    hold_id = hold_placed(world, by_desk())
    world.do(CAROL, "voteHold", hold_id, 1, "ok")
    world.freeze(BOB)
    result = world.do(DAVE, "voteHold", hold_id, 1, "ok")
    refused = named(told(result, "payments.releaseRefused"))
    assert refused == {"holdId": hold_id, "code": Code.FROZEN, "rule": "warden.frozen"}
    assert len(world.query("payments.votes", hold_id)) == 2 and world.held(ALICE).held == 300
    world.freeze(BOB, 0)
    # Somebody says so again: that is not a second vote of the same person.
    assert outcome(world.do(CAROL, "voteHold", hold_id, 1, "ok")) == ("paid", 300)
    nothing_left(world)


def test_a_clawback_takes_part_of_a_hold_or_all_of_it() -> None:
    world = World()
    hold_id = hold_placed(world, by_desk())
    world.do(CAROL, "voteHold", hold_id, 1, "ok")
    world.seize(ALICE, 100, hold_id)
    assert len(world.query("payments.votes", hold_id)) == 1
    result = world.do(ALICE, "warden.seize", "CLAW", ALICE, FRANK, 200, hold_id)
    assert outcome(result) == ("seized", 200)
    nothing_left(world)


def test_what_a_clawback_left_is_all_that_can_be_taken() -> None:
    world = World()
    hold_id = hold_placed(world, terms())
    world.seize(ALICE, 100, hold_id)
    assert world.refused(BOB, "captureHold", hold_id, 201, 0).rule == "kernel.holdLess"
    assert outcome(world.do(BOB, "captureHold", hold_id, 200, 1)) == ("paid", 200)
    nothing_left(world)


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        (terms(recipient=ALICE), "payments.self"),
        (terms(expires=START_MS + 1_000), "payments.span"),
        (terms(expires=START_MS + YEAR_MS + 1_001), "payments.span"),
        (terms(amount=HELD_THEN_PAID), "kernel.hold"),
        (terms(amount=1_000_001), "kernel.balance"),
        (terms(asset="GOLD"), "kernel.asset"),
        (terms(releasers=[BOB.account], needed=1), "payments.releaserParty"),
        (terms(releasers=[ALICE.account], needed=1), "payments.releaserParty"),
        (terms(releasers=[FRANK.account], needed=1), "kernel.sender"),
    ],
)
def test_a_hold_is_refused(values: list[Any], rule: str) -> None:
    assert World().refused(ALICE, "placeHold", *values).rule == rule


def test_releasers_are_counted_as_people() -> None:
    world = World()
    world.one_person(DAVE, ERIN)
    receipt = world.refused(ALICE, "placeHold", *by_desk(needed=3))
    assert (receipt.rule, receipt.facts) == ("payments.releasersFew", (2, 3))
    world.one_person(BOB, ERIN)
    assert world.refused(ALICE, "placeHold", *by_desk()).rule == "payments.releaserParty"


@pytest.mark.parametrize(
    ("values", "sender", "taken", "rule"),
    [
        (terms(), ALICE, (1, 0), "payments.party"),
        (terms(), CAROL, (1, 0), "payments.party"),
        (by_desk(), BOB, (1, 0), "payments.party"),
        (terms(), ALICE, (0, 1), "payments.party"),
        (terms(), BOB, (0, 0), "kernel.amount"),
        (terms(), BOB, (301, 0), "kernel.holdLess"),
    ],
)
def test_a_capture_is_refused(
    values: list[Any], sender: Key, taken: tuple[int, int], rule: str
) -> None:
    world = World()
    hold_id = hold_placed(world, values)
    assert world.refused(sender, "captureHold", hold_id, *taken).rule == rule


def test_a_capture_by_a_frozen_payee_is_refused() -> None:
    world = World()
    hold_id = hold_placed(world, terms())
    world.freeze(BOB)
    assert world.refused(BOB, "captureHold", hold_id, 1, 0).rule == "warden.frozen"


def test_after_its_time_nothing_is_taken_or_decided_however_full_the_queue_is() -> None:
    world = World(params={"due_per_block_max": 1})
    for _ in range(3):
        hold_placed(world, by_desk(capture=1))
    world.wait_until(EXPIRES)
    left = [key[1:] for key in world.tree() if key[:1] == b"h"]
    raws = []
    for at, hold_id in enumerate(left):
        raws.append(world.tx(BOB, act("captureHold", hold_id, 1, 0), sequence=2 * at))
        raws.append(world.tx(DAVE, act("voteHold", hold_id, 1, "x"), sequence=at))
        raws.append(world.tx(BOB, act("captureHold", hold_id, 0, 1), sequence=2 * at + 1))
    rules = sorted(receipt.rule for receipt in world.block(*raws, after_ms=0).receipts)
    # One of the two was ended by this block's queue; the other can only be given up.
    assert rules == ["", "payments.late", "payments.late", *["payments.missing"] * 3]
    nothing_left(world)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        (terms(capture=0), "placeHold"),
        (terms(needed=1), "needed"),
        (by_desk(needed=0), "needed"),
        (by_desk(needed=4), "needed"),
        (terms(releasers=[DESK[1].account, DESK[0].account], needed=1), "releasers"),
        (terms(releasers=[DESK[0].account] * 2, needed=1), "releasers"),
        (terms(releasers=[bytes([n]) * 32 for n in range(17)], needed=1), "releasers"),
        (terms(at_expiry=2), "releaseAtExpiry"),
        (terms(reason="not plain"), "reason"),
        (terms(amount=0), "amount"),
    ],
)
def test_a_hold_that_nobody_could_end_is_malformed(values: list[Any], field: str) -> None:
    wire = [one.account if isinstance(one, Key) else one for one in values]
    with pytest.raises(Malformed) as caught:
        placed.PLACE.read(wire)
    assert field in caught.value.field


def test_the_sentences_say_what_is_signed() -> None:
    words = Words(lambda account: "x", lambda asset, amount: f"{amount} {asset}")
    wire = [x.account if isinstance(x, Key) else x for x in by_desk(at_expiry=1)]
    said = placed.PLACE.words(placed.PLACE.named(placed.PLACE.read(wire)), words)
    assert said == (
        "Hold 300 CLAW to x; reason deposit. 2 of x, x, x decide. "
        'At 2027-01-16T08:00:00.000Z what is left is paid. Reference "room 12".'
    )
    take = placed.CAPTURE.words({"hold": b"h", "amount": 5, "giveBack": 1}, words)
    assert take == "Take 5 minor units of what is held under 0x68 and give the rest back."
    assert "Give up" in placed.CAPTURE.words({"hold": b"h", "amount": 0, "giveBack": 1}, words)
    vote = votes.VOTE.words({"hold": b"h", "release": 1, "reason": "ok"}, words)
    assert vote == "Vote that what is held under 0x68 is released to its payee. Reason: ok."


# -- holds that a rule made


def held_by_a_rule(world: World, amount: int = HELD_THEN_PAID) -> bytes:
    result = world.pay(ALICE, transfer(BOB, amount))
    hold_id = told(result, "kernel.held").data[2]
    assert isinstance(hold_id, bytes)
    return hold_id


def big_world() -> World:
    """Five officers: Dave, Erin and three more."""
    world = World(opening={**OPENING, **{key: {} for key in OFFICERS}})
    for key in OFFICERS:
        assert world.pay(ALICE, grant("compliance", key)).receipts[0].code == 0
    return world


@pytest.mark.parametrize("release", [0, 1])
def test_two_officers_release_or_return(release: int) -> None:
    world = World()
    hold_id = held_by_a_rule(world)
    listed = world.state.ordered("kernel", b"x" + officers_account("compliance"), 10)
    assert [key[34:] for key, _ in listed] == [hold_id]
    world.do(DAVE, "voteHold", hold_id, release, "ok")
    assert world.held(ALICE).held == 500
    result = world.do(ERIN, "voteHold", hold_id, release, "ok")
    assert told(result, "kernel.holdEnded").data[3] == release
    assert world.balance(BOB) == 10_000 + 500 * release
    nothing_left(world)


def test_one_officer_alone_decides_nothing() -> None:
    world = World()
    hold_id = held_by_a_rule(world)
    world.do(DAVE, "voteHold", hold_id, 1, "ok")
    receipt = world.refused(DAVE, "voteHold", hold_id, 1, "again")
    assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "payments.voted")


def test_two_accounts_of_one_person_are_one_officer() -> None:
    world = big_world()
    hold_id = held_by_a_rule(world)
    world.one_person(DAVE, ERIN)
    world.do(DAVE, "voteHold", hold_id, 1, "ok")
    result = world.do(ERIN, "voteHold", hold_id, 1, "ok")
    assert told(result, "payments.holdVoted").data[3:] == (1, 2)
    assert [vote.voter for vote in world.query("payments.votes", hold_id)] == [ERIN.account]
    world.do(OFFICERS[0], "voteHold", hold_id, 1, "ok")
    assert world.balance(BOB) == 10_500


def test_two_voters_who_turn_out_to_be_one_person_count_once() -> None:
    world = big_world()
    hold_id = held_by_a_rule(world)
    world.do(DAVE, "voteHold", hold_id, 1, "ok")
    world.do(ERIN, "voteHold", hold_id, 0, "no")
    world.do(OFFICERS[0], "warden.freeze", FRANK, 1)
    world.one_person(DAVE, OFFICERS[0])
    result = world.do(OFFICERS[0], "voteHold", hold_id, 1, "ok")
    assert told(result, "payments.holdVoted").data[3] == 1


def test_a_voter_changes_its_mind_until_it_is_decided() -> None:
    world = World()
    hold_id = held_by_a_rule(world)
    world.do(DAVE, "voteHold", hold_id, 1, "ok")
    result = world.do(DAVE, "voteHold", hold_id, 0, "fraud")
    assert told(result, "payments.holdVoted").data[1:] == (0, "fraud", 1, 2)
    world.do(ERIN, "voteHold", hold_id, 1, "ok")
    world.do(ERIN, "voteHold", hold_id, 0, "fraud")
    assert world.balance(ALICE) == 1_000_000
    nothing_left(world)


def test_who_lost_the_role_no_longer_counts() -> None:
    world = big_world()
    hold_id = held_by_a_rule(world)
    world.do(DAVE, "voteHold", hold_id, 1, "ok")
    world.pay(ALICE, revoke("compliance", DAVE))
    result = world.do(ERIN, "voteHold", hold_id, 1, "ok")
    assert told(result, "payments.holdVoted").data[3:] == (1, 2)
    assert world.held(ALICE).held == 500
    world.pay(ALICE, grant("compliance", DAVE))
    # Back in office, what Dave said counts again as soon as anybody's vote is counted.
    world.do(OFFICERS[0], "voteHold", hold_id, 1, "ok")
    assert world.balance(BOB) == 10_500


@pytest.mark.parametrize("party", [ALICE, BOB])
def test_nobody_decides_on_what_is_its_own(party: Key) -> None:
    world = World()
    world.pay(ALICE, grant("compliance", party))
    hold_id = held_by_a_rule(world)
    assert world.refused(party, "voteHold", hold_id, 1, "ok").rule == "payments.ownHold"
    world.one_person(party, DAVE)
    assert world.refused(DAVE, "voteHold", hold_id, 1, "ok").rule == "payments.ownHold"


def test_a_voter_who_turns_out_to_be_a_party_no_longer_counts() -> None:
    world = big_world()
    hold_id = held_by_a_rule(world)
    world.do(DAVE, "voteHold", hold_id, 1, "ok")
    world.one_person(BOB, DAVE)
    result = world.do(ERIN, "voteHold", hold_id, 1, "ok")
    assert told(result, "payments.holdVoted").data[3] == 1


def test_only_officers_decide_on_what_a_rule_made() -> None:
    world = World()
    hold_id = held_by_a_rule(world)
    receipt = world.refused(CAROL, "voteHold", hold_id, 1, "ok")
    assert receipt.rule == "kernel.role"
    assert receipt.facts == (CAROL.account, "compliance", "payments.voteHold")


@pytest.mark.parametrize(
    ("amount", "bob"), [(HELD_THEN_PAID, 10_500), (HELD_THEN_RETURNED, 10_000)]
)
def test_votes_are_forgotten_when_a_hold_ends_by_itself(amount: int, bob: int) -> None:
    world = World()
    hold_id = held_by_a_rule(world, amount)
    world.do(DAVE, "voteHold", hold_id, 1, "ok")
    world.wait_until(world.time_ms + DAY_MS)
    assert world.balance(BOB) == bob
    nothing_left(world)
    assert world.refused(ERIN, "voteHold", hold_id, 1, "ok").rule == "payments.missing"


def test_a_release_to_a_frozen_party_is_refused_and_told() -> None:
    world = World()
    hold_id = held_by_a_rule(world)
    world.freeze(ALICE)
    world.do(DAVE, "voteHold", hold_id, 1, "ok")
    result = world.do(ERIN, "voteHold", hold_id, 1, "ok")
    assert named(told(result, "payments.releaseRefused"))["rule"] == "warden.frozen"
    assert world.held(ALICE).held == 500
    world.freeze(ALICE, 0)
    world.do(DAVE, "voteHold", hold_id, 1, "ok")
    assert world.balance(BOB) == 10_500
    nothing_left(world)


def test_a_clawback_of_what_a_rule_holds_leaves_no_votes() -> None:
    world = World()
    hold_id = held_by_a_rule(world)
    world.do(DAVE, "voteHold", hold_id, 1, "ok")
    world.seize(ALICE, 200, hold_id)
    assert len(world.query("payments.votes", hold_id)) == 1
    world.seize(ALICE, 300, hold_id)
    nothing_left(world)


def test_an_escrow_is_nothing_to_vote_on() -> None:
    world = World()
    values = ["CLAW", BOB, 300, EXPIRES - 1, EXPIRES, None, None, b"", None]
    escrow_id = named(told(world.do(ALICE, "createEscrow", *values), "payments.escrowCreated"))[
        "escrowId"
    ]
    assert world.refused(DAVE, "voteHold", escrow_id, 1, "x").rule == "payments.noVotes"
    hold_id = hold_placed(world, terms())
    assert world.refused(DAVE, "voteHold", hold_id, 1, "x").rule == "payments.noVotes"


def test_only_named_releasers_vote_on_a_placed_hold() -> None:
    world = World()
    hold_id = hold_placed(world, by_desk())
    for key in (ALICE, BOB):
        assert world.refused(key, "voteHold", hold_id, 1, "x").rule == "payments.party"
    world.one_person(BOB, CAROL)
    assert world.refused(CAROL, "voteHold", hold_id, 1, "x").rule == "payments.ownHold"


def test_many_votes_have_a_bound_and_those_who_left_make_room() -> None:
    world = big_world()
    hold_id = held_by_a_rule(world)
    crowd = [votes.Vote(Key(f"left-{n}").account, 0, "x", 1) for n in range(votes.VOTES_MAX)]
    world.state.records["payments", b"v" + hold_id] = votes._pack_votes(crowd)
    world.do(DAVE, "voteHold", hold_id, 1, "ok")
    assert [vote.voter for vote in world.query("payments.votes", hold_id)] == [DAVE.account]
