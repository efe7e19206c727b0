"""Proposals of accounts: who approves, what is counted when, and what is carried out.

If these failed, one person could decide for two, or a decision be carried out that nobody made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.module_api import (
    ALLOW,
    RELEASE,
    Context,
    Module,
    Movement,
    Verdict,
    VerdictKind,
    Words,
)
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.rules import Rule
from clawpurse.ledger.transactions import ACTIONS_MAX, RawAction
from clawpurse.modules.accounts import proposals
from clawpurse.modules.accounts.objects import KINDS, Listed
from clawpurse.modules.accounts.proposals import (
    COST_EXECUTE,
    OPEN_PER_MEMBER_MAX,
    SPAN_MAX_MS,
    SPAN_MIN_MS,
)
from clawpurse.modules.accounts.records import Contents
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, change_key, transfer
from tests.modules.council import grant, permit
from tests.modules.multisig import (
    HOUR_MS,
    Firm,
    account_id,
    create,
    say,
    set_signers,
)

PAY = transfer(DAVE, 700)
COST = 200
NOBODY_S = b"\x0b" * 32


def wire(*actions: RawAction) -> list[Any]:
    return [[action.name, action.fields] for action in actions]


def test_two_of_three_let_the_firm_pay() -> None:
    chain = Firm()
    proposal_id = chain.propose(ALICE, PAY)
    head, contents = chain.proposal(proposal_id)
    assert head.approvals == (ALICE.account,) and head.rejections == ()
    assert contents.actions == (PAY,) and contents.id == proposal_id
    result = chain.pay(BOB, RawAction("accounts.approve", [proposal_id]))
    assert [event[1:] for event in result.events] == [
        ("accounts.approved", (chain.firm.account, BOB.account), (proposal_id, 2, 2))
    ]
    result = chain.pay(CAROL, RawAction("accounts.execute", [proposal_id, COST]))
    assert result.receipts[0].code == 0
    assert [event.kind for event in result.events] == [
        "accounts.proposalEnded",
        "assets.transferred",
    ]
    assert result.events[0].data == (proposal_id, "executed")
    assert result.events[1].accounts == (chain.firm.account, DAVE.account)
    assert chain.balance(chain.firm.account) == 9_300 and chain.balance(DAVE) == 700
    assert chain.open() == [] and chain.account(ALICE).due_count == 0


def test_the_proposer_is_one_of_the_n_and_one_is_not_two() -> None:
    chain = Firm()
    proposal_id = chain.propose(ALICE, PAY)
    receipt = chain.do(ALICE, "execute", proposal_id, COST)
    assert (receipt.code, receipt.rule) == (Code.APPROVAL_REQUIRED, "accounts.approvals")
    assert receipt.facts == (proposal_id, 1, 2)
    assert chain.do(ALICE, "approve", proposal_id).rule == "accounts.approvedAlready"
    assert chain.do(BOB, "approve", proposal_id).code == 0
    assert chain.do(BOB, "approve", proposal_id).rule == "accounts.approvedAlready"
    assert chain.do(ALICE, "execute", proposal_id, COST).code == 0


def test_one_signer_is_enough_where_the_policy_says_so() -> None:
    chain = Firm()
    assert chain.replace([ALICE, BOB], 2, (ALICE, 2), BOB, CAROL).code == 0
    proposal_id = chain.propose(ALICE, PAY)
    assert chain.do(ALICE, "execute", proposal_id, COST).code == 0


def test_several_actions_are_done_all_or_none() -> None:
    chain = Firm()
    chain.propose(ALICE, PAY, transfer(DAVE, 1, "EUR"))
    good = chain.open()[0]
    bad = chain.propose(ALICE, PAY, transfer(DAVE, 2**40))
    for proposal_id in (good, bad):
        assert chain.do(BOB, "approve", proposal_id).code == 0
    before = chain.balance(chain.firm.account)
    receipt = chain.do(CAROL, "execute", bad, 2 * COST)
    assert (receipt.code, receipt.rule) == (Code.INSUFFICIENT_FUNDS, "kernel.balance")
    assert chain.balance(chain.firm.account) == before and bad in chain.open()
    assert chain.do(CAROL, "execute", good, 2 * COST).code == 0
    assert chain.balance(DAVE) == 700 and chain.balance(DAVE, "EUR") == 1


def test_the_account_pays_for_accounts_that_it_opens() -> None:
    chain = Firm(params={"opening_deposit": 25})
    proposal_id = chain.propose(ALICE, transfer(ERIN, 5))
    chain.do(BOB, "approve", proposal_id)
    before = chain.balance(CAROL), chain.balance(chain.firm.account)
    assert chain.do(CAROL, "execute", proposal_id, COST).code == 0
    assert (chain.balance(CAROL), chain.balance(chain.firm.account)) == (before[0], before[1] - 30)


# -- who may do what


@pytest.mark.parametrize("verb", ["propose", "approve", "reject", "execute"])
def test_strangers_have_no_say(verb: str) -> None:
    chain = Firm()
    proposal_id = chain.propose(ALICE, PAY)
    chain.do(BOB, "approve", proposal_id)
    fields: dict[str, Sequence[Any]] = {
        "propose": [chain.firm.account, chain.time_ms + HOUR_MS, wire(PAY), b""],
        "execute": [proposal_id, COST],
    }
    before = chain.proposal(proposal_id)
    receipt = chain.do(DAVE, verb, *fields.get(verb, [proposal_id]))
    assert (receipt.code, receipt.rule) == (Code.NOT_AUTHORISED, "accounts.notSigner")
    assert receipt.facts == (DAVE.account, chain.firm.account)
    assert chain.proposal(proposal_id) == before and chain.open() == [proposal_id]


def test_a_sponsor_of_a_proposal_or_an_approval_approves_nothing() -> None:
    chain = Firm()
    fields = [chain.firm.account, chain.time_ms + HOUR_MS, wire(PAY), b""]
    assert chain.do(ALICE, "propose", *fields, payer=BOB).code == 0
    proposal_id = chain.open()[0]
    assert chain.proposal(proposal_id)[0].approvals == (ALICE.account,)
    assert chain.do(CAROL, "reject", proposal_id, payer=BOB).code == 0
    assert chain.do(BOB, "execute", proposal_id, COST).rule == "accounts.approvals"


def test_only_an_account_with_signers_has_proposals() -> None:
    chain = Firm()
    for account in (DAVE.account, ERIN.account):
        receipt = chain.do(ALICE, "propose", account, chain.time_ms + HOUR_MS, wire(PAY), b"")
        assert (receipt.code, receipt.rule) == (Code.NOT_FOUND, "accounts.noSigners")


@pytest.mark.parametrize("verb", ["approve", "reject", "execute", "withdrawProposal"])
def test_what_is_over_or_never_was_cannot_be_acted_on(verb: str) -> None:
    chain = Firm()
    gone = chain.propose(ALICE, PAY)
    assert chain.do(ALICE, "withdrawProposal", gone).code == 0
    for proposal_id in (gone, NOBODY_S):
        fields = [proposal_id, COST] if verb == "execute" else [proposal_id]
        receipt = chain.do(ALICE, verb, *fields)
        assert (receipt.code, receipt.rule) == (Code.NOT_FOUND, "accounts.proposalUnknown")


def test_only_its_proposer_takes_a_proposal_back() -> None:
    chain = Firm()
    proposal_id = chain.propose(ALICE, PAY)
    receipt = chain.do(BOB, "withdrawProposal", proposal_id)
    assert (receipt.code, receipt.rule) == (Code.NOT_AUTHORISED, "accounts.notProposer")
    result = chain.pay(ALICE, RawAction("accounts.withdrawProposal", [proposal_id]))
    assert [event[1:] for event in result.events] == [
        (
            "accounts.proposalEnded",
            (chain.firm.account, ALICE.account),
            (proposal_id, "withdrawn"),
        )
    ]
    assert chain.open() == [] and chain.account(ALICE).due_count == 0


def test_enough_rejections_end_a_proposal() -> None:
    chain = Firm()
    proposal_id = chain.propose(ALICE, PAY)
    assert chain.do(CAROL, "reject", proposal_id).code == 0
    assert chain.do(CAROL, "reject", proposal_id).rule == "accounts.rejectedAlready"
    assert chain.open() == [proposal_id]
    result = chain.pay(BOB, RawAction("accounts.reject", [proposal_id]))
    assert [event[1:] for event in result.events] == [
        ("accounts.rejected", (chain.firm.account, BOB.account), (proposal_id, 1, 2)),
        ("accounts.proposalEnded", (chain.firm.account, ALICE.account), (proposal_id, "rejected")),
    ]
    assert chain.open() == [] and chain.account(ALICE).due_count == 0


def test_a_signer_can_change_its_mind_both_ways() -> None:
    chain = Firm()
    proposal_id = chain.propose(ALICE, PAY)
    assert chain.do(BOB, "approve", proposal_id).code == 0
    assert chain.do(BOB, "reject", proposal_id).code == 0
    head = chain.proposal(proposal_id)[0]
    assert (head.approvals, head.rejections) == ((ALICE.account,), (BOB.account,))
    assert chain.do(CAROL, "execute", proposal_id, COST).rule == "accounts.approvals"
    assert chain.do(BOB, "approve", proposal_id).code == 0
    assert chain.proposal(proposal_id)[0].rejections == ()
    assert chain.do(CAROL, "execute", proposal_id, COST).code == 0


def test_the_proposer_can_reject_what_it_proposed() -> None:
    chain = Firm()
    proposal_id = chain.propose(ALICE, PAY)
    assert chain.do(ALICE, "reject", proposal_id).code == 0
    assert chain.proposal(proposal_id)[0].approvals == ()
    assert chain.do(BOB, "reject", proposal_id).code == 0
    assert chain.open() == []


# -- what changes between approval and execution


def one_key(chain: Firm) -> None:
    """Bob's account comes to have Alice's key."""
    raw = chain.tx(BOB, change_key(ALICE), approvers=[(ALICE, BOB.account)])
    assert chain.block(raw).receipts[0].code == 0


def one_subject(chain: Firm) -> None:
    """Alice and Bob turn out to be one person."""
    assert chain.pay(CAROL, say(ALICE, b"\x01" * 32), say(BOB, b"\x01" * 32)).receipts[0].code == 0


def bob_is_alice_s(chain: Firm) -> None:
    """Bob's subject is what Alice's account is called."""
    assert chain.pay(CAROL, say(BOB, ALICE.account)).receipts[0].code == 0


def bob_gets_signers(chain: Firm) -> None:
    """Bob's account is signed for by others."""
    assert chain.replace([BOB], 1, DAVE, of=BOB).code == 0


def bob_leaves(chain: Firm) -> None:
    """Bob signs no more for the firm; Dave does."""
    assert chain.replace([ALICE, CAROL], 2, ALICE, CAROL, DAVE).code == 0


def higher_threshold(chain: Firm) -> None:
    """All three have to sign."""
    assert chain.replace([ALICE, BOB], 3, ALICE, BOB, CAROL).code == 0


def lower_weight(chain: Firm) -> None:
    """Carol outweighs the two others."""
    assert chain.replace([ALICE, BOB], 3, ALICE, BOB, (CAROL, 2)).code == 0


@pytest.mark.parametrize(
    ("change", "weight", "threshold"),
    [
        (one_key, 1, 2),
        (one_subject, 1, 2),
        (bob_is_alice_s, 1, 2),
        (bob_gets_signers, 1, 2),
        (bob_leaves, 1, 2),
        (higher_threshold, 2, 3),
        (lower_weight, 2, 3),
    ],
)
def test_approvals_are_counted_again_by_the_signers_of_then(
    change: Callable[[Firm], None], weight: int, threshold: int
) -> None:
    """Alice and Bob approved; between that and execution the world changes."""
    chain = Firm()
    proposal_id = chain.propose(ALICE, PAY)
    assert chain.do(BOB, "approve", proposal_id).code == 0
    change(chain)
    receipt = chain.do(CAROL, "execute", proposal_id, COST)
    assert (receipt.code, receipt.rule) == (Code.APPROVAL_REQUIRED, "accounts.approvals")
    assert receipt.facts == (proposal_id, weight, threshold)
    assert chain.balance(DAVE) == 0
    assert chain.do(CAROL, "approve", proposal_id).code == 0
    assert chain.do(CAROL, "execute", proposal_id, COST).code == 0


def test_a_rotated_key_is_the_same_member_and_its_approval_stays() -> None:
    chain = Firm()
    proposal_id = chain.propose(ALICE, PAY)
    assert chain.do(BOB, "approve", proposal_id).code == 0
    chain.block(chain.tx(BOB, change_key(ERIN), approvers=[(ERIN, BOB.account)]))
    again = chain.tx(BOB, RawAction("accounts.approve", [proposal_id]), signer=ERIN)
    assert chain.block(again).receipts[0].rule == "accounts.approvedAlready"
    assert chain.do(CAROL, "execute", proposal_id, COST).code == 0


def test_approvals_of_who_left_are_dropped_when_others_vote() -> None:
    """So that votes are never more than signers, however often these change."""
    chain = Firm()
    proposal_id = chain.propose(ALICE, PAY)
    chain.do(BOB, "approve", proposal_id)
    bob_leaves(chain)
    assert chain.do(DAVE, "approve", proposal_id).code == 0
    assert chain.proposal(proposal_id)[0].approvals == tuple(sorted([ALICE.account, DAVE.account]))
    assert chain.do(BOB, "execute", proposal_id, COST).rule == "accounts.notSigner"


def test_proposals_of_an_account_that_went_back_to_a_key_wait_for_their_end() -> None:
    chain = Firm()
    proposal_id = chain.propose(ALICE, PAY)
    chain.do(BOB, "approve", proposal_id)
    chain.block(
        chain.signed(ALICE, BOB, actions=[change_key(ERIN)],
                     approvers=[(ERIN, chain.firm.account)])
    )  # fmt: skip
    receipt = chain.do(CAROL, "execute", proposal_id, COST)
    assert (receipt.code, receipt.rule) == (Code.NOT_FOUND, "accounts.noSigners")
    assert chain.do(ALICE, "withdrawProposal", proposal_id).code == 0


# -- time


@pytest.mark.parametrize(
    ("span_ms", "fits"),
    [
        (SPAN_MIN_MS, True),
        (SPAN_MIN_MS - 1, False),
        (SPAN_MAX_MS, True),
        (SPAN_MAX_MS + 1, False),
        (2**63, False),
    ],
)
def test_a_proposal_ends_within_a_minute_to_thirty_days(span_ms: int, fits: bool) -> None:
    chain = Firm()
    at_ms = chain.time_ms + 1_000 + span_ms
    receipt = chain.do(ALICE, "propose", chain.firm.account, at_ms, wire(PAY), b"")
    assert receipt.rule == ("" if fits else "accounts.proposalSpan")
    assert SPAN_MAX_MS == 30 * DAY_MS and len(chain.open()) == fits


def test_approvals_expire_with_their_proposal() -> None:
    chain = Firm()
    proposal_id = chain.propose(ALICE, PAY)
    chain.do(BOB, "approve", proposal_id)
    result = chain.block(after_ms=HOUR_MS)
    assert [event[1:] for event in result.events] == [
        ("accounts.proposalEnded", (chain.firm.account, ALICE.account), (proposal_id, "expired"))
    ]
    assert chain.do(CAROL, "execute", proposal_id, COST).rule == "accounts.proposalUnknown"
    assert chain.open() == [] and chain.account(ALICE).due_count == 0


@pytest.mark.parametrize("verb", ["approve", "reject", "execute", "withdrawProposal"])
def test_nothing_is_done_after_the_end_though_the_queue_is_late(verb: str) -> None:
    """The work that ends proposals is capped per block, and so may come later than its time."""
    chain = Firm(params={"due_per_block_max": 1})
    ids = [chain.propose(ALICE, PAY, within_ms=HOUR_MS + number) for number in range(2)]
    for proposal_id in ids:
        chain.do(BOB, "approve", proposal_id)
    ends_ms = max(chain.proposal(proposal_id)[0].expires_ms for proposal_id in ids)
    late = max(ids, key=lambda one: chain.proposal(one)[0].expires_ms)
    fields: list[Any] = [late, COST] if verb == "execute" else [late]
    raw = chain.tx(
        ALICE, RawAction(f"accounts.{verb}", list(fields)), valid_until_ms=ends_ms + 60_000
    )
    receipt = chain.block(raw, after_ms=ends_ms - chain.time_ms).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.EXPIRED, "accounts.proposalLate")
    assert receipt.facts == (late, ends_ms) and chain.open() == [late]
    chain.block()
    assert chain.open() == []


# -- what may be proposed


@pytest.mark.parametrize(
    ("actions", "rule"),
    [
        ([PAY, RawAction("accounts.approve", [NOBODY_S])], "accounts.proposalAction"),
        ([RawAction("accounts.reject", [NOBODY_S])], "accounts.proposalAction"),
        ([RawAction("accounts.execute", [NOBODY_S, 0])], "accounts.proposalAction"),
        ([RawAction("accounts.withdrawProposal", [NOBODY_S])], "accounts.proposalAction"),
        ([RawAction("accounts.propose", [NOBODY_S, 0, [], b""])], "accounts.proposalAction"),
        ([RawAction("assets.nothing", [])], "kernel.action"),
        ([RawAction("assets.transfer", ["CLAW"])], "kernel.nested"),
        ([RawAction("assets.transfer", ["CLAW", b"short", 1])], "kernel.nested"),
        ([set_signers(1, DAVE)], "kernel.nestedSigners"),
        ([change_key(ERIN)], "kernel.nestedSigners"),
        ([RawAction("desk.seal", [BOB.account])], "kernel.nestedSigners"),
    ],
)
def test_nobody_has_to_vote_on_what_could_never_be_done(
    actions: Sequence[RawAction], rule: str
) -> None:
    chain = Firm()
    before = dict(chain.state.records)
    fields = [chain.firm.account, chain.time_ms + HOUR_MS, wire(*actions), b""]
    receipt = chain.do(ALICE, "propose", *fields)
    assert (receipt.code, receipt.rule) == (Code.MALFORMED, rule)
    changed = {p for p, value in chain.state.records.items() if before.get(p) != value}
    assert changed == {("kernel", b"a" + ALICE.account)}


@pytest.mark.parametrize(
    "fields",
    [
        [b"\x01" * 32, 5, [], b""],
        [b"\x01" * 32, 5, wire(*[PAY] * (ACTIONS_MAX + 1)), b""],
        [b"\x01" * 32, 5, wire(PAY), b"m" * 257],
        [b"\x01" * 32, 5, wire(PAY), "memo"],
        [b"\x01" * 32, 5, [["assets.transfer"]], b""],
        [b"\x01" * 32, 5, [["assets.transfer", {}]], b""],
        [b"\x01" * 31, 5, wire(PAY), b""],
        [b"\x01" * 32, -5, wire(PAY), b""],
    ],
)
def test_what_is_no_proposal_at_all_is_not_read(fields: list[Any]) -> None:
    with pytest.raises(Malformed):
        Firm(founded=False).registry.read_action(RawAction("accounts.propose", fields))


@pytest.mark.parametrize("cost", [-1, 1_000_001, None, "5"])
def test_a_declared_cost_is_a_number_within_bounds(cost: Any) -> None:
    with pytest.raises(Malformed):
        Firm(founded=False).registry.read_action(RawAction("accounts.execute", [NOBODY_S, cost]))


def test_whoever_executes_pays_for_what_is_executed() -> None:
    """Otherwise a cheap transaction could fill a block's time with sixteen dear actions."""
    chain = Firm()
    proposal_id = chain.propose(ALICE, PAY, PAY)
    chain.do(BOB, "approve", proposal_id)
    contents = chain.proposal(proposal_id)[1]
    need = 2 * chain.registry.actions[PAY.name].cost + len(contents.pack()) // 16
    receipt = chain.do(CAROL, "execute", proposal_id, need - 1)
    assert (receipt.code, receipt.rule) == (Code.LIMIT_EXCEEDED, "accounts.proposalCost")
    assert receipt.facts == (need, need - 1)
    result = chain.pay(CAROL, RawAction("accounts.execute", [proposal_id, need]))
    assert result.receipts[0].code == 0 and result.cost_used > COST_EXECUTE + need


def test_a_proposal_too_dear_for_any_block_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals, "COST_DECLARED_MAX", 100)
    chain = Firm()
    fields = [chain.firm.account, chain.time_ms + HOUR_MS, wire(PAY, PAY), b""]
    assert chain.do(ALICE, "propose", *fields).rule == "accounts.proposalCost"


def test_roles_are_asked_of_the_account_not_of_who_executes() -> None:
    chain = Firm()
    chain.pay(ALICE, permit("assets.transfer", "payer"), grant("payer", CAROL))
    proposal_id = chain.propose(ALICE, PAY)
    chain.do(BOB, "approve", proposal_id)
    receipt = chain.do(CAROL, "execute", proposal_id, COST)
    assert (receipt.code, receipt.rule) == (Code.NOT_AUTHORISED, "kernel.role")
    assert receipt.facts == (chain.firm.account, "payer", "assets.transfer")
    chain.pay(ALICE, RawAction("roles.grant", ["payer", chain.firm.account]))
    assert chain.do(CAROL, "execute", proposal_id, COST).code == 0


def test_an_account_with_signers_can_hold_roles_and_use_them_by_proposal() -> None:
    chain = Firm()
    chain.pay(ALICE, RawAction("roles.grant", ["admin", chain.firm.account]))
    proposal_id = chain.propose(BOB, grant("night", DAVE))
    chain.do(CAROL, "approve", proposal_id)
    assert chain.do(CAROL, "execute", proposal_id, 500).code == 0
    assert chain.query("roles.of", DAVE.account) == ["night"]


# -- bounds, ids, lists


def test_one_signer_fills_its_own_places_and_nobody_else_s() -> None:
    chain = Firm()
    for _ in range(OPEN_PER_MEMBER_MAX):
        chain.propose(ALICE, PAY)
    receipt = chain.do(
        ALICE, "propose", chain.firm.account, chain.time_ms + HOUR_MS, wire(PAY), b""
    )
    assert (receipt.code, receipt.rule) == (Code.LIMIT_EXCEEDED, "accounts.proposalsFull")
    chain.propose(BOB, PAY)
    ended = [one for one in chain.open() if chain.proposal(one)[1].proposer == ALICE.account]
    assert chain.do(ALICE, "withdrawProposal", ended[0]).code == 0
    chain.propose(ALICE, PAY)


def test_its_places_in_one_account_are_not_those_in_another() -> None:
    chain = Firm()
    assert chain.pay(ALICE, create(1, ALICE, DAVE)).receipts[0].code == 0
    for _ in range(OPEN_PER_MEMBER_MAX):
        chain.propose(ALICE, PAY)
    other = account_id(1, ALICE, DAVE)
    assert chain.do(ALICE, "propose", other, chain.time_ms + HOUR_MS, wire(PAY), b"").code == 0


def test_equal_proposals_have_ids_of_their_own() -> None:
    """Otherwise an approval of one, or its end, would be the other's."""
    chain = Firm()
    at_ms = chain.time_ms + HOUR_MS
    for _ in range(2):
        assert chain.do(ALICE, "propose", chain.firm.account, at_ms, wire(PAY), b"").code == 0
    first, second = (chain.proposal(one)[1] for one in chain.open())
    assert {first.number, second.number} == {1, 2}
    assert first._replace(number=0) == second._replace(number=0)
    assert chain.do(BOB, "approve", first.id).code == 0
    assert len(chain.proposal(second.id)[0].approvals) == 1


def test_the_id_is_the_hash_of_everything_that_is_approved() -> None:
    """So no node can show a signer other contents than those that are approved."""
    chain = Firm()
    contents = chain.proposal(chain.propose(ALICE, PAY))[1]
    others = [
        contents._replace(account=DAVE.account),
        contents._replace(number=2),
        contents._replace(proposer=BOB.account),
        contents._replace(expires_ms=contents.expires_ms + 1),
        contents._replace(memo=b"x"),
        contents._replace(actions=(transfer(DAVE, 701),)),
    ]
    assert len({contents.id, *(other.id for other in others)}) == 7
    assert Contents.unpack(contents.pack()) == contents


def test_all_that_an_account_has_to_do_with_is_listed_in_pages() -> None:
    chain = Firm()
    ids = sorted(chain.propose(ALICE, PAY) for _ in range(5))
    chain.pay(DAVE, create(1, ALICE, DAVE))
    pages: list[Listed] = []
    while page := chain.query(
        "accounts.objects", chain.firm.account, pages[-1] if pages else None, 2
    ):
        assert len(page) <= 2
        pages += page
    assert pages == [Listed("proposal", one) for one in ids]
    mine = chain.query("accounts.objects", ALICE.account, None, 10)
    assert mine == [
        Listed("multisig", one) for one in sorted([chain.firm.account, account_id(1, ALICE, DAVE)])
    ]
    with pytest.raises(KeyError):
        chain.query("accounts.objects", ALICE.account, Listed("nothing", b""), 10)
    assert "session" in KINDS


def test_a_list_of_proposals_goes_on_after_an_entry() -> None:
    chain = Firm()
    ids = sorted(chain.propose(ALICE, PAY) for _ in range(4))
    assert chain.query("accounts.proposals", chain.firm.account, 2) == ids[:2]
    assert chain.query("accounts.proposals", chain.firm.account, 9, ids[1]) == ids[2:]
    assert chain.query("accounts.proposal", NOBODY_S) is None


def test_every_action_says_in_words_what_it_does() -> None:
    actions = Firm(founded=False).registry.actions
    words = Words(account=lambda account: account.hex()[:4], amount=lambda asset, n: str(n))
    made = RawAction("accounts.propose", [b"\x02" * 32, 0, wire(PAY), b""])
    found = actions[made.name]
    assert found.words(found.named(found.read(made.fields)), words) == (
        "As a signer of 0202, propose until 1970-01-01T00:00:00.000Z, and approve: assets.transfer."
    )
    fields: list[Any]
    for verb, begins in (
        ("approve", "Approve the proposal 0x0b"),
        ("reject", "Reject the proposal 0x0b"),
        ("execute", "Let its account perform the proposal 0x0b"),
        ("withdrawProposal", "Take back the proposal 0x0b"),
    ):
        found = actions[f"accounts.{verb}"]
        fields = [NOBODY_S, 7] if verb == "execute" else [NOBODY_S]
        assert found.words(found.named(found.read(fields)), words).startswith(begins)


# -- rules that hold payments


def _guard(context: Context, movement: Movement) -> Verdict:
    if movement.amount < 500 or movement.purpose == RELEASE:
        return ALLOW
    return Verdict(VerdictKind.HOLD, "guard.large", 1, (), context.time_ms + HOUR_MS)


GUARD = Module(
    name="guard",
    version=1,
    actions=(),
    handlers={},
    on_transfer=_guard,
    rules={"guard.large": Rule(Code.POLICY_REJECTED, "That is much.")},
)


def test_a_payment_by_proposal_is_held_whole_and_the_account_is_its_initiator() -> None:
    """So a rule's officers decide on it as on any payment, and what returns is the account's."""
    chain = Firm(GUARD, founded=False)
    chain.pay(ALICE, create(2, ALICE, BOB, CAROL))
    for _ in range(3):
        chain.pay(ALICE, transfer(chain.firm.account, 499))
    proposal_id = chain.propose(ALICE, PAY)
    chain.do(BOB, "approve", proposal_id)
    result = chain.pay(BOB, RawAction("accounts.execute", [proposal_id, COST]))
    assert result.receipts[0].code == 0 and result.receipts[0].trace[-1] == ("guard.large", 1, 1)
    held = next(event for event in result.events if event.kind == "kernel.held")
    hold_id = held.data[2]
    assert isinstance(hold_id, bytes)
    hold = chain.books.find_hold(hold_id)
    assert hold is not None and (hold.source, hold.initiator) == (chain.firm.account,) * 2
    assert chain.open() == [] and chain.balance(DAVE) == 0
    chain.block(after_ms=2 * HOUR_MS)
    assert chain.balance(chain.firm.account) == 3 * 499


def test_of_several_payments_none_is_held_alone() -> None:
    chain = Firm(GUARD, founded=False)
    chain.pay(ALICE, create(2, ALICE, BOB, CAROL))
    for _ in range(3):
        chain.pay(ALICE, transfer(chain.firm.account, 499))
    proposal_id = chain.propose(ALICE, transfer(DAVE, 1), PAY)
    chain.do(BOB, "approve", proposal_id)
    receipt = chain.do(BOB, "execute", proposal_id, 2 * COST)
    assert (receipt.code, receipt.rule) == (Code.POLICY_REJECTED, "kernel.hold")
    assert chain.open() == [proposal_id] and chain.balance(DAVE) == 0
