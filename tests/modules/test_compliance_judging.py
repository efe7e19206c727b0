"""What policies do to payments: each condition at its boundary, each verdict, the trace, velocity.

If these failed, a payment that a rule forbids would go through, one that none forbids would not,
or nobody could tell why.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clawpurse.ledger.blocks import TRACE_MAX, Receipt
from clawpurse.ledger.errors import Code, Refused
from clawpurse.ledger.kernel.records import hold_key
from clawpurse.ledger.module_api import (
    KERNEL,
    RELEASE,
    Context,
    Module,
    Movement,
    Verdict,
    VerdictKind,
)
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.compliance import rings
from clawpurse.modules.compliance.hook import End
from clawpurse.modules.compliance.language import COST_MAX, KINDS, cost_of, read_rules
from clawpurse.modules.compliance.queries import Circumstances, report, sight_at
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, Key, transfer
from tests.modules.council import event, kinds
from tests.modules.counter_world import (
    ONE,
    SCORES,
    SECOND_TELLER,
    TELLER,
    TRAVEL,
    denied,
    desk,
    held_id,
    pay_for,
    set_apart,
)
from tests.modules.officers_world import (
    DAY_MS,
    HOUR_MS,
    OTHER_SUBJECT,
    SUBJECT,
    Desk,
    add,
    allow,
    attest,
    deny,
    hold,
    remove,
    revoke_attestation,
    set_list,
    set_subject,
    when,
)

# -- no policy, no trace


def test_without_a_policy_there_is_no_trace_and_one_read() -> None:
    chain = desk()
    assert chain.try_pay().trace == ()
    reads: list[bytes] = []
    module = chain.registry.by_name["compliance"]

    class OneRead:
        def get(self, key: bytes) -> None:
            reads.append(key)

    assert module.on_transfer is not None
    movement = Movement("EUR", ALICE.account, BOB.account, 1, "assets")
    assert module.on_transfer(OneRead(), movement).kind is VerdictKind.ALLOW  # type: ignore[arg-type]
    assert reads == [b"g"]
    released = movement._replace(purpose=RELEASE)
    assert module.on_transfer(OneRead(), released).kind is VerdictKind.ALLOW  # type: ignore[arg-type]
    assert reads == [b"g"]


def test_another_asset_s_policy_is_none_of_this_payment_s() -> None:
    chain = desk()
    chain.enact(deny("all"), asset="CLAW")
    assert chain.try_pay(asset="EUR").trace == ()
    assert denied(chain.try_pay(asset="CLAW"))


# -- conditions at their boundaries


@pytest.mark.parametrize(
    ("condition", "stopped"),
    [
        (when("amount-at-least", number=100), {100, 101}),
        (when("amount-below", number=100), {1, 99}),
        (when("amount-below", number=1), set()),
        (when("amount-at-least", number=1), {1, 99, 100, 101}),
    ],
)
def test_amounts(condition: list[Any], stopped: set[int]) -> None:
    chain = desk()
    chain.enact(deny("r", condition))
    assert {n for n in (1, 99, 100, 101) if denied(chain.try_pay(amount=n))} == stopped


# Who is attested (or listed) → which payments a condition over a side stops.
CASES = [
    ("source", {"alice"}),
    ("target", {"bob"}),
    ("either", {"alice", "bob"}),
    ("both", {"both"}),
]


def stops(side: str, source: bool, target: bool) -> bool:
    return {
        "source": source,
        "target": target,
        "either": source or target,
        "both": source and target,
    }[side]


@pytest.mark.parametrize("side", ["source", "target", "either", "both"])
@pytest.mark.parametrize("kind", ["attested", "not-attested"])
@pytest.mark.parametrize("least", [0, 2, 3, 4])
def test_attestations_of_either_side(side: str, kind: str, least: int) -> None:
    """Alice is attested at level 3, Bob and Carol not at all."""
    chain = desk()
    chain.issuer("kyc")
    chain.attested(ALICE, level=3)
    chain.enact(deny("r", when(kind, side, "kyc", least)))
    for source, target in ((ALICE, BOB), (BOB, ALICE), (BOB, CAROL)):
        has = [one is ALICE and least <= 3 for one in (source, target)]
        asked = has if kind == "attested" else [not one for one in has]
        receipt = pay_for(chain, source=source, target=target)
        assert denied(receipt) == stops(side, *asked), (source, target)


def test_an_attestation_that_is_not_accepted_lapsed_or_of_another_topic_does_not_count() -> None:
    chain = desk()
    chain.issuer("kyc", "aml")
    chain.enact(deny("r", when("not-attested", "source", "kyc", 1)))
    chain.attested(ALICE, "aml")
    assert denied(chain.try_pay())
    chain.attested(ALICE, expires_ms=chain.time_ms + 5_000)
    assert not denied(chain.try_pay())
    chain.block(after_ms=1_000)
    assert denied(chain.try_pay())
    chain.do(Key("issuer"), attest(chain, ALICE))  # Renewed: it was accepted before.
    assert not denied(chain.try_pay())
    chain.do(Key("issuer"), revoke_attestation(ALICE))
    assert denied(chain.try_pay())


@pytest.mark.parametrize("side", ["source", "target", "either", "both"])
@pytest.mark.parametrize("kind", ["listed", "not-listed"])
def test_lists_of_accounts_and_of_people(side: str, kind: str) -> None:
    """Alice is on the list herself, Carol as a person."""
    chain = desk()
    chain.agree(set_list("names"))
    chain.agree(set_subject(CAROL, SUBJECT))
    chain.do(ONE, add("names", ALICE, SUBJECT))
    chain.enact(deny("r", when(kind, side, "names")))
    for source, target in ((ALICE, BOB), (BOB, ALICE), (ALICE, CAROL), (BOB, DAVE)):
        on = [one in (ALICE, CAROL) for one in (source, target)]
        asked = on if kind == "listed" else [not one for one in on]
        assert denied(pay_for(chain, source=source, target=target)) == stops(side, *asked)
    chain.do(ONE, remove("names", ALICE))
    off = [kind == "not-listed"] * 2
    assert denied(pay_for(chain, source=ALICE, target=BOB)) == stops(side, *off)


def test_a_list_that_changes_is_judged_as_it_is() -> None:
    chain = desk()
    chain.agree(set_list("blocked"))
    chain.enact(deny("r", when("listed", "target", "blocked"), code="sanctioned"))
    assert not denied(chain.try_pay())
    receipts = chain.block(
        chain.tx(ONE, add("blocked", BOB)), chain.tx(ALICE, transfer(BOB, 1, "EUR"))
    ).receipts
    assert receipts[1].facts == ("limits", 1, "r", "sanctioned")


@pytest.mark.parametrize("side", ["source", "target", "either", "both"])
@pytest.mark.parametrize("least", [40, 41, 70, 71])
def test_scores_of_risk(side: str, least: int) -> None:
    """Alice has 40, Bob 70, Carol none."""
    chain = desk()
    chain.enact(deny("r", when("risk-at-least", side, number=least)))
    for source, target in ((ALICE, BOB), (BOB, ALICE), (ALICE, CAROL), (CAROL, BOB)):
        asked = [SCORES.get(one.account, -1) >= least for one in (source, target)]
        assert denied(pay_for(chain, source=source, target=target)) == stops(side, *asked)


@pytest.mark.parametrize("side", ["source", "target", "either", "both"])
def test_a_missing_score_is_a_condition_of_its_own(side: str) -> None:
    chain = desk()
    chain.enact(deny("r", when("risk-missing", side)))
    for source, target in ((ALICE, BOB), (ALICE, CAROL), (CAROL, BOB), (CAROL, DAVE)):
        asked = [one.account not in SCORES for one in (source, target)]
        assert denied(pay_for(chain, source=source, target=target)) == stops(side, *asked)


def test_a_travel_rule_hash_is_required_above_a_threshold() -> None:
    chain = desk()
    chain.enact(deny("r", when("no-travel-hash"), when("amount-at-least", number=1_000)))
    assert not denied(pay_for(chain, 999))
    assert denied(pay_for(chain, 1_000))
    assert not denied(pay_for(chain, 1_000, travel_hash=TRAVEL))


def test_purposes() -> None:
    chain = desk()
    chain.enact(deny("r", when("purpose", name="counter")))
    assert denied(pay_for(chain)) and not denied(chain.try_pay())


def test_four_eyes_count_people_with_the_role_who_are_not_the_sender() -> None:
    chain = desk()
    chain.enact(deny("r", when("approvals-below", name="teller", number=2), code="four-eyes"))
    missing = pay_for(chain, approvers=(TELLER,))
    assert (missing.code, missing.rule) == (Code.APPROVAL_REQUIRED, "compliance.approvals")
    assert missing.facts == ("limits", 1, "r", "four-eyes")
    assert denied(pay_for(chain))
    assert denied(pay_for(chain, approvers=(TELLER, BOB)))  # Bob is no teller.
    assert not denied(pay_for(chain, approvers=(TELLER, SECOND_TELLER)))
    # The two tellers turn out to be one person, then one of them to be the sender's.
    for account in (TELLER, SECOND_TELLER):
        chain.agree(set_subject(account, SUBJECT))
    assert denied(pay_for(chain, approvers=(TELLER, SECOND_TELLER)))
    chain.agree(set_subject(TELLER, OTHER_SUBJECT))
    chain.agree(set_subject(ALICE, OTHER_SUBJECT))
    assert denied(pay_for(chain, approvers=(TELLER, SECOND_TELLER)))


def test_a_counterparty_is_new_until_it_was_paid() -> None:
    chain = desk()
    chain.enact(hold("new", when("new-counterparty"), when("amount-at-least", number=50), needed=1))
    assert pay_for(chain, 49).trace[-1][2] == 0  # The first payment makes Bob known.
    assert pay_for(chain, 1_000).trace == (("compliance.limits", 1, 0),)
    result = chain.pay(ALICE, transfer(CAROL, 50, "EUR"))
    hold_id = held_id(result)
    assert result.receipts[0].trace == (("compliance.limits.new", 1, 1),)
    chain.do(ONE, RawAction("counter.settle", [hold_id, 0]))
    again = chain.pay(ALICE, transfer(CAROL, 50, "EUR"))
    hold_id = held_id(again)  # What came back was no payment.
    chain.do(ONE, RawAction("counter.settle", [hold_id, 1]))
    assert pay_for(chain, 50, target=CAROL).trace == (("compliance.limits", 1, 0),)
    # To Carol, Alice is as new as before.
    assert pay_for(chain, 50, source=CAROL, target=ALICE).trace[-1][2] == 1


def test_what_is_remembered_of_an_account_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clawpurse.modules.compliance.hook.COUNTERPARTIES_MAX", 2)
    chain = desk()
    chain.enact(deny("new", when("new-counterparty"), when("amount-at-least", number=50)))
    for target in (BOB, CAROL, DAVE):
        assert not denied(pay_for(chain, 1, target=target))
    assert denied(pay_for(chain, 50, target=BOB))
    assert not denied(pay_for(chain, 50, target=CAROL))
    remembered = [key for tree, key in chain.state.records if tree == "compliance"]
    assert sum(key.startswith(b"w" + ALICE.account) for key in remembered) == 2
    assert rings.COUNTERPARTIES_MAX == 1_000


def test_all_conditions_of_a_rule_must_hold_and_none_always_do() -> None:
    chain = desk()
    both = deny("r", when("amount-at-least", number=100), when("purpose", name="counter"))
    chain.enact(both)
    assert not denied(chain.try_pay(amount=100)) and not denied(pay_for(chain, 99))
    assert denied(pay_for(chain, 100))
    chain.enact(deny("r"))
    assert denied(chain.try_pay(amount=1))


# -- verdicts and the trace


def test_the_first_rule_that_applies_decides_and_the_trace_tells_of_those_before() -> None:
    chain = desk()
    chain.enact(
        allow("treasury", when("amount-below", number=10)),
        deny("huge", when("amount-at-least", number=10_000)),
        hold("large", when("amount-at-least", number=1_000)),
        deny("rest", when("amount-at-least", number=100), code="too-much"),
    )
    name = "compliance.limits"
    assert chain.try_pay(amount=9).trace == ((f"{name}.treasury", 1, 0),)
    assert chain.try_pay(amount=50).trace == ((name, 1, 0),)
    assert chain.try_pay(amount=100).trace == (
        (f"{name}.treasury", 1, 0),
        (f"{name}.huge", 1, 0),
        (f"{name}.large", 1, 0),
        (f"{name}.rest", 1, 2),
    )
    assert chain.try_pay(amount=1_000).trace == (
        (f"{name}.treasury", 1, 0),
        (f"{name}.huge", 1, 0),
        (f"{name}.large", 1, 1),
    )
    refused = chain.try_pay(amount=10_000)
    assert refused.trace == ((f"{name}.treasury", 1, 0), (f"{name}.huge", 1, 2))
    assert (refused.code, refused.rule) == (Code.POLICY_REJECTED, "compliance.denied")


def test_a_trace_is_bounded_and_keeps_the_rule_that_decided() -> None:
    chain = desk()
    rules = [deny(f"r{n}", when("amount-at-least", number=10**6 - n)) for n in range(100)]
    chain.enact(*rules)
    receipt = chain.try_pay(amount=10**6 - 90)
    assert len(receipt.trace) == TRACE_MAX
    assert receipt.trace[-1] == ("compliance.limits.r90", 1, 2)
    assert Receipt.unpack(receipt.pack()) == receipt


def test_a_denial_by_any_policy_wins_and_of_holds_the_one_that_needs_most() -> None:
    chain = desk()
    chain.enact(hold("a", needed=1), policy="weak")
    chain.enact(hold("b", needed=2), policy="strong")
    chain.enact(hold("c", needed=1), policy="later")
    result = chain.pay(ALICE, transfer(BOB, 1, "EUR"))
    trace = result.receipts[0].trace
    assert sorted(trace[:-1]) == [("compliance.later.c", 1, 1), ("compliance.weak.a", 1, 1)]
    assert trace[-1] == ("compliance.strong.b", 1, 1)
    assert event(result, "kernel.held")[3][3] == "compliance.strong.b"
    chain.enact(deny("d"), policy="all", asset=None)
    assert chain.try_pay().facts[:3] == ("all", 1, "d")


def test_a_hold_keeps_what_its_rule_says_and_the_end_is_noted() -> None:
    chain = desk()
    chain.enact(hold("h", needed=2, officers="teller", expires_ms=HOUR_MS, release=1))
    result = chain.pay(ALICE, transfer(BOB, 500, "EUR"))
    hold_id = held_id(result)
    hold_record = chain.books.find_hold(hold_id)
    assert hold_record is not None
    assert (hold_record.officers, hold_record.needed, hold_record.rule_version) == ("teller", 2, 1)
    assert hold_record.expires_ms == chain.time_ms + HOUR_MS and hold_record.release_at_expiry
    assert hold_record.made_ms == chain.time_ms
    assert chain.query("compliance.end", hold_id) is None
    chain.do(TELLER, RawAction("counter.settle", [hold_id, 0]))
    assert chain.query("compliance.end", hold_id) == End(
        0, TELLER.account, chain.height, chain.time_ms, 500
    )
    expiring = held_id(chain.pay(ALICE, transfer(BOB, 7, "EUR")))
    chain.block(after_ms=HOUR_MS)
    end = chain.query("compliance.end", expiring)
    assert (end.paid, end.amount) == (1, 7)


def test_ends_of_held_payments_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clawpurse.modules.compliance.hook.ENDS_MAX", 2)
    chain = desk()
    chain.enact(hold("h"))
    ids = [held_id(chain.pay(ALICE, transfer(BOB, 1, "EUR"))) for _ in range(3)]
    for hold_id in ids:
        chain.do(ONE, RawAction("counter.settle", [hold_id, 1]))
    assert [chain.query("compliance.end", one) is None for one in ids] == [True, False, False]


def test_what_cannot_be_held_whole_is_refused_and_still_says_why() -> None:
    chain = desk()
    chain.enact(hold("h", when("amount-at-least", number=100)))
    two = chain.pay(ALICE, transfer(BOB, 100, "EUR"), transfer(BOB, 1, "EUR")).receipts[0]
    assert (two.rule, two.trace) == ("kernel.hold", (("compliance.limits.h", 1, 1),))
    apart = chain.pay(ALICE, RawAction("counter.setApart", ["EUR", BOB.account, 100])).receipts[0]
    assert apart.rule == "kernel.hold"


def test_payouts_clawback_and_fees_are_outside_policy() -> None:
    chain = desk()
    hold_id = set_apart(chain, 500)
    chain.enact(deny("everything"))
    chain.enact(deny("everything-everywhere"), policy="all", asset=None)
    assert denied(chain.try_pay())
    chain.do(ALICE, RawAction("counter.payApart", [hold_id, 200]))
    chain.do(ONE, RawAction("counter.seize", ["EUR", ALICE.account, 100, hold_id]))
    chain.do(ALICE, RawAction("counter.giveBack", [hold_id, 200]))
    chain.do(ONE, RawAction("counter.seize", ["EUR", ALICE.account, 1, None]))
    chain.enact()  # The officers are not stopped by what they made.
    chain.enact(policy="all", asset=None)
    assert not denied(chain.try_pay())


def test_what_another_module_s_hook_held_is_released_without_asking_policies_again() -> None:
    def cautious(_context: Context, movement: Movement) -> Verdict:
        if movement.amount < 1_000 or movement.purpose == RELEASE:
            return Verdict(VerdictKind.ALLOW)
        expires_ms = _context.time_ms + HOUR_MS
        return Verdict(VerdictKind.HOLD, "cautious.large", 1, (), expires_ms, True)

    chain = Desk(Module("cautious", 1, (), {}, on_transfer=cautious))
    chain.pay(ALICE, transfer(BOB, 1_000, "EUR"))
    chain.enact(deny("everything"))
    had = chain.balance(BOB, "EUR")
    chain.block(after_ms=HOUR_MS)
    assert chain.balance(BOB, "EUR") == had + 1_000


# -- what is asked before is what consensus does


def reports_of(chain: Desk, movement: Movement, approvals: tuple[bytes, ...]) -> list[Any]:
    when_ms = chain.time_ms + 1_000
    circumstances = Circumstances(when_ms, movement.source, approvals)
    sight = sight_at(chain.state, circumstances, SCORES.get)
    return report(chain.state, movement, sight)


CONDITIONS = st.sampled_from(
    [
        when("attested", "source", "kyc", 2),
        when("attested", "both", "kyc", 1),
        when("not-attested", "either", "kyc", 1),
        when("not-attested", "target", "kyc", 3),
        when("amount-at-least", number=500),
        when("amount-below", number=100),
        when("sum-at-least", "source", number=900, window_ms=DAY_MS),
        when("sum-at-least", "target-subject", number=1_200, window_ms=HOUR_MS),
        when("count-at-least", "source-subject", number=3, window_ms=DAY_MS),
        when("listed", "either", "names"),
        when("not-listed", "both", "names"),
        when("new-counterparty"),
        when("approvals-below", name="teller", number=1),
        when("no-travel-hash"),
        when("risk-at-least", "target", number=70),
        when("risk-missing", "either"),
        when("purpose", name="counter"),
    ]
)
VERDICTS = st.sampled_from([allow, deny, hold])
RULES = st.lists(
    st.tuples(VERDICTS, st.lists(CONDITIONS, max_size=3, unique_by=repr)), min_size=1, max_size=5
)
PEOPLE = st.sampled_from([ALICE, BOB, CAROL])
PAYMENTS = st.lists(
    st.tuples(
        PEOPLE,
        PEOPLE,
        st.sampled_from([1, 99, 100, 499, 500, 900]),
        st.booleans(),
        st.sampled_from([(), (TELLER,), (TELLER, SECOND_TELLER)]),
        st.sampled_from([1_000, HOUR_MS, DAY_MS]),
    ),
    min_size=1,
    max_size=6,
)


def prepared_desk() -> Desk:
    chain = desk()
    chain.issuer("kyc")
    chain.attested(ALICE, level=2, subject=SUBJECT)
    chain.attested(CAROL, level=1, subject=SUBJECT)
    chain.agree(set_list("names"))
    chain.do(ONE, add("names", SUBJECT))
    return chain


@settings(max_examples=40, deadline=None)
@given(RULES, RULES, PAYMENTS)
def test_what_is_asked_before_a_payment_is_what_consensus_does(
    rules: list[Any], more: list[Any], payments: list[Any]
) -> None:
    policies = {
        name: [make(f"r{n}", *conditions) for n, (make, conditions) in enumerate(drawn)]
        for name, drawn in (("first", rules), ("second", more))
    }
    read: list[Any] = [
        read_rules([tuple(rule) for rule in one], "EUR") for one in policies.values()
    ]
    assume(sum([cost_of(one) for one in read]) <= COST_MAX)
    chain = prepared_desk()
    for name, named in policies.items():
        chain.enact(*named, policy=name)
    for source, target, amount, travel, approvers, wait_ms in payments:
        chain.block(after_ms=wait_ms)
        movement = Movement(
            "EUR", source.account, target.account, amount, "counter", TRAVEL if travel else None
        )
        approvals = tuple(sorted(one.account for one in approvers))
        told = reports_of(chain, movement, approvals)
        receipt = pay_for(
            chain,
            amount,
            source=source,
            target=target,
            travel_hash=movement.travel_hash,
            approvers=approvers,
        )
        worst = max((one.outcome.kind for one in told), default=VerdictKind.ALLOW)
        last = VerdictKind(receipt.trace[-1][2])
        assert (receipt.code != 0) == (worst is VerdictKind.DENY)
        assert max(verdict for _, _, verdict in receipt.trace) == worst
        if worst is not VerdictKind.ALLOW:
            assert last is worst
        for one in told:
            applies = [rule for rule, _ in one.asked]
            assert one.outcome.rule == (applies.index(True) if True in applies else None)


def test_the_conditions_of_that_property_are_all_kinds() -> None:
    drawn: dict[str, None] = {}
    for condition in CONDITIONS.elements:  # type: ignore[attr-defined]
        drawn[condition[0]] = None
    assert set(drawn) == set(KINDS)


def test_a_payment_to_who_has_no_account_is_judged_like_any_other() -> None:
    chain = desk()
    chain.issuer("kyc")
    chain.enact(deny("r", when("not-attested", "target", "kyc", 1)))
    assert denied(pay_for(chain, target=ERIN))
    assert chain.books.account(ERIN.account) is None


def test_the_module_leaves_no_hold_behind_and_denies_without_one() -> None:
    chain = desk()
    chain.enact(deny("r"))
    before = {p: v for p, v in chain.state.records.items() if p[0] != KERNEL}
    result = chain.pay(ALICE, transfer(BOB, 1, "EUR"))
    assert kinds(result) == [] and denied(result.receipts[0])
    assert {p: v for p, v in chain.state.records.items() if p[0] != KERNEL} == before
    assert not any(t == KERNEL and k[:1] == hold_key(b"")[:1] for t, k in chain.state.records)
    with pytest.raises(Refused):
        raise chain.refusal(chain.tx(ALICE, transfer(BOB, 1, "EUR"), sequence=99))
