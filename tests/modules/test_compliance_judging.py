"""What policies do to payments: each condition at its boundary, each verdict, the trace, velocity.

If these failed, a payment that a rule forbids would go through, one that none forbids would not,
or nobody could tell why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger.blocks import TRACE_MAX, Receipt
from clawpurse.ledger.codec import U64_MAX
from clawpurse.ledger.errors import Code, Refused
from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.kernel.records import hold_key
from clawpurse.ledger.module_api import (
    KERNEL,
    RELEASE,
    ActionType,
    Context,
    Field,
    FieldType,
    Module,
    Movement,
    Verdict,
    VerdictKind,
)
from clawpurse.ledger.transactions import RawAction
from clawpurse.ledger.transition import ExecutionResult
from clawpurse.modules.compliance import rings
from clawpurse.modules.compliance.hook import End
from clawpurse.modules.compliance.language import KINDS
from clawpurse.modules.compliance.queries import Circumstances, report, sight_at
from clawpurse.modules.compliance.velocity import SLOTS, Slots, slot_of
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, Key, transfer
from tests.modules.council import event, kinds
from tests.modules.officers_world import (
    DAY_MS,
    HOUR_MS,
    OFFICERS,
    OTHER_ISSUER,
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

ONE, TWO, *_ = OFFICERS
TELLER, SECOND_TELLER = Key("teller"), Key("second teller")
TRAVEL = bytes(range(32))


# -- a desk that pays in every way


def _words(_fields: Any, _words: Any) -> str:
    return "A test's own action."


def _approvers(values: Sequence[Any], _body: Any) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((account, key) for account, key in values[4])


_PAIRS = (Field("account", FieldType.ACCOUNT, ""), Field("key", FieldType.KEY, ""))
_PAY = ActionType(
    "counter.pay",
    (
        Field("asset", FieldType.ASSET, ""),
        Field("recipient", FieldType.ACCOUNT, ""),
        Field("amount", FieldType.AMOUNT, ""),
        Field("travelHash", FieldType.HASH, "", optional=True),
        Field("approvers", FieldType.LIST, "", 8, items=_PAIRS),
    ),
    100,
    _words,
    approvers=_approvers,
)
_APART = ActionType("counter.setApart", _PAY.fields[:3], 100, _words)
_HASH = (Field("hold", FieldType.HASH, ""), Field("amount", FieldType.AMOUNT, ""))
_PAID = ActionType("counter.payApart", _HASH, 100, _words)
_BACK = ActionType("counter.giveBack", _HASH, 100, _words)
_SETTLE = ActionType(
    "counter.settle",
    (Field("hold", FieldType.HASH, ""), Field("release", FieldType.INTEGER, "")),
    100,
    _words,
)
_SEIZE = ActionType(
    "counter.seize",
    (
        Field("asset", FieldType.ASSET, ""),
        Field("source", FieldType.ACCOUNT, ""),
        Field("amount", FieldType.AMOUNT, ""),
        Field("hold", FieldType.HASH, "", optional=True),
    ),
    100,
    _words,
)


def _pay(context: Context, values: Sequence[Any]) -> None:
    asset, target, amount, travel_hash, _ = values
    context.transfer(asset, context.sender, target, amount, holdable=True, travel_hash=travel_hash)


def _apart(context: Context, values: Sequence[Any]) -> None:
    asset, target, amount = values
    context.set_apart(asset, context.sender, target, amount, rule="counter.apart")


def _settle(context: Context, values: Sequence[Any]) -> None:
    context.settle(values[0], release=bool(values[1]))


def _seize(context: Context, values: Sequence[Any]) -> None:
    asset, source, amount, hold_id = values
    context.seize(asset, source, context.sender, amount, hold_id)


COUNTER = Module(
    "counter",
    1,
    (_PAY, _APART, _PAID, _BACK, _SETTLE, _SEIZE),
    {
        "counter.pay": _pay,
        "counter.setApart": _apart,
        "counter.payApart": lambda context, values: context.pay_apart(*values),
        "counter.giveBack": lambda context, values: context.give_back(*values),
        "counter.settle": _settle,
        "counter.seize": _seize,
    },
)
SCORES: dict[bytes, int] = {ALICE.account: 40, BOB.account: 70}
RISK = Module(
    "risk", 1, (), {}, queries={"score": lambda _reader, account, _time_ms: SCORES.get(account)}
)
OPENED = {
    ALICE: {"CLAW": 1_000_000, "EUR": 1_000_000},
    BOB: {"CLAW": 1_000_000, "EUR": 1_000_000},
    CAROL: {"EUR": 1_000_000},
    DAVE: {},
    TELLER: {},
    SECOND_TELLER: {},
    **{key: {} for key in (Key("admin"), Key("issuer"), OTHER_ISSUER, ONE, TWO)},
}


def desk() -> Desk:
    roles = [GenesisRole("admin", Key("admin").account)]
    roles += [GenesisRole("compliance", one.account) for one in (ONE, TWO)]
    roles += [GenesisRole("teller", one.account) for one in (TELLER, SECOND_TELLER)]
    return Desk(COUNTER, RISK, opening=OPENED, roles=tuple(sorted(roles)))


def pay_for(
    chain: Desk,
    amount: int = 100,
    *,
    source: Key = ALICE,
    target: Key = BOB,
    travel_hash: bytes | None = None,
    approvers: Sequence[Key] = (),
) -> Receipt:
    pairs = sorted([one.account, one.public] for one in approvers)
    action = RawAction("counter.pay", ["EUR", target.account, amount, travel_hash, pairs])
    signed = [(one, one.account) for one in approvers]
    return chain.pay(source, action, approvers=signed).receipts[0]


def set_apart(chain: Desk, amount: int, source: Key = ALICE, target: Key = BOB) -> bytes:
    action = RawAction("counter.setApart", ["EUR", target.account, amount])
    result = chain.pay(source, action)
    assert result.receipts[0].code == 0, result.receipts[0]
    hold_id: bytes = event(result, "kernel.setApart")[3][2]  # type: ignore[assignment]
    return hold_id


def held_id(result: ExecutionResult) -> bytes:
    hold_id: bytes = event(result, "kernel.held")[3][2]  # type: ignore[assignment]
    return hold_id


def denied(receipt: Receipt) -> bool:
    if receipt.code == 0:
        return False
    assert receipt.rule in ("compliance.denied", "compliance.approvals"), receipt
    return True


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


# -- velocity


def test_sums_count_this_payment_too_and_only_of_the_one_who_pays() -> None:
    chain = desk()
    chain.enact(deny("day", when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)))
    assert not denied(chain.try_pay(amount=999))
    assert denied(chain.try_pay(amount=1))
    assert not denied(chain.try_pay(source=BOB, target=ALICE, amount=999))
    chain.do(ALICE, transfer(BOB, 5_000, "CLAW"))  # Another asset's payments are no matter.


def test_what_is_refused_is_not_counted() -> None:
    chain = desk()
    chain.enact(deny("day", when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)))
    for _ in range(3):
        assert denied(chain.try_pay(amount=1_000))
    failing = chain.pay(ALICE, transfer(BOB, 900, "EUR"), transfer(BOB, 10**9)).receipts[0]
    assert failing.rule == "kernel.balance"
    assert not denied(chain.try_pay(amount=999))


@pytest.mark.parametrize(
    ("side", "allowed"),
    [
        # Alice and Carol are one person; Bob pays and is paid too.
        ("source", [True, True, False, True, False]),
        ("source-subject", [True, True, False, False, False]),
        ("target", [True, True, False, False, True]),
        ("target-subject", [True, True, False, False, True]),
    ],
)
def test_counts_of_accounts_and_of_people(side: str, allowed: list[bool]) -> None:
    chain = desk()
    for account in (ALICE, CAROL):
        chain.agree(set_subject(account, SUBJECT))
    chain.enact(deny("third", when("count-at-least", side, number=3, window_ms=DAY_MS)))
    payments = [(ALICE, BOB), (ALICE, BOB), (ALICE, BOB), (CAROL, BOB), (ALICE, DAVE)]
    found = [not denied(pay_for(chain, 1, source=s, target=t)) for s, t in payments]
    assert found == allowed


def test_a_window_rolls_by_eighths_and_forgets_nothing_too_early() -> None:
    chain = desk()
    chain.enact(deny("day", when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)))
    slot_ms = DAY_MS // SLOTS
    chain.block(after_ms=slot_ms - chain.time_ms % slot_ms)  # The first moment of a slot.
    assert not denied(
        chain.pay(
            ALICE,
            transfer(BOB, 600, "EUR"),
        ).receipts[0]
    )
    paid_ms = chain.time_ms
    assert not denied(chain.try_pay(amount=399))
    # A whole window later the first payment still counts: it is in the slot that is just in.
    chain.block(after_ms=paid_ms + DAY_MS - 1 - chain.time_ms)
    assert denied(chain.try_pay(amount=1_000 - 999))
    end_ms = (paid_ms // slot_ms + SLOTS + 1) * slot_ms
    chain.block(after_ms=end_ms - 1_000 - chain.time_ms)
    result = chain.block(chain.tx(ALICE, transfer(BOB, 999, "EUR")), after_ms=1_000)
    assert chain.time_ms == end_ms and result.receipts[0].code == 0
    key = next(k for t, k in chain.state.records if t == "compliance" and k[:1] == b"v")
    kept = Slots.unpack(chain.state.get("compliance", key))
    assert len(kept.slots) == 1  # The old ones are gone.


def test_a_held_payment_counts_at_once_and_no_longer_when_it_returns() -> None:
    chain = desk()
    chain.enact(
        deny("day", when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)),
        deny("times", when("count-at-least", "source", number=3, window_ms=DAY_MS)),
        hold("large", when("amount-at-least", number=500)),
    )
    hold_id = held_id(chain.pay(ALICE, transfer(BOB, 600, "EUR")))
    assert denied(chain.try_pay(amount=400))
    chain.do(ONE, RawAction("counter.settle", [hold_id, 0]))
    assert not denied(chain.try_pay(amount=400))
    hold_id = held_id(chain.pay(ALICE, transfer(BOB, 599, "EUR")))
    assert denied(chain.try_pay(amount=1))
    chain.do(ONE, RawAction("counter.settle", [hold_id, 1]))
    assert denied(chain.try_pay(amount=1))  # What was paid stays counted.


def test_a_hold_that_expires_is_taken_back_from_the_slot_of_its_making() -> None:
    chain = desk()
    chain.enact(
        deny("day", when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)),
        hold("large", when("amount-at-least", number=500), expires_ms=10 * HOUR_MS),
    )
    held_id(chain.pay(ALICE, transfer(BOB, 600, "EUR")))
    chain.block(after_ms=9 * HOUR_MS)
    assert not denied(chain.try_pay(amount=399))
    chain.block(after_ms=HOUR_MS)
    assert not denied(chain.try_pay(amount=400))
    assert denied(chain.try_pay(amount=400 - 199))


def test_what_comes_back_after_its_window_takes_nothing_from_today() -> None:
    """Otherwise a returned escrow of last week would be a free allowance today."""
    chain = desk()
    chain.enact(deny("day", when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)))
    hold_id = set_apart(chain, 900)
    chain.block(after_ms=7 * DAY_MS)
    assert not denied(chain.try_pay(amount=900))
    chain.do(ALICE, RawAction("counter.giveBack", [hold_id, 900]))
    assert denied(chain.try_pay(amount=100))


def test_what_was_set_apart_before_the_counting_began_takes_nothing_back() -> None:
    chain = desk()
    hold_id = set_apart(chain, 900)
    chain.enact(deny("day", when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)))
    assert not denied(chain.try_pay(amount=900))
    chain.do(ALICE, RawAction("counter.giveBack", [hold_id, 900]))
    assert denied(chain.try_pay(amount=100))


def test_who_becomes_a_known_person_meanwhile_takes_nothing_from_that_person() -> None:
    chain = desk()
    limit = when("sum-at-least", "source-subject", number=1_000, window_ms=DAY_MS)
    chain.enact(deny("day", limit))
    chain.agree(set_subject(CAROL, SUBJECT))
    hold_id = set_apart(chain, 900)
    assert not denied(pay_for(chain, 900, source=CAROL))
    chain.agree(set_subject(ALICE, SUBJECT))
    chain.do(ALICE, RawAction("counter.giveBack", [hold_id, 900]))
    assert denied(pay_for(chain, 100, source=CAROL))


def test_a_part_that_was_clawed_back_no_longer_counts() -> None:
    chain = desk()
    chain.enact(deny("day", when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)))
    hold_id = set_apart(chain, 900)
    chain.do(ONE, RawAction("counter.seize", ["EUR", ALICE.account, 500, hold_id]))
    assert not denied(chain.try_pay(amount=599))
    assert denied(chain.try_pay(amount=1))


def test_counting_goes_on_over_versions_of_a_policy() -> None:
    chain = desk()
    limit = when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)
    chain.enact(deny("day", limit))
    hold_id = set_apart(chain, 300)
    assert not denied(chain.try_pay(amount=600))
    chain.enact(deny("same-window", limit))
    assert denied(chain.try_pay(amount=100))
    chain.do(ALICE, RawAction("counter.giveBack", [hold_id, 300]))
    assert not denied(chain.try_pay(amount=399))


def test_policies_that_look_at_one_window_count_a_payment_once() -> None:
    chain = desk()
    limit = when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)
    chain.enact(deny("a", limit), policy="a")
    chain.enact(deny("b", limit), policy="b")
    times = when("count-at-least", "source", number=3, window_ms=DAY_MS)
    chain.enact(deny("c", times), policy="c", asset=None)
    assert not denied(chain.try_pay(amount=500))
    assert not denied(chain.try_pay(amount=499))
    assert chain.try_pay(amount=1, asset="CLAW").facts[0] == "c"


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3 * 8_000),
            st.integers(0, 1_000),
            st.booleans(),
            st.integers(0, 40_000),
        ),
        max_size=30,
    ),
    st.sampled_from([8_000, 10_000, 8_001, 24_000]),
)
def test_slots_never_count_less_than_a_window_nor_more_than_a_ninth_slot(
    payments: list[tuple[int, int, bool, int]], window_ms: int
) -> None:
    """Against a plain list of payments; some come back later, and none takes another's place."""
    slots, now_ms = Slots(()), 10**12
    kept: list[tuple[int, int]] = []
    for wait_ms, amount, back, later_ms in payments:
        now_ms += wait_ms
        slots = Slots.unpack(slots.counted(now_ms, window_ms, amount).pack())
        if back:
            slots = slots.taken_back(now_ms, window_ms, amount, True)
        else:
            kept.append((now_ms, amount))
        total, count = slots.at(now_ms, window_ms)
        newest = [one for one in kept if one[0] > now_ms - window_ms]
        first = (slot_of(now_ms, window_ms) - SLOTS) * window_ms / SLOTS
        longest = [one for one in kept if one[0] >= first]
        assert sum(a for _, a in newest) <= total <= sum(a for _, a in longest)
        assert len(newest) <= count <= len(longest)
        assert len(slots.slots) <= SLOTS + 1
        later, _ = slots.at(now_ms + later_ms, window_ms)
        assert later <= total


def test_a_sum_that_reaches_the_largest_number_stays_there() -> None:
    slots = Slots(()).counted(0, 8_000, U64_MAX).counted(1, 8_000, 10)
    assert slots.at(1, 8_000) == (U64_MAX, 2)
    assert slots.taken_back(0, 8_000, U64_MAX, True) == slots
    assert slots.counted(2_000, 8_000, 10).at(2_000, 8_000)[0] == U64_MAX


# -- what is asked before is what consensus does


def reports_of(chain: Desk, movement: Movement, approvals: tuple[bytes, ...]) -> list[Any]:
    when_ms = chain.time_ms + 1_000
    circumstances = Circumstances(when_ms, movement.source, approvals)
    sight = sight_at(chain.state, circumstances, lambda account: SCORES.get(account))
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
    chain = prepared_desk()
    for name, drawn in (("first", rules), ("second", more)):
        named = [make(f"r{n}", *conditions) for n, (make, conditions) in enumerate(drawn)]
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
