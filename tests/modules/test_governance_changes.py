"""What votes can change beside the authorities: parameters, amendments; and drafts to judge.

If these failed, a vote could make votes impossible, or rules could change under a node unseen.
"""

from __future__ import annotations

import pytest

from clawpurse.ledger import amendments
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.kernel.scene import genesis_scene
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.governance.changes import (
    OWN_ACCOUNT,
    VOTABLE,
    Change,
    Kind,
    read_parameters,
)
from clawpurse.modules.governance.proposals import DRAFT_SPAN_MS, open_draft
from tests.ledger.sandbox import START_MS, Key
from tests.modules.council import AUTHORITIES, HOUR_MS, Council, event

A, B, C, D, E, *_ = AUTHORITIES
FOUR = (A, B, C, D)


def keys(*members: Key) -> AuthoritySet:
    return AuthoritySet(member.public for member in members)


# -- parameters


def test_parameters_are_in_force_from_the_next_height_on() -> None:
    chain = Council()
    proposal = chain.decide(chain.change(Kind.PARAMETERS, "fee_min=3,interval_ms=50"), [A, B, C])
    assert (chain.params.fee_min, chain.params.interval_ms) == (3, 50)
    assert chain.proposal(proposal).in_force == chain.height + 1
    assert chain.cast(D, chain.change(Kind.ADD, E), chain.time_ms + HOUR_MS).fee == 3


def test_two_changes_of_parameters_in_one_block_both_stay() -> None:
    chain = Council()
    one, other = (chain.change(Kind.PARAMETERS, text) for text in ("fee_min=3", "interval_ms=50"))
    chain.together(one, other, voters=[A, B, C])
    assert (chain.params.fee_min, chain.params.interval_ms) == (3, 50)


def test_no_vote_can_make_votes_impossible() -> None:
    """A network whose parameters let nobody vote could never set them right again."""
    chain = Council()
    for name, (low, high) in VOTABLE.items():
        for value in (low - 1, high + 1):
            if 0 <= value < 2**64:
                change = chain.change(Kind.PARAMETERS, f"{name}={value}")
                rule = chain.cast(A, change, chain.time_ms + HOUR_MS).rule
                assert rule == "governance.notVotable", name
    lowest = "block_bytes_max=65536,block_cost_max=20000,block_transactions_max=1,"
    lowest += (
        "due_per_block_max=1,due_per_creator_max=1,quota_cost_max=20000,valid_for_max_ms=60000"
    )
    chain.decide(chain.change(Kind.PARAMETERS, lowest), [A, B, C])
    chain.block(after_ms=2 * HOUR_MS)
    chain.decide(chain.change(Kind.PARAMETERS, "due_per_creator_max=1000"), [A, B, C])
    assert chain.params.due_per_creator_max == 1_000


@pytest.mark.parametrize(
    "text",
    ["", "fee_min", "fee_min=", "=1", "fee_min=-1", "fee_min=01", "fee_min=1,fee_min=2",
     "interval_ms=1,fee_min=1", "fee_min=1,", ",fee_min=1", "fee_min = 1", "fees=1",
     "fee_min=18446744073709551616", "fee_min=1;interval_ms=2", "fee_min=\u0661"],
)  # fmt: skip
def test_what_is_no_list_of_parameters(text: str) -> None:
    with pytest.raises(Malformed):
        read_parameters(text, "values")
    action = RawAction("governance.setParameters", [A.public, START_MS, text])
    with pytest.raises(Malformed):
        Council().registry.read_action(action)


# -- amendments


def test_an_amendment_is_in_force_from_its_height_on() -> None:
    chain = Council()
    chain.decide(chain.change(Kind.AMEND, "next-one", 40), [A, B, C])
    assert [tuple(one) for one in amendments.adopted(chain.state)] == [("next-one", 40, 3)]
    assert not amendments.active(chain.state, "next-one", 39)
    assert chain.query("governance.active", "next-one", 40)
    assert not amendments.active(chain.state, "another", 99)
    again = chain.cast(A, chain.change(Kind.AMEND, "next-one", 50), chain.time_ms + HOUR_MS)
    assert again.rule == "governance.amendmentKnown"


def test_an_amendment_can_be_called_off_before_its_height_and_never_after() -> None:
    chain = Council()
    chain.decide(chain.change(Kind.AMEND, "typo", 15), [A, B, C])
    chain.decide(chain.change(Kind.CANCEL, "typo"), [A, B, C])
    assert amendments.adopted(chain.state) == ()
    chain.decide(chain.change(Kind.AMEND, "meant", 19), [A, B, C])
    while chain.height < 18:
        chain.block()
    cancel = chain.cast(A, chain.change(Kind.CANCEL, "meant"), chain.time_ms + HOUR_MS)
    assert cancel.rule == "governance.amendmentActive"


def test_an_amendment_that_passes_too_late_fails_aloud() -> None:
    chain = Council()
    change, expires_ms = chain.change(Kind.AMEND, "slow", 20), chain.time_ms + HOUR_MS
    chain.cast(A, change, expires_ms)
    chain.cast(B, change, expires_ms)
    while chain.height < 15:
        chain.block()
    result = chain.block(chain.ballot(C, change, expires_ms))
    assert event(result, "governance.failed")[3][2] == "governance.amendmentSoon"
    assert amendments.adopted(chain.state) == ()
    assert result.receipts[0].code == 0  # The vote was given, and counted.


def test_the_number_of_amendments_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clawpurse.modules.governance.changes.AMENDMENTS_MAX", 1)
    chain = Council()
    chain.decide(chain.change(Kind.AMEND, "one", 40), [A, B, C])
    receipt = chain.cast(A, chain.change(Kind.AMEND, "two", 40), chain.time_ms + HOUR_MS)
    assert receipt.rule == "governance.amendmentsFull"


# -- drafts


def draft(chain: Council, change: Change, reason: str = "signed twice at height 7") -> bytes | None:
    """Open a draft in a block of its own, as evidence does."""
    execution = chain.execution()
    context = execution._context(genesis_scene("governance"), "governance")
    made = open_draft(context, change, reason)
    result = execution.finish()
    chain.state.apply(result.changes)
    chain.height, chain.time_ms = chain.height + 1, chain.time_ms + 1_000
    return made


def test_a_draft_is_voted_on_like_any_proposal() -> None:
    chain = Council(seats=5)
    made = draft(chain, chain.change(Kind.REMOVE, E))
    assert made is not None
    found = chain.proposal(made)
    assert (found.opener, found.votes, found.reason) == (None, (), "signed twice at height 7")
    for voter in (A, B, C, D):
        assert chain.say("vote", voter, made).code == 0
    assert chain.status(made) == "passed"
    assert chain.seats(chain.height + 2) == keys(*FOUR)


def test_there_is_one_open_draft_of_a_change() -> None:
    chain = Council()
    change = chain.change(Kind.REMOVE, D)
    made = draft(chain, change)
    assert made is not None and draft(chain, change, "again") == made
    assert len(chain.query("governance.open", 0, 10)) == 1
    chain.block(after_ms=DRAFT_SPAN_MS)
    assert chain.status(made) == "expired"
    assert draft(chain, change, "again") not in (None, made)


def test_a_draft_that_makes_no_sense_is_none_and_breaks_nothing() -> None:
    chain = Council(seats=1)
    assert draft(chain, chain.change(Kind.REMOVE, B)) is None
    assert draft(chain, chain.change(Kind.REMOVE, A)) is None
    assert chain.query("governance.newest", 0, 10) == []
    assert chain.account(OWN_ACCOUNT).due_count == 0
