"""Votes of authorities: what a quorum decides happens once, at its height, and nothing else does.

If these failed, a few could take the network over, or a decision could be lost.
"""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.errors import BadSignature, Code, Malformed
from clawpurse.ledger.kernel.context import KernelContext
from clawpurse.ledger.kernel.scene import genesis_scene
from clawpurse.ledger.module_api import Words
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.governance.actions import ACTIONS, OPENINGS
from clawpurse.modules.governance.changes import (
    AMENDMENT_BLOCKS_MIN,
    Change,
    Kind,
    changed_authorities,
)
from clawpurse.modules.governance.proposals import (
    OPEN_PER_AUTHORITY_MAX,
    SPAN_MAX_MS,
    SPAN_MIN_MS,
)
from tests.ledger.sandbox import ALICE, BOB, CAROL, ERIN, START_MS, Key
from tests.modules.council import AUTHORITIES, HOUR_MS, Council, event, kinds

A, B, C, D, E, F, G, *_ = AUTHORITIES
FOUR, FIVE = (A, B, C, D), (A, B, C, D, E)


def keys(*members: Key) -> AuthoritySet:
    return AuthoritySet(member.public for member in members)


# -- authorities


def test_a_quorum_adds_an_authority_two_heights_on() -> None:
    chain = Council()
    change = chain.change(Kind.ADD, E)
    expires_ms = chain.time_ms + HOUR_MS
    chain.cast(A, change, expires_ms)
    chain.cast(B, change, expires_ms)
    assert chain.membership.change_height == 0 and chain.status(change.id(expires_ms)) == "open"
    result = chain.block(chain.ballot(C, change, expires_ms))
    height = chain.height
    assert event(result, "governance.passed")[3] == (change.id(expires_ms), height + 2)
    assert chain.seats(height) == chain.seats(height + 1) == keys(*FOUR)
    assert chain.seats(height + 2) == keys(*FIVE)
    found = chain.proposal(change.id(expires_ms))
    assert (found.height, found.in_force, found.votes) == (
        height,
        height + 2,
        tuple(sorted(key.public for key in (A, B, C))),
    )


@pytest.mark.parametrize("seats", range(1, 10))
def test_a_quorum_is_more_than_two_thirds_and_nothing_less_decides(seats: int) -> None:
    chain = Council(seats=seats)
    needed = keys(*AUTHORITIES[:seats]).quorum_size
    assert 3 * needed > 2 * seats >= 3 * (needed - 1)
    change = chain.change(Kind.GRANT, "x", BOB.account)
    expires_ms = chain.time_ms + HOUR_MS
    for number, voter in enumerate(AUTHORITIES[:needed], 1):
        assert not chain.query("roles.holds", BOB.account, "x")
        result = chain.block(chain.ballot(voter, change, expires_ms))
        assert event(result, "governance.voted")[3][2:] == (number, needed)
    assert chain.query("roles.holds", BOB.account, "x")


def test_four_to_five_to_four_and_a_replacement() -> None:
    chain = Council()
    chain.decide(chain.change(Kind.ADD, E), [A, B, C])
    chain.block()
    assert chain.seats(chain.height + 1) == keys(*FIVE)
    # Four of five now.
    removal = chain.decide(chain.change(Kind.REMOVE, A), [A, B, C])
    assert chain.status(removal) == "open"
    chain.say("vote", D, removal)
    chain.block()
    assert chain.seats(chain.height + 1) == keys(B, C, D, E)
    chain.decide(chain.change(Kind.REPLACE, B, F), [C, D, E])
    chain.block()
    assert chain.seats(chain.height + 1) == keys(C, D, E, F)


def test_a_removed_authority_s_vote_is_refused_and_its_old_ones_do_not_count() -> None:
    chain = Council(seats=5)
    other = chain.change(Kind.ADD, F)
    expires_ms = chain.time_ms + HOUR_MS
    chain.cast(A, other, expires_ms)
    chain.decide(chain.change(Kind.REMOVE, A), [A, B, C, D])
    # It is a member up to the height at which it no longer is.
    chain.say("vote", B, other.id(expires_ms))
    assert A.public in chain.seats(chain.height) and A.public not in chain.seats(chain.height + 1)
    receipt = chain.cast(A, chain.change(Kind.ADD, G), expires_ms)
    assert (receipt.code, receipt.rule) == (Code.NOT_AUTHORISED, "governance.notMember")
    for verb in ("vote", "withdraw"):
        assert chain.say(verb, A, other.id(expires_ms)).rule == "governance.notMember"
    chain.say("vote", C, other.id(expires_ms))
    # B and C are two of four; with A's vote they would be three.
    assert chain.status(other.id(expires_ms)) == "open"
    assert chain.proposal(other.id(expires_ms)).votes == tuple(sorted((B.public, C.public)))
    chain.say("vote", D, other.id(expires_ms))
    assert chain.status(other.id(expires_ms)) == "passed"


def test_a_new_authority_votes_from_its_first_height_on() -> None:
    chain = Council()
    chain.decide(chain.change(Kind.ADD, E), [A, B, C])
    change, expires_ms = chain.change(Kind.GRANT, "x", BOB.account), chain.time_ms + HOUR_MS
    assert chain.cast(E, change, expires_ms).rule == "governance.notMember"
    assert chain.cast(E, change, expires_ms).code == 0


def test_votes_count_again_when_the_set_has_shrunk() -> None:
    """Three of five are no quorum; once the set is four, one of them asks to count again."""
    chain = Council(seats=5)
    grant, expires_ms = chain.change(Kind.GRANT, "x", BOB.account), chain.time_ms + HOUR_MS
    for voter in (A, B, C):
        chain.cast(voter, grant, expires_ms)
    receipt = chain.say("vote", A, grant.id(expires_ms))
    assert receipt.rule == "governance.voted"
    chain.decide(chain.change(Kind.REMOVE, E), [A, B, C, D])
    chain.block()
    assert chain.say("vote", A, grant.id(expires_ms)).code == 0
    assert chain.query("roles.holds", BOB.account, "x")


def test_one_change_a_height_and_what_collides_waits_for_the_next() -> None:
    chain = Council()
    adds = [chain.change(Kind.ADD, key) for key in (E, F, G)]
    expires_ms = chain.time_ms + HOUR_MS
    result = chain.together(*adds, voters=[A, B, C])
    first, second, third = (add.id(expires_ms) for add in adds)
    assert [chain.status(one) for one in (first, second, third)] == ["passed", "waiting", "waiting"]
    assert kinds(result).count("governance.waiting") == 2
    height = chain.height
    assert chain.seats(height + 2) == keys(*FIVE)
    # Nobody needs to do anything: the next blocks carry the others out, one each.
    result = chain.block(after_ms=1)
    assert kinds(result) == ["governance.passed"]
    assert len(chain.seats(height + 3)) == 6 and len(chain.seats(height + 2)) == 5
    result = chain.block(after_ms=1)
    assert kinds(result) == ["governance.passed"] and len(chain.seats(height + 4)) == 7
    assert chain.seats(chain.height + 2) == keys(*AUTHORITIES[:7])
    assert [chain.status(one) for one in (first, second, third)] == ["passed"] * 3


def test_what_passed_first_is_first_in_the_queue() -> None:
    chain = Council()
    late, expires_ms = chain.change(Kind.ADD, AUTHORITIES[7]), chain.time_ms + HOUR_MS
    for voter in (A, B):
        chain.cast(voter, late, expires_ms)
    early = [chain.change(Kind.ADD, key) for key in (E, F, G)]
    early_ids = [change.id(chain.time_ms + HOUR_MS) for change in early]
    chain.together(*early, voters=[A, B, C])
    # It passes while two of those before it still wait, and takes its turn behind them.
    receipt = chain.say("vote", C, late.id(expires_ms))
    assert receipt.rule == ""
    assert sorted(map(chain.status, early_ids)) == ["passed", "passed", "waiting"]
    assert chain.status(late.id(expires_ms)) == "waiting"
    chain.block()
    assert list(map(chain.status, early_ids)) == ["passed"] * 3
    assert chain.status(late.id(expires_ms)) == "waiting"
    chain.block()
    assert chain.status(late.id(expires_ms)) == "passed"


def test_a_change_that_waits_is_judged_by_the_set_it_meets() -> None:
    """Two want the same key removed: one does it, the other fails aloud."""
    chain = Council(seats=5)
    remove, replace = chain.change(Kind.REMOVE, E), chain.change(Kind.REPLACE, E, F)
    expires_ms = chain.time_ms + HOUR_MS
    chain.together(remove, replace, voters=[A, B, C, D])
    assert chain.status(replace.id(expires_ms)) == "waiting"
    result = chain.block()
    failed = event(result, "governance.failed")
    assert failed[3] == (replace.id(expires_ms), int(Code.NOT_FOUND), "governance.noAuthority")
    assert chain.proposal(replace.id(expires_ms)).rule == "governance.noAuthority"
    assert chain.seats(chain.height + 5) == keys(*FOUR)


def test_a_replacement_may_follow_the_addition_it_speaks_of_in_one_block() -> None:
    chain = Council()
    # Replace B by E can be proposed now; so can add F; then F must be there to be replaced.
    add, expires_ms = chain.change(Kind.ADD, F), chain.time_ms + HOUR_MS
    chain.together(add, voters=[A, B, C])
    swap = chain.change(Kind.REPLACE, F, G)
    # One block later the next set has F, and another change may be made.
    chain.together(swap, voters=[A, B, C, D])
    assert chain.status(add.id(expires_ms)) == "passed"
    assert chain.seats(chain.height + 2) == keys(*FOUR, G)


def test_never_below_one_authority_and_the_last_can_be_replaced() -> None:
    chain = Council(seats=1)
    receipt = chain.cast(A, chain.change(Kind.REMOVE, A), chain.time_ms + HOUR_MS)
    assert receipt.rule == "governance.lastAuthority"
    chain.decide(chain.change(Kind.REPLACE, A, B), [A])
    chain.block()
    assert chain.seats(chain.height + 1) == keys(B)
    assert chain.say("vote", A, bytes(32)).rule == "governance.notMember"


def test_two_removals_in_one_block_never_leave_nobody() -> None:
    chain = Council(seats=2)
    changes = [chain.change(Kind.REMOVE, key) for key in (A, B)]
    expires_ms = chain.time_ms + HOUR_MS
    chain.together(*changes, voters=[A, B])
    chain.block()
    chain.block()
    assert len(chain.seats(chain.height + 2)) == 1
    assert chain.proposal(changes[1].id(expires_ms)).rule == "governance.lastAuthority"


def test_at_most_a_hundred_authorities() -> None:
    many = sorted((Key(f"seat-{n}") for n in range(101)), key=lambda key: key.public)
    chain = Council()
    context = working(chain)
    context._books.overlay.put(
        "kernel", b"s", chain.membership._replace(following=keys(*many[:100])).pack()
    )
    with pytest.raises(Exception, match="the most allowed"):
        changed_authorities(context, Change(Kind.ADD, (many[100].public,)))
    replaced = changed_authorities(
        context, Change(Kind.REPLACE, (many[0].public, many[100].public))
    )
    assert len(replaced) == 100


def working(chain: Council) -> KernelContext:
    """A context of the module in the next block."""
    execution = chain.execution()
    return execution._context(genesis_scene("governance"), "governance")


@pytest.mark.parametrize(
    ("kind", "arguments", "rule"),
    [
        (Kind.ADD, [A], "governance.isAuthority"),
        (Kind.REMOVE, [E], "governance.noAuthority"),
        (Kind.REPLACE, [E, F], "governance.noAuthority"),
        (Kind.REPLACE, [A, B], "governance.isAuthority"),
        (Kind.REPLACE, [A, A], "governance.isAuthority"),
        (Kind.GRANT, ["admin", ALICE.account], "governance.roleHeld"),
        (Kind.GRANT, ["x", ERIN.account], "kernel.sender"),
        (Kind.REVOKE, ["x", BOB.account], "governance.roleNotHeld"),
        (Kind.REVOKE, ["x", ERIN.account], "kernel.sender"),
        (Kind.PARAMETERS, ["interval_ms=200"], "governance.sameParameters"),
        (Kind.PARAMETERS, ["interval_ms=60001"], "governance.notVotable"),
        (Kind.PARAMETERS, ["propose_cap_ms=500,propose_base_ms=600"], "malformed"),
        (Kind.PARAMETERS, ["propose_base_ms=31000"], "governance.parameters"),
        (Kind.PARAMETERS, ["permissioned=2"], "governance.parameters"),
        (Kind.AMEND, ["early", AMENDMENT_BLOCKS_MIN], "governance.amendmentSoon"),
        (Kind.CANCEL, ["nothing"], "governance.noAmendment"),
    ],
)
def test_what_could_not_be_made_is_no_proposal(kind: Kind, arguments: list[Any], rule: str) -> None:
    chain = Council()
    change = chain.change(kind, *arguments)
    if rule == "malformed":
        with pytest.raises(Malformed):
            chain.cast(B, change, chain.time_ms + HOUR_MS)
        return
    assert chain.cast(B, change, chain.time_ms + HOUR_MS).rule == rule
    assert chain.query("governance.newest", 0, 10) == []


# -- signatures


def test_a_vote_needs_the_authority_s_own_signature() -> None:
    chain = Council()
    action = RawAction("governance.addAuthority", [A.public, chain.time_ms + HOUR_MS, E.public])
    for approvers in (
        [],
        [(B, B.public)],
        [(B, A.public)],
        [(A, B.public)],
        [(A, A.public), (B, B.public)],
    ):
        with pytest.raises(BadSignature):
            chain.block(chain.tx(ALICE, action, approvers=approvers))
    forged = chain.tx(ALICE, action, approvers=[(A, A.public)])
    with pytest.raises((AssertionError, Malformed, BadSignature)):
        chain.block(forged[:-1] + bytes([forged[-1] ^ 1]))
    assert chain.block(forged).receipts[0].code == 0


def test_several_authorities_may_vote_in_one_transaction() -> None:
    chain = Council()
    expires_ms = chain.time_ms + HOUR_MS
    votes = [
        RawAction("governance.addAuthority", [k.public, expires_ms, E.public]) for k in (A, B, C)
    ]
    approvers = [(key, key.public) for key in (A, B, C)]
    receipt = chain.block(chain.tx(BOB, *votes, approvers=approvers)).receipts[0]
    assert receipt.code == 0 and chain.seats(chain.height + 2) == keys(*FIVE)


def test_an_authority_can_send_its_vote_itself() -> None:
    chain = Council(opening={ALICE: {"CLAW": 5}, BOB: {}, A: {"CLAW": 5}})
    expires_ms = chain.time_ms + HOUR_MS
    receipt = chain.cast(A, chain.change(Kind.ADD, E), expires_ms, sender=A)
    assert receipt.code == 0


# -- votes


def test_a_vote_counts_once_and_can_be_taken_back() -> None:
    chain = Council()
    change, expires_ms = chain.change(Kind.ADD, E), chain.time_ms + HOUR_MS
    proposal = change.id(expires_ms)
    chain.cast(A, change, expires_ms)
    assert chain.cast(A, change, expires_ms).rule == "governance.voted"
    assert chain.say("vote", A, proposal).rule == "governance.voted"
    assert chain.say("withdraw", B, proposal).rule == "governance.notVoted"
    chain.say("vote", B, proposal)
    result = chain.block(chain.by_id("withdraw", A, proposal))
    assert event(result, "governance.withdrawn")[3] == (proposal, A.public, 1)
    chain.say("vote", C, proposal)
    assert chain.status(proposal) == "open"
    chain.say("vote", A, proposal)
    assert chain.status(proposal) == "passed"
    for verb in ("vote", "withdraw"):
        assert chain.say(verb, D, proposal).rule == "governance.over"
    assert chain.cast(D, change, expires_ms).rule == "governance.over"


def test_another_expiry_is_another_proposal() -> None:
    chain = Council()
    change, expires_ms = chain.change(Kind.ADD, E), chain.time_ms + HOUR_MS
    for voter, extra_ms in ((A, 0), (B, 1), (C, 2)):
        chain.cast(voter, change, expires_ms + extra_ms)
    assert len(chain.query("governance.open", 0, 10)) == 3
    assert chain.membership.change_height == 0


def test_a_proposal_ends_at_its_time_without_anybody_s_doing() -> None:
    chain = Council()
    change, expires_ms = chain.change(Kind.ADD, E), chain.time_ms + SPAN_MIN_MS + 1_000
    chain.cast(A, change, expires_ms)
    chain.cast(B, change, expires_ms)
    result = chain.block(after_ms=expires_ms - chain.time_ms - 1)
    assert kinds(result) == []
    late = chain.by_id("vote", C, change.id(expires_ms))
    result = chain.block(late, after_ms=1)
    assert event(result, "governance.expired")[3] == (change.id(expires_ms), 2)
    assert result.receipts[0].rule == "governance.over"
    assert chain.status(change.id(expires_ms)) == "expired"
    assert chain.query("governance.open", 0, 10) == []


def test_a_vote_after_the_time_is_late_even_if_the_queue_is_behind() -> None:
    chain = Council(params={"due_per_block_max": 1})
    expires_ms = chain.time_ms + SPAN_MIN_MS + 5_000
    changes = [chain.change(Kind.ADD, key) for key in (E, F)]
    for change in changes:
        chain.cast(A, change, expires_ms)
    first = chain.sequence(ALICE)
    votes = [
        chain.ballot(B, change, expires_ms, sequence=at, valid_until_ms=expires_ms + HOUR_MS)
        for at, change in enumerate(changes, first)
    ]
    result = chain.block(*votes, after_ms=expires_ms - chain.time_ms)
    rules = [receipt.rule for receipt in result.receipts]
    assert sorted(rules) == ["governance.late", "governance.over"]
    chain.block()
    assert {chain.status(change.id(expires_ms)) for change in changes} == {"expired"}


@pytest.mark.parametrize("off_ms", [SPAN_MIN_MS - 1, SPAN_MAX_MS + 1])
def test_how_long_a_proposal_may_be_open(off_ms: int) -> None:
    chain = Council()
    now_ms = chain.time_ms + 1_000
    assert chain.cast(A, chain.change(Kind.ADD, E), now_ms + off_ms).rule == "governance.span"
    now_ms = chain.time_ms + 1_000
    inside = SPAN_MIN_MS if off_ms < SPAN_MIN_MS else SPAN_MAX_MS
    assert chain.cast(A, chain.change(Kind.ADD, E), now_ms + inside).code == 0


def test_one_authority_has_so_many_open_proposals() -> None:
    chain = Council()
    expires_ms = chain.time_ms + HOUR_MS
    for number in range(OPEN_PER_AUTHORITY_MAX):
        change = chain.change(Kind.GRANT, f"role-{number}", BOB.account)
        assert chain.cast(A, change, expires_ms).code == 0
    more = chain.change(Kind.ADD, E)
    assert chain.cast(A, more, expires_ms).rule == "governance.openFull"
    # Withdrawing frees nothing: who opens and withdraws again and again gains nothing.
    first = chain.change(Kind.GRANT, "role-0", BOB.account)
    chain.say("withdraw", A, first.id(expires_ms))
    assert chain.cast(A, more, expires_ms).rule == "governance.openFull"
    assert chain.cast(B, more, expires_ms).code == 0 and chain.cast(A, more, expires_ms).code == 0
    # One that passes frees its place, and so does time.
    for voter in (B, C, D):
        chain.say("vote", voter, first.id(expires_ms))
    assert chain.cast(A, chain.change(Kind.ADD, F), expires_ms).code == 0
    assert chain.cast(A, chain.change(Kind.ADD, G), expires_ms).rule == "governance.openFull"
    chain.block(after_ms=HOUR_MS)
    assert chain.cast(A, chain.change(Kind.ADD, G), expires_ms + HOUR_MS).code == 0


def test_who_sends_a_proposal_answers_for_its_place_in_the_queue() -> None:
    chain = Council(params={"due_per_creator_max": 1})
    expires_ms = chain.time_ms + HOUR_MS
    assert chain.cast(A, chain.change(Kind.ADD, E), expires_ms).code == 0
    assert chain.cast(A, chain.change(Kind.ADD, F), expires_ms).rule == "kernel.dueFull"
    assert chain.cast(A, chain.change(Kind.ADD, F), expires_ms, sender=BOB).code == 0


def test_a_passed_change_that_cannot_even_wait_fails_aloud() -> None:
    """The queue of the module is full: the vote that would have made it wait is refused."""
    chain = Council(
        params={"due_per_creator_max": 2}, seats=1, opening={ALICE: {}, BOB: {}, CAROL: {}}
    )
    expires_ms = chain.time_ms + HOUR_MS
    adds = [chain.change(Kind.ADD, key) for key in (B, C, D, E)]
    raws = [
        chain.ballot(A, add, expires_ms, sender=who)
        for add, who in zip(adds, (ALICE, BOB, CAROL, ALICE), strict=True)
    ]
    raws[3] = chain.ballot(A, adds[3], expires_ms, sequence=1)
    receipts = chain.block(*raws).receipts
    assert [receipt.rule for receipt in receipts] == ["", "", "", "kernel.dueFull"]


def test_a_waiting_change_whose_queue_was_made_too_small_fails_aloud() -> None:
    chain = Council(seats=1)
    expires_ms = chain.time_ms + HOUR_MS
    adds = [chain.change(Kind.ADD, key) for key in (B, C, D, E)]
    chain.together(*adds, voters=[A])
    assert [chain.status(add.id(expires_ms)) for add in adds] == ["passed"] + ["waiting"] * 3
    # A vote made the queue smaller meanwhile: of the three, one is carried out, one finds the
    # place that the last one still has, and one waits again.
    chain.params = chain.params.with_values({"due_per_creator_max": 1})
    result = chain.block()
    assert sorted(kinds(result)) == ["governance.failed", "governance.passed"]
    assert event(result, "governance.failed")[3][2] == "kernel.dueFull"
    chain.block()
    statuses = sorted(chain.status(add.id(expires_ms)) for add in adds)
    assert statuses == ["failed", "passed", "passed", "passed"]


# -- lists and words


def test_proposals_are_listed_newest_first_and_open_ones_apart() -> None:
    chain = Council()
    expires_ms = chain.time_ms + HOUR_MS
    changes = [chain.change(Kind.GRANT, name, BOB.account) for name in "abcde"]
    for change in changes:
        chain.cast(A, change, expires_ms)
    for voter in (B, C):
        chain.say("vote", voter, changes[1].id(expires_ms))
    newest = chain.query("governance.newest", 0, 3)
    assert [one.change.arguments[0] for one in newest] == ["e", "d", "c"]
    assert [one.change.arguments[0] for one in chain.query("governance.newest", 3, 9)] == ["b", "a"]
    assert [one.change.arguments[0] for one in chain.query("governance.open", 0, 9)] == list("aecd")


def test_every_action_says_what_it_votes_for() -> None:
    words = Words(lambda account: "bob", lambda asset, amount: f"{amount} {asset}")
    values: dict[str, Any] = {
        "authority": A.public, "expires": START_MS, "key": E.public, "oldKey": B.public,
        "values": "fee_min=3,interval_ms=50", "role": "cashier", "account": BOB.account,
        "name": "next-one", "height": 77, "proposal": bytes(32),
    }  # fmt: skip
    sentences = [action.words(values, words) for action in ACTIONS]
    assert len(set(sentences)) == len(ACTIONS) == len(OPENINGS) + 2
    assert all(
        text.startswith("As authority clawval1") and text.endswith(".") for text in sentences
    )
    assert "set fee_min to 3, interval_ms to 50; it needs a quorum by 2027-" in sentences[3]
    assert "in force from block 77 on" in sentences[6]


@pytest.mark.parametrize("name", [action.name for action in ACTIONS])
def test_malformed_votes(name: str) -> None:
    registry = Council().registry
    action = registry.actions[name]
    wires: list[list[Any]] = [[], [b"x"] * len(action.fields), [None] * len(action.fields), [0] * 9]
    for wire in wires:
        with pytest.raises(Malformed):
            registry.read_action(RawAction(name, wire))
