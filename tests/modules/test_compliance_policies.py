"""Policies: how they come into force, and which never do.

If these failed, one officer could bind everybody, a rule could hold that nobody can read any more,
or a policy could make every payment cost more than a block has.
"""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.module_api import Module, Words
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.compliance import policies
from clawpurse.modules.compliance.actions import ACTIONS
from clawpurse.modules.compliance.language import (
    COST_MAX,
    COUNTERS_MAX,
    HOLD_MS_MAX,
    HOLD_MS_MIN,
    KINDS,
    LEVEL_MAX,
    OFFICERS_MAX,
    RISK_MAX,
    RULES_MAX,
    SHAPES,
    WINDOW_MS_MAX,
    WINDOW_MS_MIN,
    Kind,
    Side,
    cost_of,
    read_rules,
)
from clawpurse.modules.compliance.policies import PROPOSAL_MS, Head, Status
from clawpurse.modules.compliance.words import for_ms, rule_words
from tests.ledger.sandbox import ALICE, BOB, Key, transfer
from tests.modules.council import event, grant, kinds, revoke
from tests.modules.officers_world import (
    DAY_MS,
    DELAY_MS,
    HOUR_MS,
    ISSUER,
    OFFICERS,
    SUBJECT,
    Desk,
    add,
    allow,
    approve,
    deny,
    hold,
    propose,
    reject,
    set_list,
    set_quorum,
    when,
)

ONE, TWO, THREE, _ = OFFICERS
NEVER = deny("never")


def risk_module() -> Module:
    """A module `risk` that knows no score."""
    return Module("risk", 1, (), {}, queries={"score": lambda _state, _account, _time_ms: None})


def of_compliance(chain: Desk) -> dict[Any, bytes]:
    return {p: v for p, v in chain.state.records.items() if p[0] == "compliance"}


# -- coming into force


def test_two_officers_and_a_delay_put_a_policy_in_force() -> None:
    chain = Desk()
    result = chain.pay(ONE, propose(NEVER))
    proposed = event(result, "compliance.policyProposed")
    policy_id: Any = proposed[3][0]
    assert proposed[3][1:] == (1, "limits", "EUR")
    assert event(result, "compliance.policyApproved")[3] == (policy_id, 1, 2)
    assert chain.try_pay().code == 0
    result = chain.pay(TWO, approve(policy_id))
    active_ms = chain.time_ms + DELAY_MS
    waiting = event(result, "compliance.policyWaiting")
    assert waiting[3] == (policy_id, "limits", 1, active_ms)
    assert chain.proposed(policy_id).status == Status.WAITING
    chain.block(after_ms=DELAY_MS - 1)
    assert chain.proposed(policy_id).status == Status.WAITING
    result = chain.block(chain.tx(ALICE, transfer(BOB, 1, "EUR")), after_ms=1)
    assert event(result, "compliance.policyActive")[3] == (policy_id, "limits", 1)
    assert result.receipts[0].rule == "compliance.denied"
    version = chain.query("compliance.version", "limits", 1)
    assert (version.id, version.active_ms, version.active_height) == (
        policy_id,
        active_ms,
        chain.height,
    )
    assert version.approved_by == (ONE.account, TWO.account)
    assert chain.account(ONE).due_count == chain.account(TWO).due_count == 0


def test_the_only_officer_decides_alone() -> None:
    chain = Desk(officers=1)
    policy_id = chain.propose(NEVER)
    assert chain.proposed(policy_id).status == Status.WAITING
    chain.block(after_ms=DELAY_MS)
    assert chain.try_pay().rule == "compliance.denied"


def test_older_versions_stay_readable_for_ever() -> None:
    chain = Desk()
    first = chain.enact(deny("a", when("amount-at-least", number=500)))
    second = chain.enact(deny("b", when("amount-at-least", number=50)))
    chain.enact()
    assert chain.try_pay().trace == ()
    assert chain.query("compliance.governing") == ()
    rules = chain.query("compliance.rules", first), chain.query("compliance.rules", second)
    assert [found[0].name for found in rules] == ["a", "b"]
    one, two, three = (chain.query("compliance.version", "limits", n) for n in (1, 2, 3))
    assert one.ended_height == two.active_height and two.ended_height == three.active_height
    assert three.ended_height == 0
    assert chain.query("compliance.policies") == (Head("limits", "EUR", 3, 3, 0, 0, 0),)
    assert chain.query("compliance.version", "limits", 4) is None


def test_a_policy_can_be_brought_back_after_it_ended() -> None:
    chain = Desk()
    chain.enact(NEVER)
    chain.enact()
    assert chain.try_pay().code == 0
    chain.enact(NEVER)
    receipt = chain.try_pay()
    assert receipt.facts == ("limits", 3, "never", "not-allowed")


def test_a_waiting_version_does_not_disturb_the_one_in_force() -> None:
    chain = Desk()
    chain.enact(deny("large", when("amount-at-least", number=500)))
    chain.do(TWO, approve(chain.propose(NEVER, delay_ms=HOUR_MS)))
    assert chain.try_pay(amount=499).code == 0
    assert chain.try_pay(amount=500).facts[1] == 1
    chain.block(after_ms=HOUR_MS)
    assert chain.try_pay(amount=499).facts[1] == 2


def test_the_delay_is_at_least_what_officers_set() -> None:
    chain = Desk()
    chain.agree(set_quorum(2, HOUR_MS))
    assert chain.pay(ONE, propose(NEVER)).receipts[0].rule == "compliance.delay"
    policy_id = chain.propose(NEVER, delay_ms=HOUR_MS)
    chain.agree(set_quorum(2, 2 * HOUR_MS))
    chain.do(TWO, approve(policy_id))
    assert chain.proposed(policy_id).ends_ms == chain.time_ms + 2 * HOUR_MS


def test_approvals_of_who_left_or_of_the_same_person_do_not_count() -> None:
    chain = Desk(officers=3)
    policy_id = chain.propose(NEVER)
    chain.do(Key("admin"), revoke("compliance", ONE))
    chain.do(TWO, approve(policy_id))
    assert chain.proposed(policy_id).status == Status.OPEN
    chain.do(Key("admin"), grant("compliance", ONE))
    assert chain.pay(TWO, approve(policy_id)).receipts[0].rule == "compliance.agreed"
    chain.do(THREE, approve(policy_id))
    assert chain.proposed(policy_id).status == Status.WAITING

    chain = Desk(officers=3)
    for account in (ONE, TWO):
        helpers = [one for one in OFFICERS[:3] if one is not account]
        chain.agree(RawAction("compliance.setSubject", [account.account, SUBJECT, ""]), helpers)
    policy_id = chain.propose(NEVER)
    assert chain.pay(TWO, approve(policy_id)).receipts[0].rule == "compliance.samePerson"
    assert chain.proposed(policy_id).status == Status.OPEN


# -- not coming into force


def test_a_proposer_withdraws_and_officers_reject() -> None:
    chain = Desk(officers=3)
    withdrawn = chain.propose(NEVER)
    result = chain.pay(ONE, reject(withdrawn, "a mistake"))
    assert event(result, "compliance.policyClosed")[3] == (withdrawn, 3, "a mistake")
    assert chain.query("compliance.rules", withdrawn) == ()
    rejected = chain.propose(NEVER)
    chain.do(TWO, reject(rejected))
    assert chain.proposed(rejected).status == Status.OPEN
    chain.do(THREE, reject(rejected))
    assert chain.proposed(rejected).status == Status.REJECTED
    assert chain.account(ONE).due_count == 0
    assert chain.query("compliance.proposals", 5) == []


def test_a_version_that_waits_can_still_be_stopped() -> None:
    chain = Desk()
    policy_id = chain.propose(NEVER)
    chain.do(TWO, approve(policy_id))
    assert [p.status for _, p in chain.query("compliance.proposals", 5)] == [Status.WAITING]
    chain.do(ONE, reject(policy_id))
    chain.do(TWO, reject(policy_id, "second thoughts"))
    chain.block(after_ms=DELAY_MS)
    assert chain.proposed(policy_id).status == Status.REJECTED
    assert chain.try_pay().trace == ()
    version = chain.query("compliance.version", "limits", 1)
    assert version.active_height == 0 and version.ended_height > 0
    chain.enact(NEVER)
    assert chain.try_pay().facts[1] == 2


def test_an_officer_may_change_a_mind_while_it_is_open() -> None:
    chain = Desk(officers=3)
    policy_id = chain.propose(NEVER)
    chain.do(TWO, reject(policy_id))
    chain.do(TWO, approve(policy_id))
    proposal = chain.proposed(policy_id)
    assert (proposal.status, proposal.against) == (Status.WAITING, ())


def test_what_is_not_decided_in_time_expires() -> None:
    chain = Desk()
    policy_id = chain.propose(NEVER)
    chain.time_ms += PROPOSAL_MS
    chain.params = chain.params.with_values({"due_per_block_max": 1})
    result = chain.block()
    assert event(result, "compliance.policyClosed")[3] == (policy_id, 4, "")
    receipt = chain.pay(TWO, approve(policy_id)).receipts[0]
    assert receipt.facts[:2] == (policy_id, "expired")
    assert chain.query("compliance.rules", policy_id) == ()


@pytest.mark.parametrize(
    ("by", "verb", "rule"),
    [
        (ALICE, approve, "kernel.role"),
        (ISSUER, reject, "kernel.role"),
        (ONE, approve, "compliance.agreed"),
    ],
)
def test_who_cannot_decide(by: Key, verb: Any, rule: str) -> None:
    chain = Desk()
    policy_id = chain.propose(NEVER)
    assert chain.pay(by, verb(policy_id)).receipts[0].rule == rule
    assert chain.pay(ONE, verb(bytes(32))).receipts[0].rule == "compliance.noProposal"


@pytest.mark.parametrize("verb", [approve, reject])
def test_what_is_decided_stays_decided(verb: Any) -> None:
    chain = Desk()
    active, closed = chain.enact(NEVER), chain.propose(deny("other"))
    chain.do(ONE, reject(closed))
    for policy_id in (active, closed):
        assert chain.pay(TWO, verb(policy_id)).receipts[0].rule == "compliance.decided"


def test_one_version_waits_at_a_time() -> None:
    chain = Desk()
    first, second = chain.propose(NEVER), chain.propose(deny("other"))
    chain.do(TWO, approve(first))
    before = of_compliance(chain)
    assert chain.pay(TWO, approve(second)).receipts[0].rule == "compliance.waiting"
    assert of_compliance(chain) == before
    chain.block(after_ms=DELAY_MS)
    chain.do(TWO, approve(second))


# -- policies that are refused

BIG = 2**64 - 1
AMOUNT = when("amount-at-least", number=1)


@pytest.mark.parametrize(
    ("rules", "rule", "facts"),
    [
        ([NEVER, NEVER], "compliance.ruleTwice", ("never",)),
        ([deny("a", AMOUNT, AMOUNT)], "compliance.badCondition", ("a", "amount-at-least", "twice")),
        ([["a", "maybe", None, 0, None, 0, 0, []]], "compliance.badVerdict", ("a", "verdict")),
        ([["a", "deny", None, 0, None, 0, 0, []]], "compliance.badVerdict", ("a", "code")),
        ([["a", "allow", "x", 0, None, 0, 0, []]], "compliance.badVerdict", ("a", "code")),
        ([["a", "allow", None, 1, None, 0, 0, []]], "compliance.badVerdict", ("a", "needed")),
        ([["a", "deny", "x", 0, "role", 0, 0, []]], "compliance.badVerdict", ("a", "officers")),
        ([["a", "deny", "x", 0, None, 1, 0, []]], "compliance.badVerdict", ("a", "expiresMs")),
        ([["a", "deny", "x", 0, None, 0, 1, []]], "compliance.badVerdict", ("a", "release")),
        ([["a", "hold", "x", 1, None, HOUR_MS, 0, []]], "compliance.badVerdict", ("a", "code")),
        ([hold("a", needed=0)], "compliance.badVerdict", ("a", "needed")),
        ([hold("a", expires_ms=HOLD_MS_MIN - 1)], "compliance.badVerdict", ("a", "expiresMs")),
        ([deny("a", when("weather"))], "compliance.badCondition", ("a", "weather", "kind")),
        ([deny("a", when("listed", "either", "b"))], "compliance.unknownList", ("b",)),
        ([deny("a", when("risk-missing", "source"))], "compliance.noRisk", ()),
    ],
)
def test_a_policy_that_is_not_sound_is_refused(
    rules: list[Any], rule: str, facts: tuple[Any, ...]
) -> None:
    chain = Desk()
    before = of_compliance(chain)
    receipt = chain.pay(ONE, propose(*rules)).receipts[0]
    assert (receipt.rule, receipt.facts) == (rule, facts)
    assert of_compliance(chain) == before


# (kind, what it takes when it is right)
RIGHT: dict[str, dict[str, Any]] = {
    "attested": {"side": "source", "name": "kyc", "number": LEVEL_MAX},
    "not-attested": {"side": "both", "name": "kyc", "number": 0},
    "amount-at-least": {"number": BIG},
    "amount-below": {"number": 1},
    "sum-at-least": {"side": "source-subject", "number": 1, "window_ms": WINDOW_MS_MIN},
    "count-at-least": {"side": "target", "number": 1, "window_ms": WINDOW_MS_MAX},
    "listed": {"side": "target", "name": "a"},
    "not-listed": {"side": "either", "name": "a"},
    "new-counterparty": {},
    "approvals-below": {"name": "teller", "number": OFFICERS_MAX},
    "no-travel-hash": {},
    "risk-at-least": {"side": "source", "number": RISK_MAX},
    "risk-missing": {"side": "target"},
    "purpose": {"name": "payments"},
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_each_condition_takes_just_what_it_takes(kind: str) -> None:
    chain = Desk(risk_module())
    chain.agree(set_list("a"))
    shape, right = SHAPES[KINDS[kind]], RIGHT[kind]
    chain.propose(deny("r", when(kind, **right)))
    wrong: list[tuple[str, dict[str, Any]]] = [("side", {"side": "nobody"})]
    if shape.sides == (Side.NONE,):
        wrong.append(("side", {"side": "source"}))
    else:
        wrong.append(("side", {"side": None}))
        wrong.append(("side", {"side": "either" if shape.windowed else "source-subject"}))
    wrong.append(("name", {"name": None if shape.named else "kyc"}))
    if shape.low:
        wrong.append(("number", {"number": shape.low - 1}))
    if shape.high < BIG:
        wrong.append(("number", {"number": shape.high + 1}))
    if shape.windowed:
        for window_ms in (0, WINDOW_MS_MIN - 1):
            wrong.append(("windowMs", {"window_ms": window_ms}))
    else:
        wrong.append(("windowMs", {"window_ms": WINDOW_MS_MIN}))
    for what, change in wrong:
        rules = deny("r", when(kind, **{**right, **change}))
        receipt = chain.pay(ONE, propose(rules)).receipts[0]
        assert (receipt.rule, receipt.facts) == ("compliance.badCondition", ("r", kind, what))
    for_all = chain.pay(ONE, propose(deny("r", when(kind, **right)), asset=None, policy="all"))
    receipt = for_all.receipts[0]
    if shape.per_asset:
        assert receipt.facts == ("r", kind, "asset")
    else:
        assert receipt.code == 0


@pytest.mark.parametrize(
    "fields",
    [
        ["limits", "EUR", "m", DELAY_MS, [NEVER] * (RULES_MAX + 1)],
        ["limits", "EUR", "m", DELAY_MS, [deny("a", *[AMOUNT] * 9)]],
        ["limits", "EUR", "m", DELAY_MS, [hold("a", needed=17)]],
        ["limits", "EUR", "m", DELAY_MS, [hold("a", expires_ms=HOLD_MS_MAX + 1)]],
        ["limits", "EUR", "m", DELAY_MS, [hold("a", release=2)]],
        ["limits", "EUR", "m", DELAY_MS, [hold("a")[:-1]]],
        ["limits", "EUR", "m", DELAY_MS, [deny("a", AMOUNT[:-1])]],
        ["limits", "EUR", "m", DELAY_MS, [deny("a", when("x", window_ms=WINDOW_MS_MAX + 1))]],
        ["limits", "EUR", "", DELAY_MS, []],
        ["limits", "EUR", "m" * 257, DELAY_MS, []],
        ["Limits", "EUR", "m", DELAY_MS, []],
        ["limits", "eur", "m", DELAY_MS, []],
        ["limits", "EUR", "m", 90 * DAY_MS + 1, []],
        ["limits", "EUR", "m", DELAY_MS],
    ],
)
def test_malformed_policies(fields: list[Any]) -> None:
    with pytest.raises(Malformed):
        Desk().registry.read_action(RawAction("compliance.proposePolicy", fields))


@pytest.mark.parametrize(
    ("by", "changes", "rule"),
    [
        (ALICE, {}, "kernel.role"),
        (ONE, {"policy": "a.b"}, "compliance.policyName"),
        (ONE, {"policy": "a" * 21}, "compliance.policyName"),
        (ONE, {"asset": "USD"}, "kernel.asset"),
        (ONE, {"asset": None}, "compliance.scope"),
        (ONE, {"asset": "CLAW"}, "compliance.scope"),
        (ONE, {"delay_ms": DELAY_MS - 1}, "compliance.delay"),
    ],
)
def test_who_cannot_propose_what(by: Key, changes: dict[str, Any], rule: str) -> None:
    chain = Desk()
    chain.enact(deny("a"))
    assert chain.pay(by, propose(NEVER, **changes)).receipts[0].rule == rule


def test_proposals_and_policies_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "OPEN_PER_OFFICER_MAX", 2)
    monkeypatch.setattr(policies, "POLICIES_MAX", 1)
    chain = Desk()
    first, second = chain.propose(NEVER, policy="a"), chain.propose(NEVER, policy="b")
    receipt = chain.pay(ONE, propose(NEVER, policy="c")).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.LIMIT_EXCEEDED, "compliance.openFull")
    chain.do(TWO, approve(first))
    chain.propose(deny("more"), policy="a")  # One is decided: there is room again.
    assert chain.pay(TWO, approve(second)).receipts[0].rule == "compliance.policiesFull"
    assert chain.pay(TWO, propose(NEVER, policy="d")).receipts[0].rule == "compliance.policiesFull"


def test_windows_that_are_looked_at_are_bounded() -> None:
    many = [
        deny(f"r{n}", when("count-at-least", "source", number=1, window_ms=HOUR_MS + n))
        for n in range(COUNTERS_MAX + 1)
    ]
    receipt = Desk().pay(ONE, propose(*many)).receipts[0]
    assert (receipt.rule, receipt.facts) == ("compliance.countersFull", (9, 8))


def expensive(count: int) -> list[list[Any]]:
    """So many rules, each with a topic of its own."""
    return [deny(f"r{n}", when("attested", "source", f"t{n}", 1)) for n in range(count)]


def cost(rules: list[list[Any]]) -> int:
    read = read_rules([tuple(rule) for rule in rules], "EUR")
    return cost_of(read)  # type: ignore[arg-type]


def test_what_judging_costs_is_bounded_over_all_policies_of_an_asset() -> None:
    chain = Desk()
    most = next(n for n in range(RULES_MAX, 0, -1) if cost(expensive(n)) <= COST_MAX)
    assert most < RULES_MAX
    receipt = chain.pay(ONE, propose(*expensive(most + 1))).receipts[0]
    assert receipt.code == Code.LIMIT_EXCEEDED
    assert receipt.facts == (cost(expensive(most + 1)), COST_MAX)
    half = expensive(most * 2 // 5)
    chain.enact(*half, policy="a")
    chain.enact(*half, policy="elsewhere", asset="CLAW")
    waiting = chain.propose(*half, policy="b")
    late = chain.propose(*half, policy="c")
    chain.do(TWO, approve(waiting))
    # What waits is reserved: it comes into force whatever is proposed meanwhile.
    assert chain.pay(TWO, approve(late)).receipts[0].rule == "compliance.policyCost"
    everywhere = chain.pay(ONE, propose(*half, policy="d", asset=None)).receipts[0]
    assert everywhere.rule == "compliance.policyCost"
    chain.block(after_ms=DELAY_MS)
    chain.enact(policy="a")
    chain.do(TWO, approve(late))


def test_a_hundred_plain_rules_are_affordable() -> None:
    rules = [deny(f"r{n}", when("amount-at-least", number=10**6 + n)) for n in range(RULES_MAX)]
    assert cost(rules) <= COST_MAX
    chain = Desk()
    chain.enact(*rules)
    assert chain.try_pay().trace == (("compliance.limits", 1, 0),)


def test_an_opposite_and_a_repeated_fact_cost_nothing_more() -> None:
    base = [deny("a", when("attested", "source", "kyc", 1))]
    same = [deny("a", when("attested", "source", "kyc", 1), when("not-attested", "both", "kyc", 2))]
    other = [deny("a", when("attested", "source", "kyc", 1), when("attested", "source", "aml", 1))]
    assert cost(base) < cost(same) and cost(base) < cost(other)
    assert set(SHAPES) == set(Kind) == set(KINDS.values())


# -- words


def test_every_action_says_what_it_does() -> None:
    words = Words(lambda account: "bob", lambda asset, amount: f"{amount} {asset}")
    said: dict[str, dict[str, Any]] = {
        "setIssuer": {"issuer": b"", "topics": ("kyc", "aml")},
        "removeIssuer": {"issuer": b"", "reason": "licence lost"},
        "attest": {"account": b"", "topic": "kyc", "level": 2, "expires": 0},
        "accept": {"issuer": b"", "topic": "kyc"},
        "revokeAttestation": {"account": b"", "topic": "kyc", "issuer": b"", "reason": "x"},
        "setSubject": {"account": b"", "subject": b"\x01", "reason": ""},
        "setQuorum": {"needed": 2, "delayMs": DAY_MS},
        "proposePolicy": {
            "policy": "p",
            "asset": None,
            "meaning": "Why.",
            "delayMs": 60_000,
            "rules": (1, 2),
        },
        "approvePolicy": {"proposal": b"\x01"},
        "rejectPolicy": {"proposal": b"\x01", "reason": "no"},
        "setList": {"list": "a", "title": "A", "officers": 2},
        "addToList": {"list": "a", "entries": (b"", b""), "reason": "why"},
        "removeFromList": {"list": "a", "entries": (b"",), "reason": ""},
    }
    lines = {a.name.split(".")[1]: a.words(said[a.name.split(".")[1]], words) for a in ACTIONS}
    assert lines == {
        "setIssuer": "Let bob attest kyc, aml, and nothing else.",
        "removeIssuer": "Let nothing count any more that bob attests. Reason: licence lost.",
        "attest": "Attest bob kyc at level 2, until 1970-01-01T00:00:00.000Z.",
        "accept": "Accept what bob attests of you: kyc.",
        "revokeAttestation": "Revoke the attestation kyc of bob by bob: x.",
        "setSubject": "Agree that 0x01 stands behind bob.",
        "setQuorum": "Agree that 2 officers decide on policies, which wait at least 1 day.",
        "proposePolicy": "Propose 2 rules as the policy p for all assets, in force 1 minute after "
        "approval: Why.",
        "approvePolicy": "Approve the proposed policy 0x01.",
        "rejectPolicy": "Reject the proposed policy 0x01. Reason: no.",
        "setList": "Agree on the list a (A), of which 2 officers change the entries.",
        "addToList": "Put bob, bob on the list a. Reason: why.",
        "removeFromList": "Take bob off the list a.",
    }
    ending = {**said["proposePolicy"], "rules": (), "asset": "EUR"}
    assert ACTIONS[7].words(ending, words) == "Propose that the policy p for EUR ends."


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_condition_reads_as_a_sentence(kind: str) -> None:
    rule = deny("r", when(kind, **RIGHT[kind]), code="why")
    read = read_rules([tuple(rule)], "EUR")
    assert isinstance(read, tuple), read
    said = rule_words(read[0], lambda amount: f"{amount} EUR")
    assert said.startswith("If ") and said.endswith(": refuse it: why.") and "  " not in said


def test_every_verdict_reads_as_a_sentence() -> None:
    rules = [allow("a"), hold("b"), hold("c", officers="teller", needed=1, release=1)]
    read = read_rules([tuple(rule) for rule in rules], "EUR")
    assert isinstance(read, tuple), read
    assert [rule_words(rule, str) for rule in read] == [
        "In any case: allow it, and ask no further rule.",
        "In any case: hold it for 2 of the officers to decide, and return it after 1 hour "
        "without them.",
        "In any case: hold it for 1 holder of the role teller to decide, and pay it after 1 hour "
        "without them.",
    ]
    assert [for_ms(span) for span in (1, 1_000, 90_000, 2 * DAY_MS, 0)] == [
        "1 ms",
        "1 second",
        "90 seconds",
        "2 days",
        "0 ms",
    ]


def test_activation_and_expiry_are_told_and_leave_no_due_work() -> None:
    chain = Desk()
    chain.enact(NEVER)
    chain.agree(set_list("a"))
    chain.do(ONE, add("a", ALICE))
    assert kinds(chain.block(after_ms=PROPOSAL_MS)) == []
    assert all(chain.account(one).due_count == 0 for one in OFFICERS[:2])


def test_damage_is_found_by_full_checks() -> None:
    """If lists and counts could differ unseen, a policy might look into half a list."""
    chain = Desk()
    chain.enact(NEVER)
    chain.agree(set_list("a"))
    chain.do(ONE, add("a", ALICE))
    chain.issuer("kyc")
    chain.propose(NEVER, policy="other")
    active, whole = chain.query("compliance.version", "limits", 1), dict(chain.state.records)
    module = chain.registry.by_name["compliance"]

    def problems() -> list[str]:
        found = [check(chain.state) for check in module.invariants]
        return [one for one in found if one is not None]

    assert problems() == []
    for key, said in (
        (b"ci", "issuers are there"),
        (b"cl", "lists are there"),
        (b"xma/" + ALICE.account, "has 0 entries"),
        (b"la/" + (1).to_bytes(4, "big"), "since a version that it never had"),
        (b"m", "not the active one"),
        (b"plimits/" + (1).to_bytes(4, "big"), "version 1 of the policy limits is not there"),
        (b"y" + ONE.account, "open proposals, its count is another"),
        (b"t" + active.id, "in force without rules"),
    ):
        chain.state.records = dict(whole)
        del chain.state.records["compliance", key]
        (problem,) = problems()
        assert said in problem, problem
